"""The command status."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.completion import complete_sweeps
from experiments.cli.options import DEFAULT_STORE, AsJson, StoreFolder
from experiments.cli.output import console_for, print_json, say
from experiments.cli.sweeps import plan_of

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.inspection.status import Observer
    from experiments.store.store import Store

REFRESH_S = 1.0


def status(
    sweep: Annotated[
        str | None,
        typer.Argument(
            metavar="SWEEP",
            help="A sweep file, or the name of a sweep that was run on the store; all of them by default.",
            autocompletion=complete_sweeps,
        ),
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it until no run is at it any more, or until Ctrl-C.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Show every cell, however many there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how every cell of a sweep stands, while it runs and after: from any terminal that sees the store."""
    from experiments.store.registry import remembered
    from experiments.store.store import Store

    place, console = Store(store), console_for(as_json)
    names = remembered(place)
    if sweep is None and len(names) != 1:
        _show_overviews(place, console, as_json)
        return
    from experiments.cli.views.status import status_json, status_view
    from experiments.inspection.status import Observer

    observer = Observer(plan_of(sweep or names[0], store), place)
    if watch and not as_json:
        _watch(observer, console, every)
        return
    found = observer.look()
    if as_json:
        print_json(status_json(found))
        return
    console.print(status_view(found, every))


def _show_overviews(store: Store, console: Console, as_json: bool) -> None:
    from experiments.cli.views.status import overview_json, overview_table
    from experiments.inspection.status import overviews

    rows = list(overviews(store))
    if as_json:
        print_json([overview_json(row) for row in rows])
    elif rows:
        console.print(overview_table(rows))
    else:
        say(console, f"{store.root}: no sweep was run on this store yet; --store chooses another")


def _watch(observer: Observer, console: Console, every: bool) -> None:
    """Show a status anew until nothing is left to wait for."""
    from rich.live import Live

    from experiments.cli.views.status import status_lines, status_view

    found = observer.look()
    if not console.is_terminal:
        before: list[str] = []
        while True:
            lines = list(status_lines(found))
            if lines != before:
                for line in lines:
                    say(console, line)
            before = lines
            if not found.runs:
                return
            time.sleep(REFRESH_S)
            found = observer.look()
    with Live(status_view(found, every), console=console, refresh_per_second=2) as live:
        while found.runs:
            time.sleep(REFRESH_S)
            found = observer.look()
            live.update(status_view(found, every))
