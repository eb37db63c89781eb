"""The status of every cell of a sweep, read from the store alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from experiments.inspection.changed_data import note_of_change
from experiments.runner.data_costs import data_tasks
from experiments.runner.forecast import Forecast, forecast
from experiments.runner.stored import is_downloaded
from experiments.store import leases
from experiments.store.active_runs import ActiveRun, active_runs, is_alive
from experiments.store.drawings import drawn_segments
from experiments.store.failures import Failure
from experiments.store.layout import FAILURE, PRUNED
from experiments.store.progress import TaskProgress
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.store.sweep_names import includes
from experiments.store.sweep_records import named_tasks, recorded_sweeps
from experiments.store.training_records import Pruning, saved_step
from experiments.sweep.code_changes import CodeChange, ResultCode, change_of
from experiments.sweep.jobs import Task, data_of
from experiments.sweep.plan import Plan, PlannedCell
from experiments.sweep.preparations import Preparation, WeightsDownload, preparations_of
from experiments.sweep.shorter import longest_planned
from experiments.sweep.tasks import DataSource, Evaluation, SweepTask

StoredTask = SweepTask | Preparation | DataSource

# planned: neither it nor its training has begun. waiting: what it depends on has begun. interrupted: partly done, and
# not active
CellState = Literal["done", "running", "failed", "pruned", "interrupted", "waiting", "planned"]
STATES: tuple[CellState, ...] = ("done", "running", "failed", "pruned", "interrupted", "waiting", "planned")


@dataclass(frozen=True)
class TaskStatus:
    """The status of a task or a cell.

    why: the reason for the state, in words. where: the host and process of the active task. progress: as the task last
    wrote it. change: how the code that made its result differs from today's.
    """

    state: CellState
    why: str = ""
    where: str = ""
    progress: TaskProgress | None = None
    change: CodeChange | None = None

    @property
    def note(self) -> str:
        """The reason for the state and, of a result that other code has made, how that differs from today's."""
        return "; ".join(filter(None, [self.why, self.change.note if self.change is not None else ""]))


@dataclass(frozen=True)
class CellStatus:
    """A cell, its status and that of its training."""

    name: str
    training: str
    evaluation: str
    status: TaskStatus
    training_status: TaskStatus


@dataclass(frozen=True)
class Status:
    """A sweep at one moment.

    trainings, preparations: the status of each, by signature. names: of tasks, by signature. runs: those that are
    active. left: the active run's forecast, in words. estimate: if no run is active, what the rest costs on this
    machine. store: its folder.
    """

    sweep: str
    cells: tuple[CellStatus, ...]
    trainings: Mapping[str, TaskStatus]
    names: Mapping[str, str]
    runs: tuple[ActiveRun, ...]
    left: str
    estimate: Forecast | None
    store: Path
    preparations: Mapping[str, TaskStatus] = field(default_factory=dict)

    @property
    def changes(self) -> list[tuple[str, CodeChange]]:
        """The results that other code than today's has made, by name."""
        tasks = [(self.names[s], own) for s, own in (*self.preparations.items(), *self.trainings.items())]
        tasks += {cell.evaluation: (cell.name, cell.status) for cell in self.cells}.values()
        return [(name, own.change) for name, own in tasks if own.change is not None]

    @property
    def counts(self) -> dict[CellState, int]:
        """The number of cells in each state."""
        found = Counter(cell.status.state for cell in self.cells)
        return {state: found[state] for state in STATES if found[state]}


class StatusReader:
    """Reads the status of a sweep again and again; tasks that are done are read once."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan, self.store = plan, store
        self._done: dict[str, TaskStatus] = {}
        self._estimates: dict[frozenset[str], Forecast] = {}

    def read(self) -> Status:
        """Return the status now."""
        runs = tuple(active_runs(self.store, self.plan.sweep.name))
        cancelled = {name for run in runs for name in self.store.cancelled(run.run_id)}
        trainings, preparations, found = self._read_tasks()
        others = trainings | preparations
        cells = tuple(_cancelled(cell) if cell.evaluation in cancelled else cell for cell in found)
        left = next((run.progress.left for run in runs if run.progress is not None and run.progress.left), "")
        estimate = None if runs else self._estimate(cells, others)
        name, place = self.plan.sweep.name, self.store.root
        return Status(name, cells, trainings, self.plan.names, runs, left, estimate, place, preparations)

    def cells(self) -> list[CellStatus]:
        """Return the status of every cell now, without what active runs say of the future."""
        return self._read_tasks()[-1]

    def _read_tasks(self) -> tuple[dict[str, TaskStatus], dict[str, TaskStatus], list[CellStatus]]:
        """The status of trainings, of preparations and of cells."""
        begun = {task.signature for task in self.store.begun(self.plan.tasks)}
        trainings = {name: self._status(task, begun) for name, task in self.plan.trainings.items()}
        for task in self.plan.trained.values():
            for start in task.depends_on:
                own, name = trainings[task.signature], self.plan.names[start.signature]
                trainings[task.signature] = _with_start(own, name, trainings[start.signature])
        for name in sorted(self.plan.shorter, key=lambda name: self.plan.trainings[name].config.num_steps):
            trainings[name] = self._with_shorter(name, trainings)
        preparations = {name: self._status(task, begun) for name, task in self.plan.prepared.items()}
        others = trainings | preparations
        cells = [self._cell(planned, others, begun) for planned in self.plan.cells]
        return trainings, preparations, cells

    def _cell(self, planned: PlannedCell, others: Mapping[str, TaskStatus], begun: set[str]) -> CellStatus:
        evaluation, training = planned.evaluation, planned.training.signature
        own = self._status(evaluation, begun)
        if own.state not in ("done", "running", "failed"):
            needed = [others[training.signature] for training in evaluation.depends_on]
            shared = {self.plan.names[p.signature]: others[p.signature] for p in preparations_of(evaluation)}
            own = _with_trainings(_with_preparations(own, shared), needed)
            data = planned.training.data.signature
            own = _with_data(own, self.plan.names[data], others[data])
        return CellStatus(self.plan.cell_name(planned), training, evaluation.signature, own, others[training])

    def _with_shorter(self, name: str, trainings: Mapping[str, TaskStatus]) -> TaskStatus:
        """The status of a training, which waits where the one at whose end it begins is under way."""
        own, shorter = trainings[name], longest_planned(self.plan.shorter[name], self.plan.trainings)
        if own.state != "planned" or shorter is None or trainings[shorter].state not in ("running", "waiting"):
            return own
        return TaskStatus("waiting", f"for {self.plan.names[shorter]}")

    def _status(self, task: StoredTask, begun: set[str]) -> TaskStatus:
        if task.signature in self._done:
            return self._done[task.signature]
        if task.signature not in begun and not isinstance(task, WeightsDownload):
            return TaskStatus("planned")
        found = status_of_task(task, self.store)
        if found.state == "done":
            self._done[task.signature] = found
        return found

    def _estimate(self, cells: Iterable[CellStatus], others: Mapping[str, TaskStatus]) -> Forecast | None:
        """Return what the rest costs on this machine, or None if nothing is left."""
        left: dict[str, Task] = {}
        for planned, cell in zip(self.plan.cells, cells, strict=True):
            if cell.status.state in ("done", "pruned"):
                continue
            left[cell.evaluation] = planned.evaluation
            evaluation = planned.evaluation
            needed = {t.signature: t for t in (*evaluation.depends_on, *preparations_of(evaluation))}
            left |= {name: t for name, t in needed.items() if others[name].state != "done"}
        left |= data_tasks(self.plan, self.store) if left else {}
        key = frozenset(left)
        if key not in self._estimates:
            self._estimates = {key: forecast(self.plan, left.values(), self.store)}
        return self._estimates[key] if left else None


def _cancelled(cell: CellStatus) -> CellStatus:
    """Note that the active run was asked not to work on a cell."""
    if cell.status.state not in ("waiting", "planned", "interrupted"):
        return cell
    return replace(cell, status=replace(cell.status, why="cancelled: the next run continues it"))


def status_of_task(task: StoredTask, store: Store) -> TaskStatus:
    """Return the status of one task."""
    if isinstance(task, WeightsDownload) and is_downloaded(task):
        return TaskStatus("done")
    if not isinstance(task, WeightsDownload) and (done := _done(task, store)) is not None:
        return done
    folder = store.folder_of(task)
    try:
        there = set(os.listdir(folder))
    except FileNotFoundError:
        return TaskStatus("planned")
    if any(name.startswith(".lease-") for name in there) and is_alive(folder, store.lease_timing):
        holder = leases.holder(folder, store.lease_timing)
        where = holder.text if holder is not None else ""
        return TaskStatus("running", where=where, progress=TaskProgress.read(folder))
    if FAILURE in there:
        return _failed(task, Failure.read(folder))
    if PRUNED in there and (pruning := Pruning.of(folder)) is not None:
        return TaskStatus("pruned", pruning.text)
    return _begun(task, folder, store)


def _failed(task: StoredTask, failure: Failure | None) -> TaskStatus:
    """The status of a task that failed: planned where the images that it read have changed since."""
    if failure is None:
        return TaskStatus("failed")
    note = note_of_change(task if isinstance(task, DataSource) else data_of(task), failure)
    return TaskStatus("planned", note) if note else TaskStatus("failed", failure.message)


def _done(task: StoredTask, store: Store) -> TaskStatus | None:
    """The status of a task with a result; None if there is none, or it lacks a score that is asked for."""
    result = store.peek(task.result_type, task.signature)
    if result is None:  # nor can it be read
        unreadable = not isinstance(task, Evaluation) and store.has_result(task.store_kind, task.signature)
        return TaskStatus("done") if unreadable else None
    why = ""
    if isinstance(result, EvaluationResult) and isinstance(task, Evaluation):
        if not task.is_covered_by(result):
            return None
        at = result.stopped_at
        why = f"stopped at {at:,} images, as clearly worse than another" if at else ""
    return TaskStatus("done", why, change=change_of(store, task, ResultCode.of(result)))


def _begun(task: StoredTask, folder: Path, store: Store) -> TaskStatus:
    """The status of a task that is not active and has no result."""
    if isinstance(task, Preparation | DataSource):
        # that a folder is there says nothing: a classifier has its checkpoint, references are in folders of their own
        begun = store.has_begun(task.store_kind, task.signature)
        return TaskStatus("interrupted", "what is done is saved") if begun else TaskStatus("planned")
    if isinstance(task, Evaluation):
        if store.peek(EvaluationResult, task.signature) is not None:
            return TaskStatus("planned", "the images are drawn, scores are left")
        segments = len(drawn_segments(store, task.drawing, task.features.signature))
        why = f"{segments} of {task.num_segments} segments drawn"
        return TaskStatus("interrupted", why) if segments else TaskStatus("planned")
    step = saved_step(folder)
    if step is None:
        return TaskStatus("planned")
    kimg, total = task.config.kimg_after(step), task.config.total_kimg
    return TaskStatus("interrupted", f"saved at {kimg:g} of {total:g} kimg", progress=TaskProgress(kimg, total, "kimg"))


def _with_preparations(own: TaskStatus, shared: Mapping[str, TaskStatus]) -> TaskStatus:
    """The status of a cell whose evaluation is not done, given that of what it shares with others, by name."""
    for name, one in shared.items():
        if one.state == "failed":
            return TaskStatus("failed", f"{name} failed: {one.why}")
    running = [name for name, one in shared.items() if one.state == "running"]
    return TaskStatus("waiting", f"for {running[0]}") if running else own


def _with_start(own: TaskStatus, name: str, start: TaskStatus) -> TaskStatus:
    """The status of a training, given that of the network with whose weights it begins."""
    if own.state == "planned" and start.state == "failed":
        return TaskStatus("failed", f"{name} failed: {start.why}")
    return TaskStatus("waiting", f"for {name}") if own.state == "planned" and start.state == "running" else own


def _with_data(own: TaskStatus, name: str, data: TaskStatus) -> TaskStatus:
    """The status of a cell whose evaluation is not done, given that of its data set."""
    if own.state == "planned" and data.state == "failed":
        return TaskStatus("failed", f"{name} failed: {data.why}")
    if own.state == "planned" and data.state == "planned" and data.why:
        return TaskStatus("planned", f"{name} {data.why}")
    return TaskStatus("waiting", f"for {name}") if own.state == "planned" and data.state == "running" else own


def _with_trainings(own: TaskStatus, trainings: list[TaskStatus]) -> TaskStatus:
    """The status of a cell whose evaluation is not done, given those of the trainings it depends on."""
    for state in ("failed", "pruned"):
        ended = next((one for one in trainings if one.state == state), None)
        if ended is not None:
            return TaskStatus(state, f"its training {'failed: ' if state == 'failed' else 'was '}{ended.why}")
    if all(one.state == "done" for one in trainings):
        return own
    begun = next((one for one in trainings if one.state in ("running", "waiting", "interrupted")), None)
    if begun is None:
        return TaskStatus("planned", next((f"its training {one.why}" for one in trainings if one.why), own.why))
    if begun.state == "waiting":
        return TaskStatus("waiting", f"its training waits {begun.why}")
    return TaskStatus("waiting", "for its training" if begun.state == "running" else "its training was interrupted")


@dataclass(frozen=True)
class SweepOverview:
    """A sweep that was run with this store: its number of cells, how many are done or failed, and its active runs."""

    sweep: str
    cells: int
    done: int
    failed: int
    runs: tuple[ActiveRun, ...]


def overviews(store: Store) -> Iterator[SweepOverview]:
    """Yield every sweep that was run on a store."""
    runs = active_runs(store)
    for name in recorded_sweeps(store):
        cells = [named for named in named_tasks(name, store).values() if "evaluation" in named]
        left = [cell for cell in cells if not store.has_result("evaluations", cell["evaluation"])]
        failed = sum(_has_failed(cell, store) for cell in left)
        own = tuple(run for run in runs if includes(name, run.sweep))
        yield SweepOverview(name, len(cells), len(cells) - len(left), failed, own)


def _has_failed(cell: dict[str, str], store: Store) -> bool:
    """Whether the training or the evaluation of a cell has failed and was not begun again."""
    folders = store.folder("trainings", cell["training"]), store.folder("evaluations", cell["evaluation"])
    return any((folder / FAILURE).exists() for folder in folders)
