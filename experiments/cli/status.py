"""The command status."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.options import AsJson, OptionalSweepArgument, StoreFolder
from experiments.cli.output import PLAIN_PERIOD_S, console_for, print_json, say, show
from experiments.cli.sweeps import plan_of
from experiments.environment import DEFAULT_STORE

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.inspection.status import StatusReader
    from experiments.store.store import Store

REFRESH_S = 1.0


def status(
    sweep: OptionalSweepArgument = None,
    store: StoreFolder = DEFAULT_STORE,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Keep updating until no run is active, or until Ctrl-C.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Show every cell, even if there are many.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the state and progress of every cell of a sweep, during a run and afterwards.

    It works in any terminal that can read the store. Without SWEEP it lists the sweeps that were run with this store;
    if there is only one, it shows that one.
    """
    from experiments.store.store import Store
    from experiments.store.sweep_records import recorded_sweeps

    place, console = Store(store), console_for(as_json)
    names = recorded_sweeps(place)
    if sweep is None and len(names) != 1:
        _show_overviews(place, console, as_json)
        return
    from experiments.cli.views.status import status_view
    from experiments.cli.views.status_json import status_json
    from experiments.inspection.status import StatusReader

    reader = StatusReader(plan_of(sweep or names[0], store), place)
    if as_json:
        print_json(status_json(reader.read()))
    elif not watch:
        show(console, status_view(reader.read(), every))
    elif console.is_interactive:
        _watch_live(reader, console, every)
    else:
        _watch_lines(reader, console)


def _show_overviews(store: Store, console: Console, as_json: bool) -> None:
    from experiments.cli.views.status import overview_table
    from experiments.cli.views.status_json import overview_json
    from experiments.inspection.status import overviews

    rows = list(overviews(store))
    if as_json:
        print_json([overview_json(row) for row in rows])
    elif rows:
        show(console, overview_table(rows))
    else:
        say(console, f"{store.root}: no sweep was run with this store yet; choose another with --store")


def _watch_live(reader: StatusReader, console: Console, every: bool) -> None:
    """Redraw what the screen has room for until no run is active, and then show all of it."""
    from rich.live import Live

    from experiments.cli.views.status import status_view

    status = reader.read()
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        while status.runs:
            live.update(status_view(status, every, fits_screen=True))
            time.sleep(REFRESH_S)
            status = reader.read()
    show(console, status_view(status, every))


def _watch_lines(reader: StatusReader, console: Console) -> None:
    """Print the status in sentences when a cell's state changes, and now and then, until no run is active."""
    from experiments.cli.views.status import status_lines

    counts, printed = None, 0.0
    while True:
        status = reader.read()
        if status.counts != counts or not status.runs or time.monotonic() - printed > PLAIN_PERIOD_S:
            for line in status_lines(status):
                say(console, line)
            counts, printed = status.counts, time.monotonic()
        if not status.runs:
            return
        time.sleep(REFRESH_S)
