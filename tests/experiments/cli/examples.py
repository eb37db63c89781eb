"""Each view of the command line with made-up content: what a terminal shows of it is compared with snapshots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from experiments.cli.views.calibration import cost_lines, machines_table, networks_table
from experiments.cli.views.comparison import comparison_view
from experiments.cli.views.datasets import listing_table, record_view
from experiments.cli.views.explanation import explanation_view
from experiments.cli.views.findings import finding_view, summary_line
from experiments.cli.views.garbage import garbage_table
from experiments.cli.views.live import live_view
from experiments.cli.views.plan import plan_tables, trainings_table
from experiments.cli.views.status import overview_table, status_view
from experiments.inspection.compare import CellComparison, ComparedNumber
from experiments.inspection.config_diff import FieldDifference
from experiments.inspection.datasets import listed
from experiments.inspection.doctor import Finding
from experiments.inspection.explain import Dependency, Explanation
from experiments.inspection.garbage import Garbage
from experiments.inspection.lookup import NamedTask
from experiments.inspection.status import CellState, CellStatus, Status, SweepOverview, TaskStatus
from experiments.runner.forecast import Forecast, Span
from experiments.runner.progress import RunningTask
from experiments.runner.schedule import Schedule
from experiments.store.active_runs import ActiveRun
from experiments.store.progress import RunProgressRecord, TaskProgress
from experiments.store.store import Store
from tests import ROOT
from tests.planning import load_sweep, plan_sweep

A, B, C = "0c1f5a9e27b3d4e6f708", "91ab33c07e5d2f4a6b18", "5e6d7c8b9a0f1e2d3c4b"
HOST = "host gpu-node-17, process 4021337"


def _planned(*overrides: str) -> tuple[Any, Schedule]:
    plan = plan_sweep(load_sweep(ROOT / "sweeps" / "digits.yaml", overrides))
    return plan, Schedule(plan, frozenset([next(iter(plan.trainings))]))


def plan() -> RenderableType:
    return Group(*plan_tables(*_planned()))


def run() -> RenderableType:
    return trainings_table(*_planned())


def calibration() -> RenderableType:
    measured = {"fits": True, "nfe": [18, 70], "kimg_s": 1234.5, "forward_s": 0.0417, "sampling_gib": 10.25}
    rows = [
        {"name": "nano/no-attention", "parameters": 143_257, **measured, "training_gib": 71.5},
        {"name": "micro/attention/batch_size=64", "parameters": 81_376_625, **measured, "training_gib": 12.0},
        {"name": "big/attention/batch_size=64", "parameters": 981_376_625, "fits": False},
    ]
    span = Span(3600.0, 190_000.0)
    cost = Forecast(
        18_720.0, 7e4, 27_657.3, 1234.5, span, span, Span(9000.0, 40_000.0), Span(1000.0, 1500.0), True, True
    )
    return Group(networks_table(rows), machines_table({None: cost, 8: cost}), *map(Text, cost_lines(cost)))


RUNNING = TaskStatus("running", where=HOST, progress=TaskProgress(6.25, 18_750, "kimg", 1.5))
FAILED = TaskStatus("failed", "RuntimeError: the loss is not a finite number after step 27,657; see log.txt")
DRAWN = TaskStatus("interrupted", "12 of 50 segments drawn")


def _cell(name: str, state: TaskStatus, training: str = A) -> CellStatus:
    return CellStatus(name, training, B, state, RUNNING)


def _status(cells: list[CellStatus], trainings: dict[str, TaskStatus], left: str = "") -> Status:
    names = {signature: f"small/attention/batch_size={i}" for i, signature in enumerate(trainings, 64)}
    return Status("celeba_sizes", tuple(cells), trainings, names, (), left, None, Path())


def _running() -> list[RunningTask]:
    plan, schedule = _planned()
    training, evaluation = next(iter(plan.trainings.values())), next(iter(plan.evaluations.values()))
    counts = TaskProgress(27.657, 18_750, "kimg", 1.5, 0.4123), TaskProgress(12_345, 50_000, "images", 312.5)
    probe = next(iter(schedule.graph.tasks.values()))
    return [
        RunningTask(training, "small/attention/batch_size=64", "", counts[0]),
        RunningTask(training, "small/attention/batch_size=128", "waiting for the data set", None),
        RunningTask(evaluation, "small/attention/batch_size=256/guidance=1.5/stochastic_heun", "", counts[1]),
        RunningTask(evaluation, "small/attention/batch_size=256/guidance=2/heun", "starting worker", None),
        RunningTask(probe, "small/attention/batch_size=512", "queued", None),
    ]


def live() -> RenderableType:
    return live_view(_running(), "12 of 345 done, 2 failed, about 5 h 12 min left")


def live_of_trainings() -> RenderableType:
    trainings = [task for task in _running() if task.task.kind == "training"]
    return live_view(trainings, "0 of 345 done, waiting for room on the disk")


def status_of_few_cells() -> RenderableType:
    states = [TaskStatus("done"), RUNNING, TaskStatus("waiting", "for its training"), FAILED, DRAWN]
    cells = [_cell(f"celeba/small/attention/guidance={i}/heun", state) for i, state in enumerate(states)]
    return status_view(_status(cells, {A: RUNNING, C: FAILED}, "about 5 h 12 min left"))


def watched_status() -> RenderableType:
    """What `status --watch` shows of more cells than most terminals have lines."""
    states = [TaskStatus("done")] * 30 + [TaskStatus("planned")] * 6 + [FAILED, RUNNING]
    cells = [_cell(f"celeba/small/attention/guidance={i}/heun", state) for i, state in enumerate(states)]
    return status_view(_status(cells, {A: RUNNING, C: FAILED}, "about 5 h 12 min left"), fits_screen=True)


def status_of_many_cells() -> RenderableType:
    states: tuple[CellState, ...] = ("planned", "done", "done")
    names = (f"small/attention/batch_size={64 + i % 2}/guidance={i}" for i in range(90))
    cells = [_cell(name, TaskStatus(states[i % 3]), (A, C)[i % 2]) for i, name in enumerate(names)]
    failed = [_cell(f"small/attention/batch_size=64/guidance={i}", FAILED) for i in (2.5, 3.5)]
    return status_view(_status([*cells, *failed], {A: RUNNING, C: TaskStatus("done")}))


def overview() -> RenderableType:
    progress = RunProgressRecord(27_657, 12_345, "about 5 h 12 min left")
    run = ActiveRun("x", "celeba_sizes", "gpu-node-17", 4021337, "edm-sweep run", 0.0, progress)
    rows = [SweepOverview("celeba_sizes", 27_657, 12_345, 12, (run,)), SweepOverview("digits", 24, 24, 0, ())]
    return overview_table(rows)


def why() -> RenderableType:
    remark = f"differs from the nearest finished training, celeba_sizes:small/attention ({C}): training.kimg is 18750, "
    remark += "there 12500; model.attention is true, there false"
    steps = (
        Dependency("data set celeba", "data", A, TaskStatus("done")),
        Dependency("training", "trainings", B, TaskStatus("failed", FAILED.why), remark),
        Dependency("reference statistics, Inception features, 2,048-d", "references", A, TaskStatus("done")),
        Dependency("evaluation", "evaluations", C, TaskStatus("planned"), "waits for its training"),
    )
    return explanation_view(Explanation(NamedTask("celeba_sizes", "small/attention/guidance=2/heun", B, C), steps))


def diff() -> RenderableType:
    names = "small/attention/guidance=2/heun", "small/no-attention/guidance=2/stochastic_heun"
    here, there = (NamedTask("celeba_sizes", name, A, B) for name in names)
    fields = (
        FieldDifference("model.attention", True, False),
        FieldDifference("sampling.sampler", "heun", "stochastic_heun"),
        FieldDifference("evaluation.scores", ["fid/test", "fid/train", "fid/val"], ["fid/test", "kid/test"]),
    )
    provenance = (FieldDifference("command", "edm-sweep run sweeps/celeba_sizes.yaml --gpus 1 --tag paper=iclr", None),)
    numbers = (
        ComparedNumber("loss", 0.4123, 0.4205),
        ComparedNumber("fid_test", 27657.31, 2345.67, 312.4, 21.8, 299.0),
        ComparedNumber("kid_test", 0.0231, 0.0229, 0.0011, 0.0012, 0.0009),
        ComparedNumber("nn_ratio_pixels", 0.98, None),
    )
    return comparison_view(CellComparison(here, there, fields, provenance, numbers))


def gc() -> RenderableType:
    items = [
        Garbage("unused", "trainings", A, Path("x"), 27_657_000_000),
        Garbage("policy", "trainings", f"{B}/kept/kimg0000012500.000.safetensors", Path("x"), 312_400_000),
        Garbage("drawings", "drawings", C, Path("x"), 4096),
    ]
    many = [Garbage("abandoned", "sessions", f"run-{i:02d}", Path("x"), 12) for i in range(40)]
    return Group(garbage_table(items), garbage_table(many))


def doctor() -> RenderableType:
    findings = [
        Finding("Python", "ok", "3.11.7 in /home/ada/projects/ablations/.venv"),
        Finding("GPU memory", "note", "27.7 of 80.0 GiB free", "another process uses the GPU; end it if you can"),
        Finding(
            "disk", "wrong", "1,234.5 GiB free; the rest of celeba_sizes needs about 27,657.31 GiB", "free some space"
        ),
    ]
    return Group(*map(finding_view, findings), Text(summary_line(findings)))


def data_list() -> RenderableType:
    rows = listed(Store(Path("/srv/experiments/runs")))
    rows[0] |= {"prepared": f"/srv/experiments/runs/data/{A}", "sigma_data": 0.51234}
    return listing_table(rows)


def data_prepare() -> RenderableType:
    return record_view(
        {
            "name": "celeba",
            "images": 182_732,
            "shape": [3, 128, 128],
            "num_classes": 0,
            "splits": {"train": 150_000, "val": 12_770, "test": 19_962},
            "sigma_data": 0.5137081146240234,
            "fingerprint": (A + B + C + A)[:64],
            "source": {
                "files": ["img_align_celeba.zip"],
                "checked": "md5",
                "remarks": ["images: 2 files are left out, being of other types: 2 .gif (a.gif)"],
            },
            "folder": f"/srv/experiments/runs/data/{A}",
        }
    )


VIEWS: dict[str, Callable[[], RenderableType]] = {
    view.__name__: view
    for view in (
        plan, run, calibration, live, live_of_trainings, status_of_few_cells, status_of_many_cells, overview, why, diff,
        gc, doctor, data_list, data_prepare,
    )
}  # fmt: skip
