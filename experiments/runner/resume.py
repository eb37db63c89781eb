"""Subtracts what the store holds from a plan."""

from __future__ import annotations

from collections.abc import Collection

from experiments.errors import UserError
from experiments.runner.costs import Costs
from experiments.runner.data_costs import data_tasks
from experiments.runner.durations import DurationModel
from experiments.runner.measurements import probes_left
from experiments.runner.options import Options
from experiments.runner.recompute import with_dependents
from experiments.runner.schedule import Schedule
from experiments.runner.stored import damage_notice, done_result, is_downloaded
from experiments.store.store import Store
from experiments.store.sweep_names import selection_text, variant_name
from experiments.store.training_records import Pruning
from experiments.sweep.checks import require_even_batches
from experiments.sweep.code_changes import changes_of
from experiments.sweep.jobs import Outcome, Task
from experiments.sweep.kept_states import beginning, step_reached
from experiments.sweep.names import matching, meant_cell
from experiments.sweep.plan import Plan, plan_of_cells
from experiments.sweep.preparations import WeightsDownload


def open_schedule(plan: Plan, store: Store, options: Options = Options(), costs: Costs | None = None) -> Schedule:
    """Return what is left to do of a plan; damaged files are set aside, as if absent."""
    require_even_batches(plan.trainings.values(), plan.sweep.resources.gpus)
    asked = selected(options.only, plan)
    _, known_damage = store.damages_since(0)
    downloads = [task for task in plan.preparations.values() if isinstance(task, WeightsDownload)]
    prepared = [task for task in plan.preparations.values() if not isinstance(task, WeightsDownload)]
    tasks: list[Task] = [*prepared, *plan.trainings.values(), *plan.evaluations.values()]
    sound = [task for task in store.begun(tasks) if store.sound(task.store_kind, task.signature)]
    results = {task.signature: done for task in sound if (done := done_result(store, task)) is not None}
    changes = changes_of(plan, store, results)
    present = frozenset(results.keys() - (with_dependents(plan, changes) if options.recompute else set()))
    present |= {task.signature for task in downloads if is_downloaded(task)}
    left = asked.trainings.keys() - present
    begins = _begins_after(plan, left, store)
    schedule = Schedule(
        plan,
        present,
        costs or DurationModel(store, plan, left),
        probes_left(plan, store) if plan.sweep.resources.gpus == "auto" else {},
        options.retries,
        redo=_trained_again(plan, asked, present, store, options),
        asked=asked,
        preparations=plan.preparations,
        data=data_tasks(plan, store),
        shorter={signature: other for signature, other in begins.items() if other in left},
    )
    schedule.continuing = begins.keys()
    in_question = {task.signature for task in asked.tasks}
    schedule.changes = {signature: change for signature, change in changes.items() if signature in in_question}
    schedule.notices += map(damage_notice, store.damages_since(known_damage)[0])
    for signature in plan.trainings if options.asha else ():
        pruning = Pruning.of(store.folder("trainings", signature))
        if pruning is not None:
            schedule.ended(signature, Outcome("pruned", pruning.text))
    return schedule


def _begins_after(plan: Plan, left: Collection[str], store: Store) -> dict[str, str]:
    """Return after which shorter training each one begins, by signature; without those that have begun already.

    left: the trainings to do.
    """
    new = [signature for signature in plan.shorter if signature in left and step_reached(signature, store) is None]
    first = {signature: beginning(plan.shorter[signature], left, store) for signature in new}
    return {signature: other.signature for signature, other in first.items() if other is not None}


def _trained_again(plan: Plan, asked: Plan, present: frozenset[str], store: Store, options: Options) -> frozenset[str]:
    """The trainings to do even where all that depends on them is done: damaged ones and, if asked for, deleted ones."""
    damaged = {t for t in plan.trainings if t not in present and store.was_damaged("trainings", t)}
    return frozenset(damaged | (asked.trainings.keys() - present if options.missing else set()))


def selected(only: tuple[str, ...], plan: Plan) -> Plan:
    """Return the plan of the cells that a run is asked for: a variant, unless all of them match.

    Raises UserError where a text matches no cell.
    """
    if not only:
        return plan
    names = [plan.cell_name(planned) for planned in plan.cells]
    wanted: set[str] = set()
    for text in only:
        found = matching(text, names)
        if not found:
            some = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
            choice = meant_cell(text, names) or f"its cells are {some}"
            raise UserError(f"--only {text}: matches no cell of {plan.sweep.name}; {choice}")
        wanted |= set(found)
    cells = [planned for planned, name in zip(plan.cells, names, strict=True) if name in wanted]
    if len(cells) == len(plan.cells):
        return plan
    return plan_of_cells(plan, variant_name(plan.sweep.name, [selection_text(only)]), cells)
