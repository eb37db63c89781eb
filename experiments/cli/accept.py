"""The command accept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.completion import complete_cells
from experiments.cli.options import AsJson, StoreFolder
from experiments.cli.output import console_for, print_json, say
from experiments.environment import DEFAULT_STORE
from experiments.wording import shortened_list

if TYPE_CHECKING:
    from experiments.store.store import Store
    from experiments.sweep.jobs import Task
    from experiments.sweep.tasks import Evaluation, Training

Named = list[tuple[str, "Task"]]


def accept(
    what: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP|CELL",
            help="A sweep file, the name of a sweep that was run with this store, or one of its cells or trainings.",
            autocompletion=complete_cells,
        ),
    ],
    store: StoreFolder = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Vouch for results that other code has made: today's code would make the same.

    They count as today's from then on, until the code changes again. The store keeps who vouched for them, and when;
    `why` shows it. Of a cell it covers all that the cell depends on.
    """
    from experiments.store.store import Store
    from experiments.sweep.code_changes import accept as vouch
    from experiments.sweep.code_changes import change_of, made_by

    place, console = Store(store), console_for(as_json)
    accepted = []
    for name, task in _tasks_of(what, place):
        made = made_by(place, task)
        change = change_of(place, task, made) if made is not None else None
        if change is not None:
            by = vouch(place, task, change).by
            accepted.append({"name": name, "signature": task.signature, "by": by, **change.to_json()})
    if as_json:
        print_json({"accepted": accepted})
    elif accepted:
        names = [str(one["name"]) for one in accepted]
        say(console, f"Accepted as the same, by {accepted[0]['by']}: {shortened_list(names)}")
    else:
        say(console, f"{what}: every result counts as made by today's code; nothing to accept")


def _role(training: Training, evaluation: Evaluation) -> str:
    """Return what a training is to an evaluation."""
    if training is evaluation.training:
        return "training"
    return "guide" if training is evaluation.guide else "network to begin with"


def _tasks_of(what: str, store: Store) -> Named:
    """Return the tasks and data sets of a sweep, or those that a cell depends on and its own, each with its name."""
    from experiments.cli.sweeps import plan_of
    from experiments.inspection.explain import resolve
    from experiments.inspection.lookup import find_one
    from experiments.store.sweep_records import means_sweep
    from experiments.sweep.preparations import preparations_of
    from experiments.sweep.tasks import Evaluation

    if means_sweep(what, store):
        plan = plan_of(what, store.root)
        return [(plan.names[task.signature], task) for task in plan.tasks]
    named = find_one(what, store)
    task = resolve(named, what, store).task
    if not isinstance(task, Evaluation):
        return [(f"data/{task.data.config.title}", task.data), (named.name, task)]
    data = task.training.data
    shared = [(each.description, each) for each in reversed(preparations_of(task))]
    trainings = [(_role(one, task), one) for one in task.trainings]
    return [(f"data/{data.config.title}", data), *shared, *trainings, (named.name, task)]
