"""Why a cell must run: what it depends on, what of that is done, and how the rest differs from finished tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from edm.config import Extension
from experiments.errors import UserError
from experiments.inspection.config_diff import NearestTask, in_sweep_fields, nearest
from experiments.inspection.extension_changes import changed_code, described
from experiments.inspection.lookup import NamedTask, find_one, plan_of_file, stored_task
from experiments.inspection.status import TaskStatus, status_of_task
from experiments.store.layout import StoreKind
from experiments.store.results import EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.store.sweep_records import SWEEP_FILES, named_tasks, recorded_sweeps
from experiments.sweep.code_changes import acceptances, change_of, differs, made_by
from experiments.sweep.forms import guide_cell, start_cell
from experiments.sweep.jobs import Task
from experiments.sweep.kept_states import beginning, step_reached
from experiments.sweep.metrics import plain_score
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import Preparation, preparations_of
from experiments.sweep.spec import Cell
from experiments.sweep.tasks import DataSource, Evaluation, SweepTask, Training
from experiments.tracking.records import recall_plan

MAX_FIELDS = 12  # of one comparison with the nearest task
BEGINNING = "network to begin with"  # what a trained network is to the training that begins with its weights


@dataclass(frozen=True)
class Dependency:
    """Something that a cell depends on, or its own task. remark: why it is not done, or who will do it."""

    what: str
    kind: StoreKind
    signature: str
    status: TaskStatus
    remark: str = ""
    nearest: NearestTask | None = None
    needed: bool = True


@dataclass(frozen=True)
class Explanation:
    """A cell, or a training, and all that it depends on, in the order in which a run does it; its own task is last."""

    work: NamedTask
    steps: tuple[Dependency, ...] = field(default_factory=tuple)

    @property
    def undone(self) -> list[Dependency]:
        """What is left to do."""
        return [step for step in self.steps if step.status.state != "done" and step.needed]


@dataclass(frozen=True)
class ResolvedTask:
    """A task, and the cell that asks for it and the plan of its sweep, if a sweep is known that has it."""

    task: SweepTask
    cell: Cell | None
    plan: Plan | None = None


def explain(text: str, store: Store) -> Explanation:
    """Return what the cell or training that a text matches needs. Raises UserError if it matches none."""
    named = find_one(text, store)
    steps = tuple(_dependencies(resolve(named, text, store), store))
    if steps[-1].status.state == "done":
        steps = tuple(_deleted(step, store) for step in steps)
    return Explanation(named, steps)


def _deleted(step: Dependency, store: Store) -> Dependency:
    """A step of a task that is done: a run repeats none that somebody deleted, only trainings that were damaged."""
    if step.status.state in ("done", "running") or store.was_damaged(step.kind, step.signature):
        return step
    trained = step.kind == "trainings" and step.what != BEGINNING
    again = "; 'run --recompute missing' trains it again" if trained else ""
    remark = f"not needed any more: what was made from it is done{again}"
    return replace(step, needed=False, nearest=None, remark=remark)


def find(text: str, store: Store) -> SweepTask:
    """Return the task that `text` matches: as it was planned when it began, or else as its sweep asks for it now.

    Raises UserError.
    """
    return task_of(find_one(text, store), text, store)


def task_of(named: NamedTask, text: str, store: Store) -> SweepTask:
    """Return the task that a name refers to: as it was planned when it began, or else as its sweep asks for it now."""
    if store.has_begun(named.store_kind, named.signature):
        return stored_task(named.kind, named.signature, text, store)
    return resolve(named, text, store).task


def resolve(named: NamedTask, text: str, store: Store) -> ResolvedTask:
    """Return the task that a name refers to, as its sweep asks for it now. text: as a person gave it."""
    sweep = text.rpartition(":")[0]
    if Path(sweep).suffix in SWEEP_FILES:
        plan = plan_of_file(sweep, store)
    elif named.sweep:
        plan = _recalled(named.sweep, store.root)
    else:
        return ResolvedTask(stored_task(named.kind, named.signature, text, store), None)
    task = {**plan.trainings, **plan.evaluations}.get(named.signature)
    if task is None:
        raise UserError(f"{text}: was planned by another version of edm-sweep; run its sweep again, with its file")
    return ResolvedTask(task, _cell_of(task, plan), plan)


@lru_cache(maxsize=2)  # two cells of a large sweep need the same plan
def _recalled(sweep: str, root: Path) -> Plan:
    return recall_plan(sweep, Store(root))


def _cell_of(task: SweepTask, plan: Plan) -> Cell | None:
    """The first cell of a plan that asks for a task.

    For a guide, or a network that a training begins with, that cell with its model and training.
    """
    for planned in plan.cells:
        if task.signature in (planned.training.signature, planned.evaluation.signature):
            return planned.cell
    for planned in plan.cells:  # last, as a guide or what a training begins with may be another cell's network
        for cell, training in planned.trainings:
            if training.signature == task.signature:
                return cell
    return None


# dependencies -------------------------------------------------------------------------------------


def _dependencies(resolved: ResolvedTask, store: Store) -> Iterator[Dependency]:
    task, cell, plan = resolved.task, resolved.cell, resolved.plan
    trainings = task.depends_on if isinstance(task, Evaluation) else (task,)
    yield _data_set(trainings[0].data, store)
    yield from _trained("training", trainings[0], cell, plan, store)
    for guide in trainings[1:]:
        yield from _trained("guide", guide, guide_cell(cell) if cell is not None else None, plan, store)
    if isinstance(task, Evaluation):
        for preparation in reversed(preparations_of(task)):
            yield _preparation(preparation, store)
        yield _task("evaluation", resolved, store)


def _trained(what: str, training: Training, cell: Cell | None, plan: Plan | None, store: Store) -> Iterator[Dependency]:
    """Yield a training, and before it what it begins with, if that is not random weights."""
    start = training.begins_with
    if start is not None and start.pretrained is not None:
        remark = f"the network of {start.pretrained.path}"
        yield Dependency(BEGINNING, "trainings", start.signature, status_of_task(start, store), remark)
    elif start is not None:
        if start.data != training.data:
            yield _data_set(start.data, store)
        yield from _trained("pretraining", start, start_cell(cell) if cell is not None else None, plan, store)
    yield _task(what, ResolvedTask(training, cell, plan), store)


def _preparation(task: Preparation, store: Store) -> Dependency:
    """What a run prepares as a task of its own, once for all evaluations."""
    status = status_of_task(task, store)
    remark = "" if status.state in ("done", "running") else "prepared once, beside the trainings"
    remark = remark or _code_remark(task, store)
    return Dependency(task.description, task.store_kind, task.signature, status, remark)


def _data_set(source: DataSource, store: Store) -> Dependency:
    """A data set, which is prepared once for all tasks that need it."""
    status = status_of_task(source, store)
    remark = _code_remark(source, store) if status.state == "done" else "prepared once, before the tasks that need it"
    return Dependency(f"data set {source.config.title}", "data", source.signature, status, remark)


def _code_remark(task: Task, store: Store) -> str:
    """What there is to say of the code that made a result, beside how it differs from today's, which its status says.

    Nothing where that is today's.
    """
    made = made_by(store, task)
    if made is None:
        return ""
    if not made.code:
        return "made before code was recorded, so taken as it is"
    accepted = acceptances(store.folder_of(task))
    if accepted:
        return accepted[-1].text
    if differs(made.code) and change_of(store, task, made) is None:
        return f"made by earlier code, of {made.since}, that computes the same (edm/equivalent_code.json)"
    return ""


def _task(what: str, resolved: ResolvedTask, store: Store) -> Dependency:
    """A training or an evaluation; if it must run, compared with the nearest finished one."""
    task, status = resolved.task, status_of_task(resolved.task, store)
    dependency = Dependency(what, task.store_kind, task.signature, status)
    if status.state == "done":
        remarks = (_continued(resolved, store), _code_remark(task, store))
        return replace(dependency, remark="; ".join(filter(None, remarks)))
    if isinstance(task, Evaluation):
        if remark := _missing_scores(task, store):
            return replace(dependency, remark=remark)
        if any(status_of_task(training, store).state != "done" for training in task.depends_on):
            return replace(dependency, remark="waits for its training")
    if status.state not in ("planned", "failed"):
        return dependency
    if isinstance(task, Training) and _waits_for_pretraining(task, store):
        return replace(dependency, remark="waits for its pretraining")
    near = _nearest(resolved, store)
    remark = _beginning(resolved, store) + _comparison(task, near, store)
    return replace(dependency, remark=remark, nearest=near)


def _waits_for_pretraining(training: Training, store: Store) -> bool:
    starts = [start for start in training.depends_on if start.pretrained is None]
    return any(status_of_task(start, store).state != "done" for start in starts)


def _continued(resolved: ResolvedTask, store: Store) -> str:
    """At the end of which shorter training a finished one began; nothing of other tasks."""
    task, names = resolved.task, resolved.plan.names if resolved.plan is not None else {}
    result = store.peek(TrainingResult, task.signature) if isinstance(task, Training) else None
    if result is None or result.continues is None:
        return ""
    return f"began where {names.get(result.continues, result.continues)} ended"


def _beginning(resolved: ResolvedTask, store: Store) -> str:
    """At the end of which shorter training one will begin."""
    task, plan = resolved.task, resolved.plan
    if plan is None or not isinstance(task, Training) or step_reached(task.signature, store) is not None:
        return ""
    left = [signature for signature in plan.trainings if not store.has_result(TrainingResult.kind, signature)]
    first = beginning(plan.shorter.get(task.signature, ()), left, store)
    if first is None:
        return ""
    name = plan.names.get(first.signature, first.signature)
    return f"begins where {name} ends, at {task.config.kimg_after(first.steps):g} kimg; "


def _missing_scores(task: Evaluation, store: Store) -> str:
    """The scores that a finished evaluation lacks, and which metrics of extensions changed; "" where it lacks none."""
    result = store.peek(EvaluationResult, task.signature)
    missing = [score for score in task.scores if score not in result.scores] if result is not None else []
    if result is None or not missing:
        return ""
    before, own = result.provenance.extensions, [m for m in task.config.metrics if isinstance(m, Extension)]
    changes = (changed_code(metric.code, before.get(metric.name, ""), store) for metric in own)
    scores = f"new scores: {', '.join(map(plain_score, missing))}"
    return "; ".join(filter(None, (scores, *changes, "computed from features that are in the store")))


# the nearest finished task ------------------------------------------------------------------------


def _nearest(resolved: ResolvedTask, store: Store) -> NearestTask | None:
    """The nearest finished task, with its name and the differences in fields of the sweep file, if a sweep has it."""
    near = nearest(resolved.task, store)
    kind = "training" if isinstance(resolved.task, Training) else "evaluation"
    if near is None:
        return None
    for sweep in recorded_sweeps(store):
        for name, signatures in named_tasks(sweep, store).items():
            if signatures.get(kind) == near.signature and (kind == "evaluation" or "evaluation" not in signatures):
                cell = _recalled_cell(sweep, near.signature, store)
                found = in_sweep_fields(near.differences, resolved.cell, cell)
                return NearestTask(near.signature, found, f"{sweep}:{name}")
    return near


def _recalled_cell(sweep: str, signature: str, store: Store) -> Cell | None:
    try:
        plan = _recalled(sweep, store.root)
    except UserError:  # recorded by another version of edm-sweep
        return None
    task = {**plan.trainings, **plan.evaluations}.get(signature)
    return _cell_of(task, plan) if task is not None else None


def _comparison(task: SweepTask, near: NearestTask | None, store: Store) -> str:
    """In words how a task differs from the nearest finished one."""
    kind = "evaluation" if isinstance(task, Evaluation) else "training"
    if near is None:
        of_training = " of this training" if isinstance(task, Evaluation) else ""
        return f"no {kind}{of_training} is finished in this store"
    name = f"{near.name} ({near.signature})" if near.name else near.signature
    if not near.differences:
        return f"{name} has the same fields, but was made by another version of edm-sweep"
    shown_fields = [described(difference, store) for difference in near.differences[:MAX_FIELDS]]
    more = len(near.differences) - MAX_FIELDS
    rest = f"; and {more} more" if more > 0 else ""
    return f"differs from the nearest finished {kind}, {name}: {'; '.join(shown_fields)}{rest}"


# for scripts --------------------------------------------------------------------------------------


def explanation_json(found: Explanation) -> dict[str, Any]:
    """Return an explanation for a script."""
    return {"cell": asdict(found.work), "steps": [_dependency_json(step) for step in found.steps]}


def _dependency_json(step: Dependency) -> dict[str, Any]:
    return {
        "what": step.what,
        "kind": step.kind,
        "signature": step.signature,
        "state": step.status.state,
        "why": step.status.note or None,
        "where": step.status.where or None,
        "remark": step.remark or None,
        "needed": step.needed,
        "other_code": step.status.change.to_json() if step.status.change is not None else None,
        "nearest": asdict(step.nearest) if step.nearest is not None else None,
    }
