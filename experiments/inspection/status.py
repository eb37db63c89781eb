"""How every cell of a sweep stands, from what the store says alone: planned, waiting, running, done, failed, pruned."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from experiments.runner.durations import DurationModel
from experiments.runner.forecast import Forecast, forecast
from experiments.store import leases
from experiments.store.active_runs import ActiveRun, active_runs, is_alive
from experiments.store.failures import Failure
from experiments.store.files import read_json
from experiments.store.layout import CHECKPOINTS, FAILURE, PROGRESS, PRUNED, RESULT, StoreKind
from experiments.store.registry import named_work, remembered
from experiments.store.store import Store
from experiments.store.training_records import Pruning
from experiments.sweep.plan import Plan, PlannedCell
from experiments.sweep.tasks import Evaluation, SweepTask

# planned: nothing it stands on has begun. waiting: for its training, which has. interrupted: half done, nobody is at it
CellState = Literal["done", "running", "failed", "pruned", "interrupted", "waiting", "planned"]
STATES: tuple[CellState, ...] = ("done", "running", "failed", "pruned", "interrupted", "waiting", "planned")


@dataclass(frozen=True)
class TaskStatus:
    """How a task, or a cell, stands. why: in words. where: who is at it. progress: done, total, unit, rate."""

    state: CellState
    why: str = ""
    where: str = ""
    progress: Mapping[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """How much of it is done, 0 to 1, where that is known."""
        total = self.progress.get("total")
        return self.progress["done"] / total if total else None

    @property
    def left_s(self) -> float | None:
        """Seconds to its end at the speed it goes on with."""
        rate = self.progress.get("rate")
        return (self.progress["total"] - self.progress["done"]) / rate if rate else None


@dataclass(frozen=True)
class CellStatus:
    """A cell, how it stands, and how its training does."""

    name: str
    training: str
    evaluation: str
    standing: TaskStatus
    of_training: TaskStatus


@dataclass(frozen=True)
class Status:
    """A sweep at one moment.

    left: the forecast of the run that goes on, in words. estimate: where none does, what is left takes on this machine.
    """

    sweep: str
    cells: tuple[CellStatus, ...]
    trainings: Mapping[str, TaskStatus]
    names: Mapping[str, str]
    runs: tuple[ActiveRun, ...]
    left: str
    estimate: Forecast | None

    @property
    def counts(self) -> dict[CellState, int]:
        """How many cells are in each state."""
        found = Counter(cell.standing.state for cell in self.cells)
        return {state: found[state] for state in STATES if found[state]}


class Observer:
    """Looks at a sweep again and again; what is done is not read twice."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan, self.store = plan, store
        self._done: dict[str, TaskStatus] = {}
        self._estimates: dict[frozenset[str], Forecast] = {}

    def look(self) -> Status:
        """The sweep as it is now."""
        begun = {kind: _names(self.store, kind) for kind in ("trainings", "evaluations")}
        runs = tuple(active_runs(self.store, self.plan.sweep.name))
        cancelled = {name for run in runs for name in self.store.cancelled(run.name)}
        trainings = {name: self._standing(t, begun["trainings"]) for name, t in self.plan.trainings.items()}
        found = (self._cell(planned, trainings, begun["evaluations"]) for planned in self.plan.cells)
        cells = tuple(_left_out(cell) if cell.evaluation in cancelled else cell for cell in found)
        told = next((str(run.progress["left"]) for run in runs if run.progress.get("left")), "")
        estimate = None if runs else self._estimate(cells, trainings)
        return Status(self.plan.sweep.name, cells, trainings, self.plan.names, runs, told, estimate)

    def _cell(self, planned: PlannedCell, trainings: Mapping[str, TaskStatus], begun: set[str]) -> CellStatus:
        evaluation, training = planned.evaluation, planned.training.signature
        own = self._standing(evaluation, begun)
        if own.state not in ("done", "running", "failed"):
            below = [trainings[needed.signature] for needed in evaluation.depends_on]
            own = _dependents_of(own, below)
        return CellStatus(self.plan.cell_name(planned), training, evaluation.signature, own, trainings[training])

    def _standing(self, task: SweepTask, begun: set[str]) -> TaskStatus:
        if task.signature not in begun:
            return TaskStatus("planned")
        if task.signature in self._done:
            return self._done[task.signature]
        found = status_of_task(task, self.store)
        if found.state == "done":
            self._done[task.signature] = found
        return found

    def _estimate(self, cells: Iterable[CellStatus], trainings: Mapping[str, TaskStatus]) -> Forecast | None:
        """What is left would take on this machine."""
        left: dict[str, SweepTask] = {}
        for planned, cell in zip(self.plan.cells, cells, strict=True):
            if cell.standing.state in ("done", "pruned"):
                continue
            left[cell.evaluation] = planned.evaluation
            needed = {t.signature: t for t in planned.evaluation.depends_on}
            left |= {name: t for name, t in needed.items() if trainings[name].state != "done"}
        key = frozenset(left)
        if key not in self._estimates:
            speeds = DurationModel(self.store, self.plan)
            self._estimates = {key: forecast(self.plan, left.values(), self.store, speeds)}
        return self._estimates[key] if left else None


def _left_out(cell: CellStatus) -> CellStatus:
    """A cell that a person asked the run to leave."""
    if cell.standing.state not in ("waiting", "planned", "interrupted"):
        return cell
    return replace(cell, standing=replace(cell.standing, why="cancelled: the next run goes on with it"))


def status_of_task(task: SweepTask, store: Store) -> TaskStatus:
    """How one task stands."""
    kind: StoreKind = task.store_kind
    folder = store.folder(kind, task.signature)
    try:
        there = set(os.listdir(folder))
    except FileNotFoundError:
        return TaskStatus("planned")
    if RESULT in there and (done := _done(task, folder)) is not None:
        return done
    if any(name.startswith(".lease-") for name in there) and is_alive(folder):
        holder = leases.holder(folder)
        where = holder.text if holder is not None else ""
        return TaskStatus("running", where=where, progress=read_json(folder / PROGRESS) or {})
    if FAILURE in there:
        failure = Failure.read(folder)
        return TaskStatus("failed", failure.message if failure is not None else "")
    if PRUNED in there and (pruning := Pruning.of(folder)) is not None:
        return TaskStatus("pruned", pruning.text)
    return _begun(task, folder, store)


def _done(task: SweepTask, folder: Path) -> TaskStatus | None:
    """Of a finished task that has all it is asked for."""
    if not isinstance(task, Evaluation):
        return TaskStatus("done")
    result = read_json(folder / RESULT)
    if result is None or not task.is_covered_by(result):
        return None
    at = result.get("stopped_at")
    return TaskStatus("done", f"stopped at {at:,} images, as clearly worse than another" if at else "")


def _begun(task: SweepTask, folder: Path, store: Store) -> TaskStatus:
    """Of a task that nobody is at: how far it came."""
    if isinstance(task, Evaluation):
        shelf = store.folder("drawings", task.drawing) / task.features.signature
        segments = sum(1 for _ in shelf.glob("[!.]*.safetensors"))
        why = f"{segments} of {task.num_segments} segments are drawn"
        return TaskStatus("interrupted", why) if segments else TaskStatus("planned")
    saved = sorted(path.name for path in (folder / CHECKPOINTS).glob("[!.]*.safetensors"))
    if not saved:
        return TaskStatus("planned")
    config = task.config
    kimg = int(saved[-1].partition("-")[0]) * config.batch_size / 1000
    total = config.num_steps * config.batch_size / 1000
    progress = {"done": kimg, "total": total, "unit": "kimg", "rate": 0.0}
    return TaskStatus("interrupted", f"saved at {kimg:g} of {total:g} kimg", progress=progress)


def _dependents_of(own: TaskStatus, below: list[TaskStatus]) -> TaskStatus:
    """How a cell stands whose own work is not done, by the trainings that it stands on."""
    for state in ("failed", "pruned"):
        ended = next((one for one in below if one.state == state), None)
        if ended is not None:
            return TaskStatus(state, f"its training {'failed: ' if state == 'failed' else 'was '}{ended.why}")
    if all(one.state == "done" for one in below):
        return own
    begun = next((one for one in below if one.state in ("running", "interrupted")), None)
    if begun is None:
        return TaskStatus("planned")
    return TaskStatus("waiting", f"for its training{'' if begun.state == 'running' else ', which was interrupted'}")


def _names(store: Store, kind: str) -> set[str]:
    try:
        return set(os.listdir(store.root / kind))
    except FileNotFoundError:
        return set()


@dataclass(frozen=True)
class SweepOverview:
    """A remembered sweep in a line: its cells, those whose work is finished, and the runs that are at it."""

    sweep: str
    cells: int
    done: int
    runs: tuple[ActiveRun, ...]


def overviews(store: Store) -> Iterator[SweepOverview]:
    """All sweeps that were run on a store."""
    runs = active_runs(store)
    for name in remembered(store):
        evaluations = [work["evaluation"] for work in named_work(name, store).values() if "evaluation" in work]
        done = sum((store.root / "evaluations" / one / RESULT).exists() for one in evaluations)
        yield SweepOverview(name, len(evaluations), done, tuple(run for run in runs if run.sweep == name))
