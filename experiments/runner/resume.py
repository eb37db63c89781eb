"""Subtracts what the store holds from a plan."""

from __future__ import annotations

from experiments.errors import UserError
from experiments.runner.dispatch import is_done, tell_damage
from experiments.runner.durations import DurationModel
from experiments.runner.measurements import probes_left
from experiments.runner.options import Options
from experiments.runner.schedule import Costs, Schedule
from experiments.store.store import Store
from experiments.store.training_records import Pruning
from experiments.sweep.checks import require_even_batches
from experiments.sweep.jobs import Outcome
from experiments.sweep.names import matching
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import SweepTask


def open_schedule(plan: Plan, store: Store, options: Options = Options(), costs: Costs | None = None) -> Schedule:
    """What is left to do of a plan; files that changed since they were written are set aside, and count as absent."""
    require_even_batches(plan.trainings.values(), plan.sweep.resources.gpus)
    _, known = store.damages_since(0)
    tasks: list[SweepTask] = [*plan.trainings.values(), *plan.evaluations.values()]
    present = {p.signature for p in tasks if store.sound(p.store_kind, p.signature) and is_done(store, p)}
    pruned = {name: Pruning.of(store.folder("trainings", name)) for name in plan.trainings} if options.asha else {}
    lost = frozenset(name for name in plan.trainings if name not in present and store.was_damaged("trainings", name))
    probes = probes_left(plan, store) if plan.sweep.resources.gpus == "auto" else {}
    skipped = frozenset(skipped_by(options.only, plan))
    schedule = Schedule(
        plan, frozenset(present), costs or DurationModel(store, plan), probes, options.retries, lost, skipped
    )
    schedule.notices += map(tell_damage, store.damages_since(known)[0])
    for name, pruning in pruned.items():
        if pruning is not None:
            schedule.ended(name, Outcome("pruned", pruning.text))
    return schedule


def skipped_by(only: tuple[str, ...], plan: Plan) -> set[str]:
    """Return the evaluations that a run of some cells leaves out; raises UserError where a text matches no cell."""
    if not only:
        return set()
    names = {plan.cell_name(planned): planned.evaluation.signature for planned in plan.cells}
    wanted: set[str] = set()
    for text in only:
        found = matching(text, names)
        if not found:
            some = ", ".join(list(names)[:6]) + (", ..." if len(names) > 6 else "")
            raise UserError(f"--only {text}: matches no cell of {plan.sweep.name}; its cells are {some}")
        wanted |= {names[name] for name in found}
    return set(names.values()) - wanted
