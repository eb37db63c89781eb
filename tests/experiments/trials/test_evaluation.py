"""Evaluations: drawn once, scored to the same bits however they were cut, stopped early only where asked to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch._dynamo import OptimizedModule

from edm.generate import labels_of
from experiments.errors import UserError
from experiments.runner.resume import open_schedule
from experiments.store.checksummed import write_checksummed
from experiments.store.progress import TaskProgress
from experiments.store.results import EvaluationResult, SolutionRecord
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import ExactSolution
from experiments.sweep.tasks import Evaluation, Training
from experiments.tracking.frames import results_frame, scores_in_store
from experiments.tracking.paired_errors import difference_errors, influence_files, paired_deviations
from experiments.trials.assets import ensure_published, load_published
from experiments.trials.evaluation import context as evaluation_context
from experiments.trials.evaluation import draw
from experiments.trials.evaluation import prepare as evaluation_prepare
from experiments.trials.evaluation.context import EvaluationContext
from experiments.trials.evaluation.denoising import STEPS, save_denoising
from experiments.trials.perform import perform
from experiments.trials.pictures import draw_moments
from tests.inprocess import CONTEXT, cut_segments, execute, run_all
from tests.planning import load_sweep, plan_sweep

pytestmark = pytest.mark.usefixtures("few_statistics")

SPLITS = ("train", "val", "test")


def planned(file: Path, *overrides: str) -> Plan:
    return plan_sweep(load_sweep(file, overrides))


def first(plan: Plan) -> Evaluation:
    return next(iter(plan.evaluations.values()))


@pytest.fixture
def store(trained: Store) -> Store:
    """Most evaluations here are of the networks of the tiny sweep."""
    return trained


def metrics(store: Store, evaluation: Evaluation) -> dict[str, float]:
    result = store.result(EvaluationResult, evaluation.signature)
    assert result is not None
    return result.metrics


def test_progress_says_what_follows_the_drawing(tiny_file: Path, store: Store, monkeypatch) -> None:
    """Images that are drawn are not the evaluation: it measures and scores them, which is said at once."""
    plan = planned(tiny_file)
    seen: list[TaskProgress] = []
    original = TaskProgress.write

    def write(self: TaskProgress, folder: Path) -> None:
        seen.append(self)
        original(self, folder)

    monkeypatch.setattr(TaskProgress, "write", write)
    assert perform(store, first(plan), replace(CONTEXT, report_s=0.0)).state == "done"
    doing = [progress.phase or progress.unit for progress in seen]
    drawn = next(i for i, progress in enumerate(seen) if progress.unit == "images" and progress.done == progress.total)
    after = list(dict.fromkeys(doing[drawn + 1 :]))
    assert after.index("images measured") < after.index("scoring") < after.index("scoring fid against test")
    assert seen[drawn].left_s is None
    seen.clear()
    (store.folder("evaluations", first(plan).signature) / "result.json").unlink()
    assert perform(store, first(plan), replace(CONTEXT, report_s=3600.0)).state == "done"
    assert "scoring" in [progress.phase for progress in seen]  # also where nothing is due to be reported


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_segments(monkeypatch, 50)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where every segment begins that is drawn."""
    starts: list[int] = []
    original = draw._generate

    def counting(context: EvaluationContext, start: int, stop: int) -> torch.Tensor:
        starts.append(start)
        return original(context, start, stop)

    monkeypatch.setattr(draw, "_generate", counting)
    return starts


@pytest.mark.usefixtures("small_segments")
def test_shards_drawn_in_any_order_score_the_same_to_the_last_bit(
    tiny_plan: Plan, store: Store, tmp_path: Path
) -> None:
    evaluation, other = first(tiny_plan), Store(tmp_path / "shards")
    other.root.symlink_to(store.root)  # what the evaluation depends on is shared
    assert perform(store, evaluation, CONTEXT).state == "done"
    whole = store.result(EvaluationResult, evaluation.signature)
    influences = load_file(store.folder("evaluations", evaluation.signature) / "influences.safetensors")
    for path in store.folder("drawings", evaluation.drawing).glob("*/*.safetensors"):
        path.unlink()
    (store.folder("evaluations", evaluation.signature) / "result.json").unlink()
    for start, stop in ((100, 120), (50, 100)):  # shards, the last one first; the first is left to the evaluation
        draw.draw_segment(EvaluationContext(other, evaluation, CONTEXT), start, stop)
    assert perform(other, evaluation, CONTEXT).state == "done"
    merged = store.result(EvaluationResult, evaluation.signature)
    assert whole is not None and merged is not None and merged.metrics == whole.metrics
    again = load_file(store.folder("evaluations", evaluation.signature) / "influences.safetensors")
    assert all(torch.equal(again[name], value) for name, value in influences.items())


def test_more_images_of_the_same_kind_are_drawn_from_where_fewer_ended(
    tiny_file: Path, store: Store, drawn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_segments(monkeypatch, 50)
    few, many = planned(tiny_file, "evaluation.images=100"), planned(tiny_file, "evaluation.images=150")
    assert perform(store, first(few), CONTEXT).state == "done" and drawn == [0, 50]
    assert perform(store, first(many), CONTEXT).state == "done" and drawn == [0, 50, 100]
    assert metrics(store, first(few))["fid_test"] != metrics(store, first(many))["fid_test"]


class Pooled:
    """A stand-in for a second feature space: pixels, repeated to the dimension that a real one has."""

    dimension, knows_classes, fingerprint = 1024, False, "pooled"

    def __call__(self, images):
        return images.flatten(1).float().repeat(1, 16), None


@pytest.fixture
def second_space(monkeypatch: pytest.MonkeyPatch) -> None:
    original = evaluation_context.ensure_extractor

    def extractor(store, source, space, device, on_phase):
        return Pooled() if space.name == "dinov2" else original(store, source, space, device, on_phase)

    for module in (evaluation_context, evaluation_prepare):
        monkeypatch.setattr(module, "ensure_extractor", extractor)
    monkeypatch.setattr("experiments.trials.downloads.find_weights", lambda *_: Path("weights that nobody reads"))


@pytest.mark.usefixtures("second_space")
def test_images_measured_in_two_feature_spaces_are_drawn_once(tiny_file: Path, store: Store, drawn: list[int]) -> None:
    text = tiny_file.read_text().replace("sampling.sampler: [euler, heun]", "evaluation.features: [classifier, dinov2]")
    tiny_file.write_text(text)
    plan = planned(tiny_file)
    assert not run_all(plan, store).of("failed", "blocked")
    assert drawn == [0, 0]  # two trainings, a segment each
    frame = results_frame(plan, scores_in_store(plan, store))
    assert list(frame["status"]) == ["done"] * 4
    by_classifier = frame[frame["evaluation.features"] == "classifier"]
    by_pixels = frame[frame["evaluation.features"] == "dinov2"]
    assert by_classifier["fid_test"].notna().all() and by_pixels["fid_test"].isna().all()
    assert by_pixels["kid_test"].notna().all() and by_pixels["notes"].str.contains("KID instead").all()
    assert by_pixels["class_accuracy"].isna().all()


@pytest.mark.usefixtures("second_space")
def test_class_accuracy_can_be_had_beside_another_feature_space(tiny_file: Path, store: Store) -> None:
    options = ("evaluation.features=dinov2", "evaluation.metrics=[kid, accuracy]")
    plan, usual = planned(tiny_file, *options), planned(tiny_file)
    run_all(plan, store)
    assert perform(store, first(usual), CONTEXT).state == "done"
    found = metrics(store, first(plan))
    assert found["class_accuracy"] == metrics(store, first(usual))["class_accuracy"] and "fid_test" not in found


def test_every_distance_has_an_error_an_interval_and_influences(tiny_plan: Plan, filled: Store) -> None:
    evaluation = first(tiny_plan)
    found = metrics(filled, evaluation)
    influences = load_file(filled.folder("evaluations", evaluation.signature) / "influences.safetensors")
    assert influences.keys() == {"class_accuracy", *(f"{m}_{s}" for m in ("fid", "kid") for s in SPLITS)}
    for name, values in influences.items():
        assert values.shape == (120,) and values.dtype == torch.float32
        error = float(values.double().std()) / 120**0.5
        assert found[f"{name}_se"] == pytest.approx(error, rel=1e-5)
        assert found[f"{name}_low"] == pytest.approx(found[name] - 1.959964 * error, rel=1e-4)
        high = found[name] + 1.959964 * error
        assert found[f"{name}_high"] == pytest.approx(min(high, 1) if name == "class_accuracy" else high, rel=1e-4)


def test_differences_between_cells_are_known_better_than_the_cells(tiny_plan: Plan, filled: Store) -> None:
    cells, deviations = paired_deviations(influence_files(tiny_plan, filled))["fid_test"]
    covariance = deviations.astype(np.float64) @ deviations.T
    assert cells == tuple(tiny_plan.cell_name(planned) for planned in tiny_plan.cells)
    assert np.allclose(covariance, covariance.T) and np.linalg.eigvalsh(covariance).min() > 0
    for planned_cell, variance in zip(tiny_plan.cells, covariance.diagonal(), strict=True):
        assert variance**0.5 == pytest.approx(metrics(filled, planned_cell.evaluation)["fid_test_se"], rel=1e-4)
    a, b = cells.index("no-attention/euler"), cells.index("attention/euler")
    assert covariance[a, b] > 0  # the same noise and the same labels


def test_statistics_know_what_they_are_of(tiny_plan: Plan, filled: Store) -> None:
    path = filled.folder("evaluations", first(tiny_plan).signature) / "statistics.safetensors"
    with safe_open(path, framework="pt") as file:
        assert (
            file.metadata()["fingerprint"]
            == EvaluationContext(filled, first(tiny_plan), CONTEXT).references.extractor.fingerprint
        )
    assert int(load_file(path)["count"]) == 120


MORE = "evaluation.metrics=[fid, fid_infinity, memorisation]"


@pytest.fixture
def short_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few steps be the exact solution, as a network takes its time."""
    monkeypatch.setattr("edm.config.sampling.EXACT_STEPS", 64)


@pytest.mark.usefixtures("short_solution")
def test_scores_that_are_asked_for_later_are_added_without_drawing_again(
    tiny_file: Path, store: Store, drawn: list[int]
) -> None:
    tiny_file.write_text(tiny_file.read_text().replace("attention: [false, true]", "attention: [false]"))
    few = planned(tiny_file, "evaluation.images=300")
    run_all(few, store)
    before = {name: metrics(store, e) for name, e in few.evaluations.items()}
    drawn.clear()
    more = planned(tiny_file, "evaluation.images=300", MORE, "evaluation.truncation=true")
    assert [task.kind for task in open_schedule(more, store).of("waiting")] == [
        "references",
        "solution",
        *["evaluation"] * 2,
    ]
    run_all(more, store)
    assert drawn == []
    for name, evaluation in more.evaluations.items():
        found = metrics(store, evaluation)
        assert before[name].items() <= found.items()
        assert found["nn_copied_pixels_se"] > 0
        assert {"nn_ratio_pixels", "nn_copied_features", "real_nn_ratio_pixels", "truncation_rms"} <= found.keys()
        assert all(found[f"fid_infinity_{split}_se"] > 0 for split in SPLITS)
    assert difference_errors(store, *more.evaluations)["nn_copied_features"] > 0
    frame = results_frame(more, scores_in_store(more, store))
    assert frame[["nn_copied_pixels", "nn_copied_pixels_se", "real_nn_copied_features"]].notna().all().all()
    assert not open_schedule(few, store).of("waiting")  # fewer scores are covered by more


@pytest.mark.usefixtures("short_solution")
def test_samplers_share_one_exact_solution_and_better_ones_are_nearer(tiny_file: Path, store: Store) -> None:
    text = tiny_file.read_text().replace("model.attention: [false, true]", "sampling.steps: [2, 12]")
    tiny_file.write_text(text)
    plan = planned(tiny_file, "evaluation.truncation=true")
    run_all(plan, store)
    (solution,) = (task for task in plan.preparations.values() if isinstance(task, ExactSolution))
    record = store.result(SolutionRecord, solution.signature)
    assert record is not None and record.seconds > 0 and "exact" not in str(record.code)
    assert [path.parent.name for path in store.root.glob("exact/*/result.json")] == [solution.signature]
    result = store.result(EvaluationResult, next(iter(plan.evaluations)))
    assert result is not None and "solution: sampler/heun" in result.code
    errors = {
        name: metrics(store, e)["truncation_rms"]
        for name, e in ((plan.names[n], e) for n, e in plan.evaluations.items())
    }
    assert 0 < errors["steps=12/heun"] < errors["steps=12/euler"] < errors["steps=2/euler"]


def test_the_closest_pairs_are_a_picture_and_too_few_images_are_noted(tiny_file: Path, filled: Store) -> None:
    plan = planned(tiny_file, MORE)
    assert perform(filled, first(plan), CONTEXT).state == "done"
    notes = scores_in_store(plan, filled)[first(plan).signature].notes
    assert any(
        note.startswith("no FID-infinity") and "at least 256 images, and there are 120" in note for note in notes
    )
    with Image.open(filled.folder("evaluations", first(plan).signature) / "closest.png") as picture:
        assert picture.width > 300 and picture.height > 100


STOPPING = ("evaluation.images=1500", "evaluation.stop_when=0.999")


def test_an_evaluation_stops_early_where_it_is_clearly_worse(tiny_file: Path, store: Store, drawn: list[int]) -> None:
    text = (
        tiny_file.read_text().replace("attention: [false, true]", "attention: [false]").replace("kimg: 0.64", "kimg: 3")
    )
    tiny_file.write_text(text.replace("[euler, heun]", "[heun, euler]\n  sampling.steps: [1, 4]"))
    plan = planned(tiny_file, *STOPPING)
    schedule = open_schedule(plan, store)
    execute(schedule, store)
    assert not schedule.of("failed", "blocked")
    frame = results_frame(plan, scores_in_store(plan, store)).set_index("cell")
    assert set(frame.loc[frame["status"] == "stopped", "stopped_at"]) == {1000}
    stopped = frame.index[frame["status"] == "stopped"]
    names = {name.removeprefix("no-attention/") for name in stopped}
    assert {"heun/steps=1", "euler/steps=1"} <= names and "heun/steps=4" not in names
    assert frame.loc[stopped, [f"fid_{s}" for s in SPLITS]].isna().all().all()
    assert not open_schedule(plan, store).of("waiting")  # stopped is done
    drawn.clear()
    everything = planned(tiny_file, STOPPING[0])  # without the option: the rest is drawn
    execute(open_schedule(everything, store), store)
    assert drawn == [1000] * len(set(frame.loc[stopped, "evaluation"]))  # some are one
    assert set(results_frame(everything, scores_in_store(everything, store))["status"]) == {"done"}


def test_prefixes_of_the_images_are_scored_in_the_same_pass(tiny_file: Path, store: Store) -> None:
    plan = planned(tiny_file, "evaluation.images=1200", "sampling.steps=2")
    assert perform(store, first(plan), CONTEXT).state == "done"
    result = store.result(EvaluationResult, first(plan).signature)
    assert result is not None
    assert [row["images"] for row in result.prefixes] == [1000, 1200]
    assert result.prefixes[1]["fid_test"] == result.metrics["fid_test"]
    assert result.prefixes[0]["fid_test"] != result.metrics["fid_test"]
    assert result.prefixes[0]["fid_test_se"] > result.prefixes[1]["fid_test_se"] > 0


def test_a_published_statistics_file_is_taken_into_the_store(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "refs.npz"
    np.savez(path, mu=np.arange(8.0), sigma=np.diag(np.arange(1.0, 9.0)))
    ensure_published(store, path, "0123", 8)
    path.unlink()  # the store's copy serves
    ensure_published(store, path, "0123", 8)
    found = load_published(store, "0123", 8)
    assert found.count is None and found.mean.tolist() == list(range(8))
    torch.testing.assert_close((found.factor @ found.factor.T).diagonal(), torch.arange(1.0, 9.0).double())


def test_statistics_of_another_feature_space_are_refused(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "refs.npz"
    np.savez(path, mu=np.zeros(768), sigma=np.eye(768))
    before = set(store.root.rglob("*"))
    with pytest.raises(UserError, match=r"evaluation.statistics: .*768.*2,?048"):
        ensure_published(store, path, "4567", 2048)
    assert set(store.root.rglob("*")) == before


def test_images_that_are_no_numbers_fail_their_evaluation_with_the_remedy(
    tiny_plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = evaluation_context.load_averaged

    def broken(store: Store, training: Training, width: float | None, device: torch.device):
        model = original(store, training, width, device)
        next(model.parameters()).fill_(float("nan"))
        return model

    monkeypatch.setattr(evaluation_context, "load_averaged", broken)
    outcome = perform(store, first(tiny_plan), CONTEXT)
    assert outcome.state == "failed" and outcome.message.startswith("image 0 holds values that are not finite")
    assert not list(store.folder("drawings", first(tiny_plan).drawing).glob("*/*"))


def test_scores_that_another_sweep_asked_for_stay_when_more_are_added(tiny_file: Path, store: Store) -> None:
    one = planned(tiny_file, "evaluation.metrics=[fid]")
    two = planned(tiny_file, "evaluation.metrics=[kid]", "evaluation.splits=[test]")
    run_all(one, store)
    before = metrics(store, first(one))
    run_all(two, store)
    after = store.result(EvaluationResult, first(two).signature)
    assert after is not None and before.items() <= after.metrics.items() and "kid_test" in after.metrics
    assert {"fid_train", "fid_val", "fid_test"} <= after.prefixes[-1].keys()


@pytest.mark.usefixtures("second_space")
def test_accuracy_stays_when_a_sweep_without_it_adds_to_the_same_images(tiny_file: Path, store: Store) -> None:
    with_it = planned(tiny_file, "evaluation.features=dinov2", "evaluation.metrics=[kid, accuracy]")
    without = planned(tiny_file, "evaluation.features=dinov2", "evaluation.metrics=[kid, prdc]")
    run_all(with_it, store)
    before = metrics(store, first(with_it))["class_accuracy"]
    run_all(without, store)
    after = metrics(store, first(without))
    assert after["class_accuracy"] == before and "recall_test" in after


def test_a_finished_evaluation_is_never_cut_short_afterwards(tiny_file: Path, store: Store) -> None:
    text = tiny_file.read_text().replace("attention: [false, true]", "attention: [false]")
    tiny_file.write_text(text.replace("[euler, heun]", "[heun]\n  sampling.steps: [1, 4]"))
    plan = planned(tiny_file, *STOPPING)
    worse = next(e for name, e in plan.evaluations.items() if plan.names[name].endswith("no-attention/heun/steps=1"))
    assert perform(store, worse, CONTEXT).state == "done"  # before there is a rival
    run_all(plan, store)
    before = store.result(EvaluationResult, worse.signature)
    run_all(planned(tiny_file, *STOPPING, "evaluation.metrics=[fid, kid, prdc, fid_infinity]"), store)
    after = store.result(EvaluationResult, worse.signature)
    assert before is not None and after is not None and after.images == before.images == 1500
    assert after.metrics["fid_test"] == before.metrics["fid_test"] and "fid_infinity_test" in after.metrics


def test_influences_that_are_damaged_compare_nothing(tiny_plan: Plan, filled: Store) -> None:
    path = filled.folder("evaluations", first(tiny_plan).signature) / "influences.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    cells, deviations = paired_deviations(influence_files(tiny_plan, filled))["fid_test"]
    assert len(cells) == len(deviations) == 3


def test_some_steps_of_the_first_images_are_kept_beside_them(tiny_plan: Plan, filled: Store) -> None:
    evaluation = first(tiny_plan)
    context = EvaluationContext(filled, evaluation, CONTEXT)
    kept, steps = context.kept_of_first(), evaluation.sampling.steps
    assert len(kept["noisy"]) == len(kept["denoised"]) == len(kept["sigmas"]) == min(steps, STEPS)
    assert kept["sigmas"].diff().lt(0).all() and kept["sigmas"][0] == evaluation.sampling.sigma_max
    model, guide = context.models
    _, final = draw_moments(model, guide, evaluation.sampling, labels_of(torch.arange(2), 10), STEPS)
    difference = (final.int() - kept["images"][:2].int()).abs()
    assert difference.max() <= 1, "they are the steps of these very images, but for the size of the batch"


def test_images_drawn_by_earlier_versions_have_no_picture_of_steps(tiny_file: Path, store: Store) -> None:
    tiny_file.write_text(tiny_file.read_text().replace("attention: [false, true]", "attention: [false]"))
    plan = planned(tiny_file)
    evaluation = first(plan)
    run_all(plan, store)
    picture = store.folder("evaluations", evaluation.signature) / "denoising.png"
    images = EvaluationContext(store, evaluation, CONTEXT).first_pixels()
    assert picture.exists()
    write_checksummed(store.folder("drawings", evaluation.drawing), "images", {"images": images})
    picture.unlink()
    run_all(planned(tiny_file, "evaluation.metrics=[fid,kid]"), store)
    assert not picture.exists() and (picture.parent / "samples.png").exists()


def test_a_picture_of_steps_stays_small_for_large_images(tmp_path: Path) -> None:
    states = torch.randint(256, (8, 2, 3, 200, 200), dtype=torch.uint8)
    recorded = {"noisy": states, "denoised": states, "sigmas": torch.linspace(80, 1, 8, dtype=torch.float64)}
    save_denoising(recorded, states[0], tmp_path / "steps.png")
    with Image.open(tmp_path / "steps.png") as picture:
        assert picture.width < 9 * 110 and picture.height < 4 * 110
    save_denoising(recorded, states[0][:1], tmp_path / "one.png")
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.height < 2 * 110


def test_networks_are_compiled_for_drawing_where_that_is_asked_for(tiny_plan: Plan, filled: Store) -> None:
    evaluation = first(tiny_plan)
    plain = EvaluationContext(filled, evaluation, CONTEXT)
    assert plain.drawing_models is plain.models
    asked = EvaluationContext(filled, evaluation, replace(CONTEXT, compile=True))
    model, guide = asked.drawing_models
    assert guide is None and model is not asked.models[0]
    assert [*model.parameters()] == [*asked.models[0].parameters()]  # the very same tensors
    assert isinstance(model.network, OptimizedModule)
    assert not isinstance(asked.models[0].network, OptimizedModule)
