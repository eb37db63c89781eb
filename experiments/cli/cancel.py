"""The command cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.completion import complete_cells
from experiments.cli.options import DEFAULT_STORE, AsJson, StoreFolder
from experiments.cli.output import console_for, listed, print_json, say
from experiments.errors import UserError

if TYPE_CHECKING:
    from experiments.inspection.lookup import NamedTask
    from experiments.store.active_runs import ActiveRun
    from experiments.store.store import Store


def cancel(
    what: Annotated[
        str,
        typer.Argument(
            metavar="CELL|SWEEP",
            help="A cell, several with * in it, or all of a sweep.",
            autocompletion=complete_cells,
        ),
    ],
    store: StoreFolder = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Ask the runs that go on, in whatever process, to leave a cell or a whole sweep; what was done of it is saved.

    A run that leaves a cell goes on with the others. The next run does after all what was cancelled.
    """
    from experiments.store.active_runs import active_runs
    from experiments.store.active_runs import request_cancellation as ask
    from experiments.store.registry import remembered
    from experiments.store.store import Store

    place, console = Store(store), console_for(as_json)
    whole = what in remembered(place)
    cells = [] if whole else _cells_of(what, place)
    sweeps = {what} if whole else {cell.sweep for cell in cells}
    runs = [run for run in active_runs(place) if run.sweep in sweeps]
    ask(place, runs, None if whole else [cell.evaluation for cell in cells if cell.evaluation is not None])
    if as_json:
        names = [cell.name for cell in cells]
        print_json({"sweeps": sorted(sweeps), "cells": None if whole else names, "runs": [run.name for run in runs]})
        return
    for line in _cancelled(what, whole, cells, runs):
        say(console, line)


def _cells_of(text: str, store: Store) -> list[NamedTask]:
    """The cells that are meant: all that a pattern with * meets, else one, or all of one training."""
    from experiments.inspection.lookup import find_one, tasks_matching
    from experiments.store.registry import named_tasks

    if "*" in text or "?" in text:
        found = [one for one in tasks_matching(text, store) if one.evaluation is not None]
        if not found:
            raise UserError(f"{text}: stands for no cell of a sweep that was run on {store.root}")
        return found
    one = find_one(text, store)
    if one.evaluation is not None:
        return [one]
    from experiments.inspection.lookup import NamedTask

    work = named_tasks(one.sweep, store).items()
    return [
        NamedTask(one.sweep, name, **signatures)
        for name, signatures in work
        if signatures["training"] == one.training and "evaluation" in signatures
    ]


def _cancelled(what: str, whole: bool, cells: list[NamedTask], runs: list[ActiveRun]) -> list[str]:
    if not runs:
        return [
            f"{what}: no run is at it; nothing was cancelled. 'exclude:' in a sweep's file leaves cells out for good"
        ]
    asked = "; ".join(f"host {run.host}, process {run.pid} ({run.sweep})" for run in runs)
    if whole:
        return [f"Asked to stop: {asked}. What runs saves its state within seconds; the next run goes on with it."]
    names = listed([cell.name for cell in cells])
    return [
        f"Asked to leave {names}: {asked}.",
        "What runs of it saves its state within seconds; the next run goes on with it.",
    ]
