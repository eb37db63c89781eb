"""status, logs, cancel, why, diff: what goes on, seen from any other terminal."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.commands.common import (
    DEFAULT_STORE,
    AsJson,
    CellArgument,
    StoreFolder,
    console_for,
    listed,
    plan_of,
    print_json,
    say,
)
from experiments.commands.completion import complete_cells, complete_sweeps
from experiments.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.logs import Log
    from experiments.names import Named
    from experiments.sessions import Session
    from experiments.status import Observer
    from experiments.store import Store

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
    from experiments.register import remembered
    from experiments.store import Store

    place, console = Store(store), console_for(as_json)
    names = remembered(place)
    if sweep is None and len(names) != 1:
        _show_overviews(place, console, as_json)
        return
    from experiments.board import board, status_json
    from experiments.status import Observer

    observer = Observer(plan_of(sweep or names[0], store), place)
    if watch and not as_json:
        _watch(observer, console, every)
        return
    found = observer.look()
    if as_json:
        print_json(status_json(found))
        return
    console.print(board(found, every))


def _show_overviews(store: Store, console: Console, as_json: bool) -> None:
    from experiments.board import overview_json, overview_table
    from experiments.status import overviews

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

    from experiments.board import board, status_lines

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
    with Live(board(found, every), console=console, refresh_per_second=2) as live:
        while found.runs:
            time.sleep(REFRESH_S)
            found = observer.look()
            live.update(board(found, every))


def logs(
    cell: CellArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until no run is at it any more, or until Ctrl-C.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines of each log.", min=0)] = 40,
    store: StoreFolder = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show what a cell's training and evaluation have written to their logs. With --json, a line for each line."""
    from experiments.logs import follow as follow_logs
    from experiments.logs import logs_of
    from experiments.names import find_one
    from experiments.store import Store

    place, console = Store(store), console_for(as_json)
    found = logs_of(find_one(cell, place), place)
    shown: Log | None = None
    for log in found:
        if not log.path.exists() and not as_json:
            say(console, f"==> {log.title}: has not begun")
        for line in log.last(lines):
            shown = _print_line(log, line, shown, console, as_json)
    if follow:
        for log, line in follow_logs(found, place):
            shown = _print_line(log, line, shown, console, as_json)


def _print_line(log: Log, line: str, shown: Log | None, console: Console, as_json: bool) -> Log:
    """Print a line, under the title of its log where the one before was of another; returns its log."""
    if as_json:
        print(json.dumps({"kind": log.kind, "signature": log.signature, "line": line}), flush=True)
        return log
    if log != shown:
        say(console, f"==> {log.title} ({log.path})")
    say(console, line)
    return log


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
    from experiments.register import remembered
    from experiments.sessions import cancel as ask
    from experiments.sessions import going_on
    from experiments.store import Store

    place, console = Store(store), console_for(as_json)
    whole = what in remembered(place)
    cells = [] if whole else _cells_of(what, place)
    sweeps = {what} if whole else {cell.sweep for cell in cells}
    runs = [run for run in going_on(place) if run.sweep in sweeps]
    ask(place, runs, None if whole else [cell.evaluation for cell in cells if cell.evaluation is not None])
    if as_json:
        names = [cell.name for cell in cells]
        print_json({"sweeps": sorted(sweeps), "cells": None if whole else names, "runs": [run.name for run in runs]})
        return
    for line in _cancelled(what, whole, cells, runs):
        say(console, line)


def _cells_of(text: str, store: Store) -> list[Named]:
    """The cells that are meant: all that a pattern with * meets, else one, or all of one training."""
    from experiments.names import find_one, named
    from experiments.register import named_work

    if "*" in text or "?" in text:
        found = [one for one in named(text, store) if one.evaluation is not None]
        if not found:
            raise UserError(f"{text}: stands for no cell of a sweep that was run on {store.root}")
        return found
    one = find_one(text, store)
    if one.evaluation is not None:
        return [one]
    from experiments.names import Named

    work = named_work(one.sweep, store).items()
    return [
        Named(one.sweep, name, **signatures)
        for name, signatures in work
        if signatures["training"] == one.training and "evaluation" in signatures
    ]


def _cancelled(what: str, whole: bool, cells: list[Named], runs: list[Session]) -> list[str]:
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


def why(cell: CellArgument, store: StoreFolder = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Show what a cell stands on, what of that is done, and what the rest differs in from the nearest finished work.

    FILE:CELL asks of a sweep file that was never run.
    """
    from experiments.explain import explain, explanation_json, explanation_lines
    from experiments.store import Store

    found = explain(cell, Store(store))
    if as_json:
        print_json(explanation_json(found))
        return
    console = console_for(as_json)
    for line in explanation_lines(found):
        say(console, line)


def diff(
    a: CellArgument,
    b: CellArgument,
    store: StoreFolder = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show two cells, or two trainings, side by side: in what they differ, where their numbers come from, the numbers.

    Differences of numbers are paired by image: both cells start from the same noise and labels.
    """
    from experiments.comparison import compare, comparison_json, comparison_view
    from experiments.store import Store

    found = compare(a, b, Store(store))
    if as_json:
        print_json(comparison_json(found))
        return
    console_for(as_json).print(comparison_view(found))
