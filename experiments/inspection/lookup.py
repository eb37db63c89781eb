"""From what a person types to a task: names of cells and trainings, signatures, or how either begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import UserError
from experiments.inputs import InputFiles
from experiments.store.layout import CONFIG, StoreKind
from experiments.store.store import Store
from experiments.store.sweep_names import is_variant
from experiments.store.sweep_records import SWEEP_FILES, named_tasks, recorded_sweeps
from experiments.store.yaml_text import parse_yaml
from experiments.sweep.names import matching, meant_cell
from experiments.sweep.plan import Plan, plan_sweep
from experiments.sweep.preparations import preparations_of
from experiments.sweep.reader import load_sweep
from experiments.sweep.serialisation import task_from_json
from experiments.sweep.tasks import Evaluation, Kind, SweepTask, Training
from experiments.tracking.records import recall_plan, unknown_sweep
from experiments.wording import did_you_mean

SHORTEST_SIGNATURE = 4
MOST_NAMES = 6  # that a message lists
KINDS: dict[Kind, tuple[type[SweepTask], StoreKind]] = {  # each with its folder in a store
    "training": (Training, "trainings"),
    "evaluation": (Evaluation, "evaluations"),
}


@dataclass(frozen=True)
class NamedTask:
    """A cell of a sweep, or, without an evaluation, one of its trainings. training, evaluation: signatures.

    sweep: "" where no recorded sweep has the task; its name is then its signature.
    """

    sweep: str
    name: str
    training: str
    evaluation: str | None = None

    @property
    def kind(self) -> Kind:
        """Whether it is an evaluation or a training."""
        return "training" if self.evaluation is None else "evaluation"

    @property
    def store_kind(self) -> StoreKind:
        """The folder of the store that holds its result."""
        return KINDS[self.kind][1]

    @property
    def signature(self) -> str:
        """The signature of the evaluation, or of the training where there is none."""
        return self.evaluation or self.training


def plan_of_file(path: str, store: Store) -> Plan:
    """Return the plan of a sweep file for a store; raises UserError."""
    inputs = InputFiles()
    return plan_sweep(load_sweep(path, (), inputs), inputs, holdings=store)


def tasks_of(plan: Plan) -> Iterator[NamedTask]:
    """Yield the cells and then the trainings of a plan, by name; a name of both is the cell's."""
    cells = {plan.cell_name(planned): planned for planned in plan.cells}
    for name, planned in cells.items():
        yield NamedTask(plan.sweep.name, name, planned.training.signature, planned.evaluation.signature)
    for signature in plan.trainings:
        if plan.names[signature] not in cells:
            yield NamedTask(plan.sweep.name, plan.names[signature], signature)


def tasks_matching(text: str, store: Store) -> list[NamedTask]:
    """Return all cells and trainings that `text` matches, in any sweep that was run on a store.

    SWEEP:CELL looks in one sweep, which may also be a sweep file, run or not. Without SWEEP, variants of sweeps are
    only looked at where no sweep itself has a match. Raises UserError for a wrong file.
    """
    sweep, colon, cell = text.rpartition(":")
    if colon and Path(sweep).suffix in SWEEP_FILES:
        return _matching(cell, list(tasks_of(plan_of_file(sweep, store))))
    if colon:
        return _matching(cell, list(_recorded(sweep, store)))
    names = recorded_sweeps(store)
    for group in ([n for n in names if not is_variant(n)], [n for n in names if is_variant(n)]):
        found = _matching(cell, [task for name in group for task in _recorded(name, store)])
        if found:
            return found
    return []


def _matching(cell: str, candidates: list[NamedTask]) -> list[NamedTask]:
    names = set(matching(cell, dict.fromkeys(task.name for task in candidates)))
    return [task for task in candidates if task.name in names]


def _recorded(sweep: str, store: Store) -> Iterator[NamedTask]:
    """The cells and trainings of a sweep that was run on a store."""
    for name, signatures in named_tasks(sweep, store).items():
        yield NamedTask(sweep, name, **signatures)


def find_one(text: str, store: Store) -> NamedTask:
    """Return the one cell or training that `text` matches, by name or signature; raises UserError.

    A text that matches several cells of one training, and nothing else, selects that training.
    """
    found = tasks_matching(text, store)
    exact = [task for task in found if task.name == text.rpartition(":")[2]]
    cells = [task for task in found if task.kind == "evaluation"]
    preferred = exact or cells
    if len({task.signature for task in preferred}) == 1:
        return preferred[0]
    if len({task.training for task in found}) == 1 and not any(task.evaluation for task in exact):
        return _as_training(found)
    if found:
        raise _ambiguous(text, preferred or found)
    return _by_signature(text, store)


@dataclass(frozen=True)
class NamedPreparation:
    """A preparation of a sweep that was run on a store, such as its feature classifier."""

    sweep: str
    name: str
    kind: str
    store_kind: StoreKind
    signature: str


def find_preparation(text: str, store: Store) -> NamedPreparation | None:
    """Return the preparation that `text` matches by name; None where it matches a cell or a training, or nothing.

    Raises UserError where it matches several.
    """
    if tasks_matching(text, store):
        return None
    sweep, colon, name = text.rpartition(":")
    candidates = [
        task for known in ([sweep] if colon else recorded_sweeps(store)) for task in _preparations(known, store)
    ]
    names = set(matching(name, dict.fromkeys(each.name for each in candidates)))
    found = {each.signature: each for each in reversed(candidates) if each.name in names}
    if len(found) > 1:
        listed = ", ".join(f"{each.sweep}:{each.name}" for each in found.values())
        raise UserError(f"{text}: matches {len(found)} preparations ({listed}); give more of the name, or SWEEP:NAME")
    return next(iter(found.values()), None)


def _preparations(sweep: str, store: Store) -> Iterator[NamedPreparation]:
    """The preparations of a sweep that was run on a store; none where its record is of another version."""
    with suppress(UserError):
        plan = recall_plan(sweep, store)
        for signature, task in plan.prepared.items():
            yield NamedPreparation(sweep, plan.names[signature], task.kind, task.store_kind, signature)


def cells_meant(text: str, store: Store) -> list[NamedTask]:
    """Return the cells that a pattern matches; or one cell; or all cells of one training or preparation.

    A cell that several sweeps share is a cell of each of them, unless the text names one of the sweeps. Raises
    UserError where it matches none.
    """
    if "*" in text or "?" in text:
        found = [task for task in tasks_matching(text, store) if task.evaluation is not None]
        if not found:
            raise _no_match(text, store)
        return found
    preparation = find_preparation(text, store)
    if preparation is not None:
        return cells_sharing(preparation, store)
    meant = find_one(text, store)
    sweeps = [meant.sweep] if ":" in text else recorded_sweeps(store)
    cells = (task for sweep in sweeps for task in _recorded(sweep, store) if task.evaluation is not None)
    shared = [cell for cell in cells if cell.training == meant.training and meant.evaluation in (None, cell.evaluation)]
    return shared or [meant]


def cells_sharing(preparation: NamedPreparation, store: Store) -> list[NamedTask]:
    """Return the cells of a preparation's sweep that depend on it. Raises UserError where the record is unreadable."""
    plan = recall_plan(preparation.sweep, store)
    return [
        NamedTask(preparation.sweep, plan.cell_name(p), p.training.signature, p.evaluation.signature)
        for p in plan.cells
        if preparation.signature in (each.signature for each in (p.training.data, *preparations_of(p.evaluation)))
    ]


def _as_training(found: list[NamedTask]) -> NamedTask:
    task = next((task for task in found if task.kind == "training"), found[0])
    return NamedTask(task.sweep, task.name, task.training)


def _ambiguous(text: str, found: list[NamedTask]) -> UserError:
    names = ", ".join(f"{task.sweep}:{task.name}" for task in found[:MOST_NAMES])
    more = ", ..." if len(found) > MOST_NAMES else ""
    what = "cells" if all(task.kind == "evaluation" for task in found) else "cells and trainings"
    return UserError(f"{text}: matches {len(found)} {what} ({names}{more}); give more of the name, or SWEEP:CELL")


def _by_signature(text: str, store: Store) -> NamedTask:
    found: list[tuple[Kind, str]] = []
    if len(text) >= SHORTEST_SIGNATURE and text.isalnum():
        for kind, (_, folder) in KINDS.items():
            begun = (name for name in sorted(store.signatures(folder)) if store.has_begun(folder, name))
            found.extend((kind, name) for name in begun if name.startswith(text))
    if len(found) == 1:
        return _with_signature(*found[0], text, store)
    if found:
        raise UserError(f"{text}: begins {len(found)} signatures in {store.root}; give more digits")
    raise _no_match(text, store)


def _no_match(text: str, store: Store) -> UserError:
    """Return the error for a text that matches no cell, training, preparation or signature, with what was meant."""
    sweep, colon, cell = text.rpartition(":")
    sweeps = recorded_sweeps(store)
    if colon and sweep not in sweeps and Path(sweep).suffix not in SWEEP_FILES:
        return UserError(f"{sweep}: {unknown_sweep(sweep, store)}")
    if text in sweeps:
        return UserError(f"{text}: is a sweep; give one of its cells, which 'edm-sweep status {text} --all' lists")
    names = {name for each in ([sweep] if colon else sweeps) for name in named_tasks(each, store)}
    hint = meant_cell(cell, sorted(names)) or did_you_mean(text, sweeps)
    return UserError(
        f"{text}: matches no cell of a sweep that was run with the store {store.root} and no signature; "
        f"{f'{hint} ' if hint else ''}'edm-sweep plan SWEEP' lists the names of cells, --store selects another store"
    )


def _with_signature(kind: Kind, signature: str, text: str, store: Store) -> NamedTask:
    """The task with a signature, by its name in a sweep, or by the signature where no sweep has it any more."""
    for task in (task for sweep in recorded_sweeps(store) for task in _recorded(sweep, store)):
        if task.kind == kind and task.signature == signature:
            return task
    task = stored_task(kind, signature, text, store)
    if isinstance(task, Evaluation):
        return NamedTask("", signature, task.training.signature, signature)
    return NamedTask("", signature, signature)


def stored_task(kind: Kind, signature: str, text: str, store: Store) -> SweepTask:
    """Return a task as it was planned when it began; raises UserError, which calls it `text`."""
    task_type, folder = KINDS[kind]
    path = store.folder(folder, signature) / CONFIG
    try:
        return task_from_json(task_type, parse_yaml(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"{text}: its {kind} has not started yet; run its sweep first") from None
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read ({reason}); run its sweep again to replace it") from None
