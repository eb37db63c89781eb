"""A sweep with averages of other widths, guides, another resolution, kept checkpoints; and pictures drawn from it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import edm
from edm.data.dataset import to_uint8
from edm.files import load_tensors
from edm.generate import draw
from experiments.cli.main import app
from experiments.errors import UserError
from experiments.inspection.explain import find
from experiments.runner.schedule import Schedule
from experiments.store.failures import Failure
from experiments.store.journal import Journal
from experiments.store.results import ComputingRecord, EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.sweep.jobs import Outcome
from experiments.sweep.plan import Plan
from experiments.tracking.records import record_plan
from experiments.trials.assets import load_averaged
from experiments.trials.pictures import Request, draw_pictures, sampling_of, spread_steps
from tests.inprocess import run_all
from tests.planning import load_sweep, plan_sweep

pytestmark = pytest.mark.usefixtures("few_statistics")

CPU = torch.device("cpu")
SWEEP = """\
name: studio
model:      {preset: nano, channels: 8, attention: none}
training:
  {kimg: 1.92, batch_size: 32, lr: 2.0e-3, ema_halflife_kimg: 0.1, label_dropout: 0.1, power_ema: [0.05, 0.1],
   power_ema_snapshots: 6, keep: [0.64], validate_kimg: 0.5, samples_kimg: 0.96}
sampling:   {steps: 4}
evaluation: {images: 60, features: classifier}
grid:
  - {sampling.ema: [null, 0.07, 0.1], sampling.guidance: [1], sampling.guide: [null], sampling.resolution: [null]}
  - sampling.ema: [null]
    sampling.guidance: [2]
    sampling.guide: [null, {kimg: 0.64}, {channels: 4}, {ema: 0.1}]
    sampling.resolution: [null]
  - {sampling.ema: [null], sampling.guidance: [2], sampling.guide: [null], sampling.resolution: [16]}
resources:  {sampling_batch: 60}
"""


@pytest.fixture(scope="module")
def studio(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """The sweep's plan and the store that a run of it filled."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("studio")
    shutil.copytree(prepared, root / "store")
    (root / "studio.yaml").write_text(SWEEP)
    plan, store = plan_sweep(load_sweep(root / "studio.yaml")), Store(root / "store")
    record_plan(plan, store)
    schedule = run_all(plan, store)
    assert not schedule.failures and not schedule.of("waiting", "failed", "blocked")
    return plan, store


def test_averages_guides_and_sizes_never_train_again(studio) -> None:
    plan, _ = studio
    assert len(plan.cells) == len(plan.evaluations) == 8
    # the network itself, and the guides that are trainings of their own: earlier, and smaller
    assert len(plan.trainings) == 3
    main = plan.cells[0].training
    earlier, smaller, averaged = (plan.cells[i].evaluation.guide for i in (4, 5, 6))
    assert earlier is not None and earlier.config.kimg == 0.64 and earlier.network == main.network
    assert smaller is not None and smaller.network.channels == 4
    assert smaller.config.kimg == 1.9  # the roundest number of as many steps as 1.92
    assert averaged is not None and averaged.signature == main.signature  # only its average is another


def test_an_evaluation_waits_for_both_of_its_trainings(studio, tmp_path: Path) -> None:
    plan, _ = studio
    schedule = Schedule(plan, frozenset())
    started = [task for job in iter(schedule.take, None) for task in job.tasks]
    assert [task.kind for task in started] == ["training"] * 3
    main, guide = plan.cells[4].evaluation.depends_on
    schedule.ended(main.signature, Outcome("done"))
    ready = {task.signature for job in iter(schedule.take, None) for task in job.tasks}
    assert plan.cells[0].evaluation.signature in ready and plan.cells[4].evaluation.signature not in ready
    schedule.ended(guide.signature, Outcome("done"))
    ready = {task.signature for job in iter(schedule.take, None) for task in job.tasks}
    assert ready == {plan.cells[4].evaluation.signature}
    schedule.ended(plan.cells[5].evaluation.depends_on[1].signature, Outcome.failed(Failure("no", "diverged")))
    assert schedule.states[plan.cells[5].evaluation.signature] == "blocked"


def test_every_cell_has_scores_of_its_own(studio) -> None:
    plan, store = studio
    scores = [store.finished(EvaluationResult, c.evaluation.signature).metrics["kid_test"] for c in plan.cells]
    assert len({round(score, 6) for score in scores}) == len(plan.cells)


def test_average_of_a_kept_width_is_the_one_that_training_tracked(studio) -> None:
    plan, store = studio
    training = plan.cells[0].training
    folder = store.folder("trainings", training.signature)
    last = sorted((folder / "snapshots").iterdir())[-1]
    assert len(list((folder / "snapshots").iterdir())) == 6
    model = load_averaged(store, training, 0.1, CPU)
    tracked = {n.partition("/")[2]: value for n, value in load_tensors(last).items() if n.startswith("0.1/")}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, tracked[name], rtol=1e-4, atol=1e-5)
    plain = load_averaged(store, training, None, CPU)
    assert any(not torch.allclose(a, b, 1e-3) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    # and it has batch-norm statistics of its own
    statistics = [dict(m.named_buffers())["network.down.0.0.norm1.norm.running_mean"] for m in (model, plain)]
    assert not torch.allclose(*statistics, rtol=1e-3)


def test_kept_checkpoint_is_the_network_of_that_time(studio) -> None:
    """A training of 0.64 kimg of its own and the checkpoint of the longer one at 0.64 kimg: the same weights."""
    plan, store = studio
    main, guide = plan.cells[4].evaluation.depends_on
    [kept] = (store.folder("trainings", main.signature) / "kept").iterdir()
    assert kept.name.startswith("kimg00000000.640")
    assert (
        kept.relative_to(store.folder("trainings", main.signature)).as_posix()
        in store.finished(TrainingResult, main.signature).files
    )
    a, b = edm.load(kept), edm.load(guide.signature, store=store.root)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_training_is_watched_as_it_goes_on(studio) -> None:
    plan, store = studio
    folder = store.folder("trainings", plan.cells[0].training.signature)
    lines = Journal(folder / "validation.jsonl").read()
    assert [line["kimg"] for line in lines] == pytest.approx([0.512, 1.024, 1.504, 1.92])
    assert lines[-1]["val_loss"] < lines[0]["val_loss"] and len(lines[0]["levels"]) == 10
    assert store.finished(TrainingResult, plan.cells[0].training.signature).val_loss == lines[-1]["val_loss"]
    pictures = sorted(path.name for path in (folder / "samples").iterdir())
    assert pictures == ["kimg00000000.960.png", "kimg00000001.920.png"]
    journal = Journal(folder / "journal.jsonl").read()
    assert len(journal) > len(lines)
    assert all(line["memory_gib"] > 0 and line["images_per_s"] > 0 for line in journal)
    computing = store.finished(TrainingResult, plan.cells[0].training.signature).computing
    assert computing == ComputingRecord("fp32", compiled=False)


# naming ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ema=0.07/guidance=1/guide=null/resolution=null", "evaluation"),
        ("ema=0.07", "evaluation"),
        ("studio:ema=0.07", "evaluation"),
        ("ema=null", "training"),  # several cells, one training
        ("ema=null/guidance=2/guide=kimg=0.64", "evaluation"),
        ("studio/guide kimg=0.64", "training"),  # of a guide
    ],
)
def test_cells_are_found_by_name_or_how_it_begins(studio, text: str, kind: str) -> None:
    plan, store = studio
    task = find(text, store)
    assert task.kind == kind
    assert task in (*plan.evaluations.values(), *plan.trainings.values())


def test_work_is_found_by_signature_or_how_it_begins(studio) -> None:
    plan, store = studio
    for task in (*plan.trainings.values(), *plan.evaluations.values()):
        assert find(task.signature, store) == find(task.signature[:12], store) == task


def test_what_cannot_be_found_is_said(studio, tmp_path: Path) -> None:
    plan, store = studio
    with pytest.raises(UserError, match="other: no sweep of that name was run with the store"):
        find("other:ema=0.07", store)
    for text in ("nothing", "0", "../../x"):
        with pytest.raises(UserError, match="matches no cell of a sweep that was run with the store"):
            find(text, store)
    with pytest.raises(UserError, match=r"did you mean 'ema=0.07/guidance=1/guide=null/resolution=null'"):
        find("ema=0.7/guidance=1/guide=null/resolution=null", store)
    other = replace(plan.sweep, name="other")
    cells = tuple(replace(c, training=replace(c.training, signature="b" * 20)) for c in plan.cells)
    copied = Store(tmp_path / "copied")
    shutil.copytree(store.root / "sweeps", copied.root / "sweeps")
    record_plan(replace(plan, sweep=other, cells=cells), copied)
    with pytest.raises(UserError, match=r"matches 12 cells .*other:ema=null.* give more of the name, or SWEEP:CELL"):
        find("ema=null", copied)


# pictures -------------------------------------------------------------------------------------------


def sample(store: Store, *arguments: object):
    """`edm-sweep sample` in this process."""
    command = ["sample", *map(str, arguments), "--store", str(store.root), "--json"]
    result = CliRunner().invoke(app, command)
    return result, json.loads(result.stdout)["pictures"] if result.exit_code == 0 else []


def test_grid_holds_the_images_of_that_label_and_nothing_else_changed(studio, tmp_path: Path) -> None:
    plan, store = studio
    out = tmp_path / "new" / "grid.png"
    options = ("--images", 9, "--label", 7, "--guidance", 2.5, "--sampler", "heun", "--steps", 5, "--out", out)
    result, pictures = sample(store, "ema=null", *options)
    assert result.exit_code == 0, result.output
    assert pictures == [str(out)]
    assert json.loads(result.stdout)["drawn"] == (
        f"training {plan.cells[0].training.signature} on digits: heun, 5 steps, guidance 2.5, class 7"
    )
    model = edm.load(plan.cells[0].training.signature, store=store.root)
    sampling = sampling_of(plan.cells[0].training, {"guidance": 2.5, "sampler": "heun", "steps": 5})
    images = to_uint8(draw(model, sampling, torch.arange(9), torch.full((9,), 7)))
    with Image.open(out) as opened:
        picture = torch.from_numpy(np.array(opened))
    tile = picture[34 : 34 + 32 : 4, 34 * 2 : 34 * 2 + 32 : 4]  # 8 pixels enlarged four times; second row, third column
    assert picture.shape == (3 * 34 - 2, 3 * 34 - 2)
    assert torch.equal(tile, images[5, 0])


def test_a_cell_is_drawn_as_it_samples(studio, tmp_path: Path) -> None:
    """The first images of an evaluation and the same drawn by hand: its average, guide and size."""
    plan, store = studio
    for cell in (plan.cells[1], plan.cells[4], plan.cells[6], plan.cells[7]):
        request = Request(60, None, per_class=False, trajectory=False, out=tmp_path / "grid.png", batch=60)
        task = cell.evaluation
        [path] = draw_pictures(task, sampling_of(task, {}), request, store, CPU)
        with (
            Image.open(path) as drawn,
            Image.open(store.folder("evaluations", task.signature) / "samples.png") as kept,
        ):
            assert kept.size[0] == 10 * 34 - 2  # 8x8 enlarged four times, 16x16 twice
            first = [image.crop((0, 0, 6 * 34 - 2, 32)).tobytes() for image in (drawn, kept)]
        assert first[0] == first[1]


def test_a_cell_can_be_drawn_before_its_evaluation_has_begun(studio, tmp_path: Path) -> None:
    plan, store = studio
    copied, cell = Store(tmp_path / "store"), plan.cells[0]
    shutil.copytree(store.root, copied.root)
    shutil.rmtree(copied.folder("evaluations", cell.evaluation.signature))
    result, _ = sample(copied, "ema=null/guidance=1", "--images", 1, "--out", tmp_path / "grid.png")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["drawn"].endswith("heun, 4 steps, guidance 1")


def test_pages_a_class_and_trajectory(studio, tmp_path: Path) -> None:
    _, store = studio
    _, pictures = sample(store, "ema=null", "--images", 4, "--per-class", "--steps", 2, "--out", tmp_path / "page.png")
    assert [Path(p).name for p in pictures] == [f"page-class-{label}.png" for label in range(10)]
    assert len({Path(p).read_bytes() for p in pictures}) == 10
    assert not list(tmp_path.glob("page-class-*-*"))  # digits are called by their numbers
    _, [path] = sample(store, "ema=null", "--images", 3, "--trajectory", "--steps", 6, "--out", tmp_path / "way.png")
    columns, rows = 7, 6  # six steps and the image; three images of two rows
    with Image.open(path) as picture:
        assert picture.size == (columns * 74 - 2, rows * 74 - 2 + 14)


def test_an_animation_has_a_frame_for_each_step_and_ends_in_the_images(studio, tmp_path: Path) -> None:
    plan, store = studio
    options = ("--images", 3, "--trajectory", "--gif", "--steps", 6, "--out", tmp_path / "way.gif")
    _, [path] = sample(store, "ema=null", *options)
    model = edm.load(plan.cells[0].training.signature, store=store.root)
    images = to_uint8(draw(model, sampling_of(plan.cells[0].training, {"steps": 6}), torch.arange(3), torch.arange(3)))
    with Image.open(path) as animation:
        assert animation.format == "GIF" and animation.n_frames == 7
        animation.seek(6)
        pixels = torch.from_numpy(np.array(animation.convert("L")))
    for i, image in enumerate(images):
        left = pixels.shape[1] - (3 - i) * 74 + 2  # of its column: images of 72 pixels and gaps of 2
        assert torch.equal(pixels[14 : 14 + 72 : 9, left : left + 72 : 9], image[0])


def test_pages_of_classes_with_names_have_these_in_their_names(studio, tmp_path: Path) -> None:
    plan, store = studio
    names = ("T-shirt/top", "Ankle boot", "", "3", "../..", "猫", *("x" * 300, "a\nb", "nul", "9"))
    request = Request(1, None, per_class=True, trajectory=False, out=tmp_path / "grid.png", class_names=names)
    task = plan.cells[0].training
    paths = draw_pictures(task, sampling_of(task, {"steps": 2}), request, store, CPU)
    parts = ["0-T-shirt-top", "1-Ankle-boot", "2", "3", "4", "5-猫", f"6-{'x' * 40}", "7-a-b", "8-nul", "9"]
    assert [path.name for path in paths] == [f"grid-class-{part}.png" for part in parts]
    assert all(path.parent == tmp_path and path.exists() for path in paths)


def test_guidance_interval_and_churn_are_options(studio, tmp_path: Path) -> None:
    _, store = studio
    drawn = []
    for options in ([], ["--guidance-interval", 0.1, 1], ["--sampler", "stochastic_heun", "--s-churn", 5]):
        wanted = ["--images", 4, "--guidance", 3, "--steps", 6, *options, "--out", tmp_path / "grid.png"]
        _, [path] = sample(store, "ema=null", *wanted)
        drawn.append(Path(path).read_bytes())
    assert len(set(drawn)) == 3


@pytest.mark.parametrize(("steps", "most", "expected"), [(1, 9, {0}), (3, 9, {0, 1, 2}), (9, 3, {0, 4, 8})])
def test_shown_steps_are_spread_evenly(steps: int, most: int, expected: set[int]) -> None:
    assert spread_steps(steps, most) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gif",), "--gif: animates the denoising; add --trajectory"),
        (("--gif", "--trajectory", "--out", "a.png"), "--out a.png: animations are GIF files; name it a.gif"),
        (("--guidance-interval", "3", "1"), "--guidance-interval: 3 to 1 is not a range of noise levels"),
        (
            ("--label", "1", "--per-class"),
            "--per-class: draws a grid of every class; leave --label and --trajectory out",
        ),
        (("--label", "10"), "--label 10: is not a class of this network; there are 0 to 9"),
        (("--ema", "0.5"), "--ema: 0.5 is not a relative width"),
        (("--resolution", "9"), "--resolution 9: the network needs a multiple of 4"),
        (("--steps", "0"), "--steps: 0 is not above 0"),
        (("--schedule", "iddpm", "--steps", "2000"), "--schedule: iddpm has 991 levels"),
        (("--out", "grid.jpg"), "--out grid.jpg: pictures are PNG files; name it grid.png"),
        (("--device", "cuda"), "--device cuda: torch sees no GPU here"),
    ],
)
def test_wrong_options_are_one_sentence(studio, options: tuple[str, ...], message: str) -> None:
    _, store = studio
    result, _ = sample(store, "ema=null", *options)
    assert isinstance(result.exception, UserError) and message in str(result.exception)


def test_an_unfinished_training_is_said(studio, tmp_path: Path) -> None:
    plan, store = studio
    copied = Store(tmp_path / "copied")
    shutil.copytree(store.root, copied.root)
    name = plan.cells[0].training.signature
    (copied.folder("trainings", name) / "result.json").unlink()
    result, _ = sample(copied, "ema=0.07", "--out", tmp_path / "new" / "grid.png")
    assert isinstance(result.exception, UserError) and "with --recompute missing" in str(result.exception)
    assert not (tmp_path / "new").exists()
