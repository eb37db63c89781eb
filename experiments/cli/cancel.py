"""The command cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.completion import complete_cells
from experiments.cli.options import AsJson, StoreFolder
from experiments.cli.output import console_for, print_json, say
from experiments.environment import DEFAULT_STORE
from experiments.wording import process_text, shortened_list

if TYPE_CHECKING:
    from experiments.store.active_runs import ActiveRun
    from experiments.store.store import Store

SAVED = "Tasks in progress save their state within seconds, and the next run continues them."


def cancel(
    what: Annotated[
        str,
        typer.Argument(
            metavar="CELL|SWEEP",
            help="A cell, a pattern that matches several cells (* and ? are wildcards), or a sweep: its name or "
            "its file.",
            autocompletion=complete_cells,
        ),
    ],
    store: StoreFolder = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Stop active runs from working on a cell, or stop all runs of a sweep. Progress is saved.

    It reaches runs in any process, on any machine that shares the store. These continue with their other cells. The
    next run continues what was cancelled; to leave a cell out for good, use `exclude:` in the sweep file.
    """
    from experiments.inspection.lookup import cells_meant
    from experiments.store.active_runs import active_runs, request_cancellation
    from experiments.store.store import Store
    from experiments.store.sweep_names import includes

    place, console = Store(store), console_for(as_json)
    whole = _sweep_meant(what, place)
    cells = [] if whole else cells_meant(what, place)
    sweeps = {whole} if whole else {cell.sweep for cell in cells}
    runs = [run for run in active_runs(place) if any(includes(name, run.sweep) for name in sweeps)]
    evaluations = [cell.evaluation for cell in cells if cell.evaluation is not None]
    request_cancellation(place, runs, None if whole else evaluations)
    names = None if whole else list(dict.fromkeys(cell.name for cell in cells))
    if as_json:
        print_json({"sweeps": sorted(sweeps), "cells": names, "runs": [run.run_id for run in runs]})
        return
    for line in _cancelled_lines(what, names, runs):
        say(console, line)


def _sweep_meant(text: str, store: Store) -> str | None:
    """The name of the sweep that a text means, by its name or its file; None where it means cells."""
    from experiments.cli.sweeps import read_sweep
    from experiments.store.sweep_records import is_recorded, means_sweep

    if is_recorded(text, store):
        return text
    return read_sweep(text, store.root).sweep.name if means_sweep(text, store) else None


def _cancelled_lines(what: str, names: list[str] | None, runs: list[ActiveRun]) -> list[str]:
    """What was asked of which runs. names: of the cells; None for a whole sweep."""
    if not runs:
        advice = "To leave cells out for good, use 'exclude:' in the sweep file."
        return [f"{what}: no active run, so nothing was cancelled. {advice}"]
    processes = "; ".join(f"{process_text(run.host, run.pid)} ({run.sweep})" for run in runs)
    if names is None:
        return [f"Asked to stop: {processes}.", SAVED]
    return [f"Asked to stop working on {shortened_list(names)}: {processes}.", SAVED]
