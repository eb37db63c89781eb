"""Extensions at work on digits: tried first, kept with the results that used them, and loaded from there by workers."""

import json
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edm import registry
from experiments import extensions
from experiments.cli.main import app
from experiments.errors import UserError
from experiments.inspection.explain import explain
from experiments.inspection.garbage import survey
from experiments.runner.resume import open_schedule
from experiments.store.results import EvaluationResult, ExtensionRecord, TrainingResult
from experiments.store.store import Store
from experiments.sweep.code_changes import accept, changes_of
from experiments.sweep.plan import Plan
from experiments.tracking import bundle
from experiments.tracking.frames import results_frame, scores_in_store
from experiments.tracking.paired_errors import difference_errors
from experiments.tracking.provenance import provenance_of
from experiments.tracking.records import recall_plan, record_plan
from experiments.trials.checking import check_plan
from experiments.trials.datasets import ensure_prepared
from experiments.trials.evaluation.evaluate import TakenOver
from experiments.trials.extensions import definitions_in, keep_extensions, require_loaded
from experiments.trials.perform import perform
from reports.metrics import METRICS
from tests import ROOT, othercode
from tests.experiments.sweep.test_extensions import plan_of_package
from tests.extending import DAMPED, SWEEP, write_sweep
from tests.inprocess import CONTEXT, execute
from tests.planning import load_sweep, plan_sweep

pytestmark = pytest.mark.usefixtures("few_statistics")

LOOP = """\
from edm import extend


@extend.sampler("damped", loop=True, adds_noise=True)
def wandering(denoiser, x, sigmas, noise):
    for sigma, to in zip(sigmas, sigmas[1:]):
        x = x + (to - sigma) * (x - denoiser(x, sigma)) / sigma + 0.1 * to * noise()
    return x
"""


@pytest.fixture
def store(trained: Store) -> Store:
    """Holds the network that most sweeps here draw from."""
    return trained


def run(folder: Path, store: Store, ideas: str = DAMPED, sweep: str = SWEEP) -> tuple[Plan, list[str]]:
    """Run a sweep in this process, its extensions loaded from the store as a worker does; also what was done."""
    plan = plan_sweep(load_sweep(write_sweep(folder, sweep, ideas)))
    check_plan(plan, store)
    keep_extensions(plan, store)
    record_plan(plan, store)
    forget_loaded()
    schedule = open_schedule(plan, store)
    done = execute(schedule, store)
    assert not schedule.failures
    return plan, done


def forget_loaded() -> None:
    registry._registered.clear()  # as in a worker's process, which never saw the sweep file


def table(plan: Plan, store: Store) -> str:
    return results_frame(plan, scores_in_store(plan, store)).to_csv()


def code_of(plan: Plan) -> str:
    (code,) = plan.extensions
    return code


def test_workers_load_a_package_from_the_store(tmp_path: Path, store: Store) -> None:
    plan = plan_of_package(tmp_path)
    keep_extensions(plan, store)
    before = definitions_in(store, code_of(plan))
    forget_loaded()
    extensions._definitions.clear()
    for path in sorted((tmp_path / "ideas").rglob("*.py")):
        path.unlink()
    (evaluation,) = (e for e in plan.evaluations.values() if not isinstance(e.sampling.sampler, str))
    require_loaded(evaluation, store)
    assert registry.registration_of(plan.extensions[code_of(plan)]).function.__name__ == "damped"
    assert before is not None and definitions_in(store, code_of(plan)) == before


def test_an_edit_redoes_what_uses_it_and_a_comment_nothing(tmp_path: Path, store: Store) -> None:
    _, done = run(tmp_path, store)
    assert done == ["evaluation", "evaluation"]
    _, done = run(tmp_path, store, ideas="# a comment\n" + DAMPED.replace("return 1", "return 2"))
    assert done == []
    _, done = run(tmp_path, store, ideas=DAMPED.replace("    return damping", "    return damping / 2"))
    assert done == ["evaluation"]


def test_a_report_needs_no_file_and_runs_no_extension(tmp_path: Path, store: Store) -> None:
    plan, _ = run(tmp_path, store)
    written = table(plan, store)
    (tmp_path / "ideas.py").unlink()
    forget_loaded()
    recalled = recall_plan("mine", store)
    assert table(recalled, store) == written
    frame = results_frame(recalled, scores_in_store(recalled, store))
    assert list(frame["sampling.sampler_options.damping"]) == ["-", 0.9]
    assert f"damped (ideas.py, damped; {code_of(plan)})" in provenance_of(recalled, store)["extensions"]
    bundle.export(recalled, store, tmp_path / "mine.zip")
    with bundle.opened(tmp_path / "mine.zip") as (unpacked, copy):
        assert table(unpacked, copy) == written
        kept = copy.folder("extensions", code_of(plan)) / "ideas.py"
        assert kept.read_text() == DAMPED and copy.result(ExtensionRecord, code_of(plan)) is not None
    assert not registry._registered


def test_a_recalled_sweep_runs_from_the_store_alone(tmp_path: Path, store: Store) -> None:
    plan, _ = run(tmp_path, store)
    before = table(plan, store)
    (tmp_path / "ideas.py").unlink()
    (damped,) = [e for e in plan.evaluations.values() if e.sampling.sampler != "euler"]
    for folder in (store.folder("evaluations", damped.signature), store.folder("drawings", damped.drawing)):
        folder.rename(tmp_path / folder.parent.name)
    forget_loaded()
    recalled = recall_plan("mine", store)
    keep_extensions(recalled, store)
    assert execute(open_schedule(recalled, store), store) == ["evaluation"]
    assert table(recalled, store) == before


def test_another_process_in_another_folder_draws_the_same(tmp_path: Path, store: Store) -> None:
    plan, _ = run(tmp_path, store)
    (damped,) = [e for e in plan.evaluations.values() if e.sampling.sampler != "euler"]
    first = store.finished(EvaluationResult, damped.signature)
    for folder in (store.folder("evaluations", damped.signature), store.folder("drawings", damped.drawing)):
        folder.rename(tmp_path / folder.parent.name)
    (tmp_path / "ideas.py").unlink()
    code = (
        "import sys; from pathlib import Path; from experiments.store.store import Store\n"
        "from experiments.tracking.records import recall_plan; from experiments.trials.perform import perform\n"
        "from experiments.trials.context import TrialContext\n"
        "store = Store(Path(sys.argv[1])); evaluation = recall_plan('mine', store).evaluations[sys.argv[2]]\n"
        "print(perform(store, evaluation, TrialContext('other', sampling_batch=40)).state)\n"
    )
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(store.root), damped.signature],
        capture_output=True,
        text=True,
        cwd=tmp_path / "elsewhere",
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout == "done\n", done.stderr
    again = store.finished(EvaluationResult, damped.signature)
    assert again.metrics == first.metrics and again.provenance.extensions == {"damped": code_of(plan)}


def test_without_its_code_a_task_fails_in_a_sentence(tmp_path: Path, store: Store) -> None:
    plan = plan_sweep(load_sweep(write_sweep(tmp_path)))
    recalled = replace(plan, sweep=replace(plan.sweep, extensions=()))
    with pytest.raises(UserError, match=r"damped: its code \(ideas.py, damped\) is not in the store .* from its file"):
        keep_extensions(recalled, store)
    forget_loaded()
    (damped,) = [e for e in plan.evaluations.values() if e.sampling.sampler != "euler"]
    outcome = perform(store, damped, CONTEXT)
    assert outcome.failure is not None and outcome.failure.kind == "input"
    assert "run the sweep from its file" in outcome.message


def test_why_names_the_file_and_the_function(tmp_path: Path, store: Store) -> None:
    run(tmp_path, store)
    write_sweep(tmp_path, ideas=DAMPED.replace("step.here.x +", "step.here.x -"))
    (*_, evaluation) = explain(f"{tmp_path}/mine.yaml:damped", store).steps
    assert "mine:damped" in evaluation.remark and "damped() in ideas.py changed (the code of samp" in evaluation.remark
    assert evaluation.nearest is not None and evaluation.nearest.name == "mine:damped"
    assert [d.field for d in evaluation.nearest.differences] == ["the code of sampling.sampler"]


def test_why_names_what_a_function_reaches_that_changed(tmp_path: Path, store: Store) -> None:
    run(tmp_path, store)
    forget_loaded()
    extensions._definitions.clear()  # of another process: what the store keeps says how the code was
    write_sweep(tmp_path, ideas=DAMPED.replace("    return damping", "    return damping / 2"))
    (*_, evaluation) = explain(f"{tmp_path}/mine.yaml:damped", store).steps
    assert "damped() in ideas.py changed, through scaled() in ideas.py (" in evaluation.remark


USING_EDM = """\
import numpy as np

from edm import extend
from edm.schedules import karras


@extend.schedule("reversed")
def reversed_karras(steps, sigma_min, sigma_max):
    return np.array(karras(steps, sigma_min, sigma_max, -7.0)).tolist()
"""


def test_a_result_says_what_an_extension_uses_of_edm(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduled = SWEEP.replace("sampling.sampler: [euler, damped]", "sampling.schedule: [karras, reversed]")
    plan, _ = run(tmp_path, store, USING_EDM, scheduled)
    shipped, own = (planned.evaluation for planned in plan.cells)
    result = store.finished(EvaluationResult, own.signature)
    assert "edm.schedules.karras" in result.code and result.provenance.packages["numpy"] == np.__version__
    assert "edm.schedules.karras" not in store.finished(EvaluationResult, shipped.signature).code
    othercode.point_at(monkeypatch, othercode.copy_with(tmp_path, othercode.KARRAS))
    changed = changes_of(plan, store)
    assert "edm.schedules.karras" in changed[own.signature].functions
    accept(store, own, changed[own.signature])
    assert own.signature not in changes_of(plan, store)


def test_a_task_that_fails_in_an_extension_says_where(tmp_path: Path, store: Store) -> None:
    failing = DAMPED.replace("    return damping", "    return damping / 0")
    plan = plan_sweep(load_sweep(write_sweep(tmp_path, ideas=failing)))
    keep_extensions(plan, store)
    forget_loaded()
    (damped,) = [e for e in plan.evaluations.values() if e.sampling.sampler != "euler"]
    outcome = perform(store, damped, CONTEXT)
    assert outcome.message.endswith("ZeroDivisionError: float division by zero (at ideas.py:19)"), outcome.message


def test_a_module_that_is_imported_meanwhile_hides_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Importing(extensions._ImportedModule):
        @property
        def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
            monkeypatch.setitem(sys.modules, "imported_by_another_thread", ModuleType("other"))
            return extensions._ImportedModule

    monkeypatch.setitem(sys.modules, f"{extensions.PRIVATE}.0.ideas", Importing("ideas", "ideas.py"))
    assert extensions.place_of_error(ValueError("no")) == ""


def test_files_that_no_sweep_refers_to_are_garbage(tmp_path: Path, store: Store) -> None:
    plan, _ = run(tmp_path, store)
    assert [item.name for item in survey(store, [plan]) if item.kind == "extensions"] == []
    assert [item.name for item in survey(store, []) if item.kind == "extensions"] == [code_of(plan)]


def test_a_loop_draws_with_noise_of_its_own(tmp_path: Path, store: Store) -> None:
    plan, done = run(tmp_path, store, ideas=LOOP)
    assert done == ["evaluation", "evaluation"]
    (wandering,) = [e for e in plan.evaluations.values() if e.sampling.sampler != "euler"]
    assert not wandering.sampling.is_deterministic and wandering.sampling.nfe == 3
    own = store.finished(EvaluationResult, wandering.signature).metrics["fid_test"]
    assert own > 0 and own != store.finished(EvaluationResult, plan.cells[0].evaluation.signature).metrics["fid_test"]


TWICE = """\
import torch

from edm import extend


def levels(sigmas):
    return [level for pair in zip(sigmas, sigmas[1:]) for level in pair if level > 0]


@extend.sampler("damped", evaluations=levels)
def trapezoid(step):
    length = step.to - step.here.sigma
    end = step.here.x + length * step.here.slope
    if step.to == 0:
        return end
    return step.here.x + length * (step.here.slope + (end - step.denoiser(end, step.to)) / step.to) / 2
"""


@pytest.mark.parametrize("level", ["step.to", "torch.tensor(step.to)"])
def test_a_step_gives_the_denoiser_a_number_or_a_tensor(tmp_path: Path, store: Store, level: str) -> None:
    ideas = TWICE.replace("step.denoiser(end, step.to)", f"step.denoiser(end, {level})")
    plan, done = run(tmp_path, store, ideas=ideas, sweep=SWEEP.replace("euler", "heun"))
    assert done == ["evaluation", "evaluation"]
    heun, own = (
        store.finished(EvaluationResult, planned.evaluation.signature).metrics["fid_test"] for planned in plan.cells
    )
    assert own == pytest.approx(heun, rel=1e-4)


WRONG = [
    (
        TWICE.replace("step.denoiser(end,", "step.denoiser(end[0],"),
        "calls the denoiser with images of shape [1, 8, 8] ",
    ),
    (
        DAMPED.replace("return step", "return 0 * step.to and step"),
        "ideas.py:12: the sampler 'damped' returns float, n",
    ),
    (
        DAMPED.replace("step.here.slope\n", "step.here.slope[:1]\n").replace("step.here.x + ", ""),
        "returns a tensor of sh",
    ),
    (DAMPED.replace("    return damping", "    return damping / 0"), "failed on random input (ZeroDivisionError: "),
    (
        DAMPED.replace("    return damping", "    return float('nan')"),
        "returns values that are not finite numbers; correct it",
    ),
    (DAMPED.replace("return step", "step.noise()\n    return step"), "draws noise without saying so; register it with"),
    (
        LOOP.replace("denoiser(x, sigma)", "denoiser(denoiser(x, sigma), sigma)"),
        "calls the network 6 times, and declar",
    ),
]


@pytest.mark.parametrize(("ideas", "expected"), WRONG, ids=range(len(WRONG)))
def test_what_would_fail_is_found_before_anything_starts(
    tmp_path: Path, store: Store, ideas: str, expected: str
) -> None:
    plan = plan_sweep(load_sweep(write_sweep(tmp_path, ideas=ideas)))
    with pytest.raises(UserError) as caught:
        check_plan(plan, store)
    assert expected in str(caught.value) and "run with --no-check" in str(caught.value)
    assert "\n" not in str(caught.value)


BARS = """\
import numpy as np

from edm import extend


@extend.dataset("bars", channels=1, resolution=8, num_classes=2, splits={"train": 60, "val": 20, "test": 20})
def bars():
    for i in range(100):
        yield np.zeros((1, 8, 8), np.uint8), i % 2
"""
OF_BARS = SWEEP.replace("model: ", "data: {name: bars}\nmodel: ").replace(", damped", "")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "np.uint8), i % 2",
            "np.float32), i % 2",
            "ideas.py:6: the data set 'bars' yields an image that is float32 of",
        ),
        (
            "(1, 8, 8)",
            "(8, 8)",
            "yields an image that is uint8 of shape [8, 8]; yield uint8 of shape [1, 8, 8], or run",
        ),
        (", i % 2", ", 2", "yields the label 2; yield 0 to 1, or run with --no-check"),
        (", i % 2", "", "yields ndarray; yield pairs of an image and its label, or run with --no-check"),
        ("yield ", "", "returns NoneType; yield pairs of an image and its label"),
    ],
)
def test_the_first_images_of_a_data_set_are_checked(
    tmp_path: Path, store: Store, old: str, new: str, expected: str
) -> None:
    plan = plan_sweep(load_sweep(write_sweep(tmp_path, OF_BARS, BARS.replace(old, new))))
    with pytest.raises(UserError) as caught:
        check_plan(plan, store)
    assert expected in str(caught.value)


def test_what_edm_does_with_a_data_set_of_an_extension_is_recorded(tmp_path: Path, store: Store) -> None:
    plan = plan_sweep(load_sweep(write_sweep(tmp_path, OF_BARS, BARS.replace("np.zeros", "i + np.zeros"))))
    record_plan(plan, store)
    (source,) = plan.sources.values()
    assert "data/extension" in ensure_prepared(store, source).code
    assert explain("mine:euler", store).steps[0].remark == ""


def test_a_data_set_that_fails_later_gets_a_sentence(tmp_path: Path, store: Store) -> None:
    failing = BARS.replace("        yield", "        1 / (99 - i)\n        yield")
    plan = plan_sweep(load_sweep(write_sweep(tmp_path, OF_BARS, failing)))
    check_plan(plan, store)
    (source,) = plan.sources.values()
    with pytest.raises(
        UserError, match=r"data set bars: its code failed \(.*ideas.py:9: ZeroDivisionError: .*correct it"
    ):
        ensure_prepared(store, source)


def test_a_damaged_file_of_an_extension_is_not_run(tmp_path: Path, store: Store) -> None:
    plan, _ = run(tmp_path, store)
    kept = store.folder("extensions", code_of(plan)) / "ideas.py"
    kept.write_text(DAMPED + "raise SystemExit\n")
    forget_loaded()
    with pytest.raises(Exception, match="is damaged"):
        require_loaded(next(e for e in plan.evaluations.values() if e.sampling.sampler != "euler"), store)


def test_results_say_which_code_they_used(tmp_path: Path, store: Store) -> None:
    plan, _ = run(tmp_path, store)
    by_sampler = {p.cell.value("sampling.sampler"): p.evaluation.signature for p in plan.cells}
    for sampler, expected in (("euler", None), ("damped", {"damped": code_of(plan)})):
        content = json.loads((store.folder("evaluations", by_sampler[sampler]) / "result.json").read_text())
        assert content["provenance"].get("extensions") == expected


NEAREST = """\
import torch

from edm import extend


@extend.metric("nearest", better="lower", terms=True)
def nearest(drawn, real):
    return torch.cdist(drawn, real).min(dim=1).values


@extend.metric("spread", better="neither")
def spread(drawn, real):
    return drawn.std() / real.std()
"""
MEASURED = SWEEP.replace("features: classifier}", "features: classifier, metrics: [fid, nearest, spread]}").replace(
    "damped]", "heun]"
)


def test_a_metric_has_errors_and_an_edit_only_scores_again(tmp_path: Path, store: Store) -> None:
    plan, _ = run(tmp_path, store, NEAREST, MEASURED)
    frame = results_frame(plan, scores_in_store(plan, store))
    assert (frame["nearest_test_se"] > 0).all() and (frame["nearest_test_low"] < frame["nearest_test_high"]).all()
    assert (frame["spread_test"] > 0).all() and "spread_test_se" not in frame
    a, b = plan.evaluations
    assert {"nearest_test", "fid_test"} <= difference_errors(store, a, b).keys()
    forget_loaded()
    write_sweep(tmp_path, MEASURED, NEAREST.replace(".values", ".values / 2"))
    (*_, step) = explain(f"{tmp_path}/mine.yaml:heun", store).steps
    assert (step.status.state, step.status.why) == ("planned", "the images are drawn, scores are left")
    assert step.remark == (
        "new scores: nearest/train, nearest/val, nearest/test; nearest() in ideas.py changed; computed from features "
        "that are in the store"
    )
    drawings = {path: path.stat().st_mtime_ns for path in (store.root / "drawings").rglob("*.safetensors")}
    again, done = run(tmp_path, store, NEAREST.replace(".values", ".values / 2"), MEASURED)
    assert done == ["evaluation"] * 2 and plan.evaluations.keys() == again.evaluations.keys()
    halved = results_frame(again, scores_in_store(again, store))
    assert list(halved["nearest_test"]) == pytest.approx(list(frame["nearest_test"] / 2), rel=1e-5)
    assert drawings == {path: path.stat().st_mtime_ns for path in drawings}


OTHERS = MEASURED.replace("extensions: [ideas.py]\n", "").replace("[fid, nearest, spread]", "[fid, kid]")


def test_sweeps_that_share_an_evaluation_keep_the_metrics_of_each_other(tmp_path: Path, store: Store) -> None:
    plan, _ = run(tmp_path, store, NEAREST, MEASURED)
    before = results_frame(plan, scores_in_store(plan, store))
    a, b = plan.evaluations
    errors = difference_errors(store, a, b)
    forget_loaded()
    other, done = run(tmp_path, store, "", OTHERS)
    assert done == ["evaluation"] * 2 and plan.evaluations.keys() == other.evaluations.keys()
    assert (results_frame(other, scores_in_store(other, store))["kid_test"] != 0).all()
    assert difference_errors(store, a, b).items() >= errors.items()
    again, done = run(tmp_path, store, NEAREST, MEASURED)
    assert done == []
    after = results_frame(again, scores_in_store(again, store))
    own = [name for name in before if str(name).startswith(("nearest", "spread", "fid"))]
    assert after[own].equals(before[own])


def test_metrics_of_other_sweeps_are_taken_over_for_the_same_images_alone(tmp_path: Path, store: Store) -> None:
    plan, _ = run(tmp_path, store, NEAREST, MEASURED)
    (signature, evaluation), *_ = plan.evaluations.items()
    done = store.finished(EvaluationResult, signature)
    assert done.images is not None and done.fingerprint is not None
    context: Any = SimpleNamespace(store=store, evaluation=evaluation, wanted=("fid/test",))

    def taken(found: EvaluationResult = done, images: int = done.images, measured_by: str = done.fingerprint) -> int:
        return len(TakenOver.of(context, found, dict(done.code), images, measured_by).scores)

    assert taken() == len([score for score in done.scores if score != "fid/test"])
    assert taken(images=done.images + 1) == 0
    assert taken(measured_by="another extractor") == 0
    assert taken(replace(done, code={**done.code, "drawing": "other code"})) == 0
    assert TakenOver.of(context, None, {}, done.images, done.fingerprint) == TakenOver()


WEIGHTING = """\
from edm import extend


@extend.weighting("halved")
def halved(sigma, sigma_data):
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2 / 2
"""

FAILING_LATER = [
    (
        DAMPED.replace("    return step", "    len(step.here.x) < 9 or exit('bye')\n    return step"),
        SWEEP,
        "SystemExit: bye (at ideas.py:",
    ),
    (
        NEAREST.replace("drawn.std() /", "(drawn.std() if len(drawn) < 50 else float('nan')) /"),
        MEASURED,
        "the metric 'spread' (ideas.py, spread), against train: returns a value that is not a finite number; correct",
    ),
    (
        DAMPED.replace("return step.here.x +", "return (1 if len(step.here.x) < 9 else float('nan')) * step.here.x +"),
        SWEEP,
        "; check the sampler damped (ideas.py, damped), guidance, sigma_max and the training",
    ),
    (
        WEIGHTING.replace("/ 2", "/ 2 * (1 if len(sigma) < 9 else float('nan'))"),
        SWEEP.replace("sampling.sampler: [euler, damped]", "training.weighting: [halved]"),
        "What may help: check halved (ideas.py, halved), or lower training.lr",
    ),
]


@pytest.mark.parametrize(("ideas", "sweep", "expected"), FAILING_LATER)
def test_what_fails_only_on_real_images_names_the_function(
    tmp_path: Path, store: Store, ideas: str, sweep: str, expected: str
) -> None:
    plan = plan_sweep(load_sweep(write_sweep(tmp_path, sweep, ideas)))
    check_plan(plan, store)
    keep_extensions(plan, store)
    forget_loaded()
    schedule = open_schedule(plan, store)
    execute(schedule, store)
    assert expected in next(iter(schedule.failures.values())).message


SHARING = (
    DAMPED
    + """

@extend.weighting("halved")
def halved(sigma, sigma_data):
    return 0.5 / sigma
"""
)


def test_extensions_of_a_file_share_its_variables_in_workers(tmp_path: Path, store: Store) -> None:
    sweep = SWEEP.replace("label_dropout", "weighting: halved, label_dropout")
    plan = plan_sweep(load_sweep(write_sweep(tmp_path, sweep, SHARING)))
    keep_extensions(plan, store)
    forget_loaded()
    for task in plan.evaluations.values():
        require_loaded(task, store)
    loaded = [registry.registration_of(extension).function for extension in plan.extensions.values()]
    assert len(loaded) == 2 and loaded[0].__globals__ is loaded[1].__globals__


BESIDE = DAMPED.replace(
    "def scaled(damping):", "def scaled(damping):\n    (Path(__file__).parent / 'scale.txt').read_text()"
)
AT_IMPORT = DAMPED + "\n\nSCALE = (Path(__file__).parent / 'scale.txt').read_text()\n"


@pytest.mark.parametrize("ideas", [BESIDE, AT_IMPORT])
def test_a_file_that_workers_lack_is_found_before_anything_starts(tmp_path: Path, store: Store, ideas: str) -> None:
    (tmp_path / "scale.txt").write_text("2")
    plan = plan_sweep(load_sweep(write_sweep(tmp_path, ideas="from pathlib import Path\n" + ideas)))
    with pytest.raises(UserError) as caught:
        check_plan(plan, store)
    at = str(tmp_path / "ideas.py")
    assert str(caught.value).startswith(at) and "the store, which keeps their Python files alone: give other" in str(
        caught.value
    )


def test_a_worker_names_a_file_as_the_sweep_file_does(tmp_path: Path, store: Store) -> None:
    (tmp_path / "fails").write_text("")
    failing = (
        f"import os\n\nif not os.path.exists({str(tmp_path / 'fails')!r}):\n    raise OSError('no licence')\n{DAMPED}"
    )
    plan = plan_sweep(load_sweep(write_sweep(tmp_path, ideas=failing)))
    keep_extensions(plan, store)
    forget_loaded()
    (tmp_path / "fails").unlink()
    (damped,) = [e for e in plan.evaluations.values() if e.sampling.sampler != "euler"]
    message = perform(store, damped, CONTEXT).message
    assert message == "ideas.py, damped: ideas.py:4: cannot be imported (OSError: no licence); correct it"


def test_a_traceback_shows_the_lines_that_ran(tmp_path: Path, store: Store) -> None:
    run(tmp_path, store, ideas=DAMPED)
    (damped,) = [r for r in registry._registered.values() if r.name == "damped"]
    with pytest.raises(AttributeError) as caught:
        damped.function(None, None)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].line == DAMPED.splitlines()[14].strip()


def test_a_table_shows_a_metric_under_its_title(tmp_path: Path, store: Store) -> None:
    wanted = MEASURED + "report: {metrics: [nearest_test, spread_val]}\n"
    titled = NEAREST.replace("better", 'title="to the nearest", better')
    plan = plan_sweep(load_sweep(write_sweep(tmp_path, wanted, titled)))
    assert METRICS["nearest_test"].title == "to the nearest test" and METRICS["spread_val"].better == "neither"
    unknown = wanted.replace("nearest_test", "nearest_tast")
    with pytest.raises(UserError, match=r"'nearest_tast' is not a metric; .*did you mean 'nearest_test'"):
        load_sweep(write_sweep(tmp_path, unknown, titled))
    assert len(plan.cells) == 2


@pytest.mark.slow
def test_several_processes_train_with_the_extension(tmp_path: Path, store: Store) -> None:
    sweep = SWEEP.replace("label_dropout: 0.1", "label_dropout: 0.1, weighting: halved").replace(", damped]", "]")
    plan = plan_sweep(load_sweep(write_sweep(tmp_path, sweep, WEIGHTING)))
    keep_extensions(plan, store)
    forget_loaded()
    (training,) = plan.trainings.values()
    outcome = perform(store, training, replace(CONTEXT, gpus=2.0))
    assert outcome.state == "done", outcome.message
    assert store.finished(TrainingResult, training.signature).gpus == 2


def test_pictures_are_drawn_by_the_extension_of_a_cell(tmp_path: Path, store: Store) -> None:
    run(tmp_path, store)
    (tmp_path / "ideas.py").unlink()
    forget_loaded()
    words = ["sample", "mine:damped", "--images", "2", "--steps", "4", "--out", str(tmp_path / "grid.png")]
    done = CliRunner().invoke(app, [*words, "--store", str(store.root), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "damped, 4 steps" in done.output and (tmp_path / "grid.png").exists()
