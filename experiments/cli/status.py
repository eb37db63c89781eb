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

    from experiments.inspection.status import Status, StatusReader
    from experiments.store.store import Store

REFRESH_S = 1.0


def status(
    sweep: OptionalSweepArgument = None,
    store: StoreFolder = DEFAULT_STORE,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            "-w",
            help="Keep updating until no run is active, or until Ctrl-C. With --json, wait for that and print once.",
        ),
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Show every cell, even if there are many.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the state and progress of every cell of a sweep, during a run and afterwards.

    It works in any terminal that can read the store. Without SWEEP it lists the sweeps that were run with this store;
    if there is only one, it shows that one. With --watch it shows the one that is running.
    """
    from experiments.store.store import Store

    place, console = Store(store), console_for(as_json)
    shown = sweep or _only_sweep(place, watch)
    if shown is None:
        _show_overviews(place, console, as_json)
        return
    from experiments.cli.views.status import status_view
    from experiments.cli.views.status_json import status_json
    from experiments.inspection.status import StatusReader

    reader = StatusReader(plan_of(shown, store), place)
    if as_json:
        print_json(status_json(_last(reader) if watch else reader.read()))
    elif not watch:
        show(console, status_view(reader.read(), every))
    elif console.is_interactive:
        _watch_live(reader, console, every)
    else:
        _watch_lines(reader, console)


def _only_sweep(store: Store, watch: bool) -> str | None:
    """The only sweep that was run with a store or, to watch it, the only one that is running; None if there are more.

    Raises UserError where several are running, of which one has to be named to watch it.
    """
    from experiments.errors import UserError
    from experiments.store.active_runs import active_runs
    from experiments.store.sweep_records import recorded_sweeps

    names = recorded_sweeps(store)
    if len(names) == 1:
        return names[0]
    running = sorted({run.sweep for run in active_runs(store)} & set(names)) if watch else []
    if len(running) > 1:
        raise UserError(f"--watch: {len(running)} sweeps are running ({', '.join(running)}); name one of them")
    return running[0] if running else None


def _last(reader: StatusReader) -> Status:
    """The status once no run is active."""
    status = reader.read()
    while status.runs:
        time.sleep(REFRESH_S)
        status = reader.read()
    return status


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
