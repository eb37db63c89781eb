"""The command logs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.options import AsJson, CellArgument, StoreFolder
from experiments.cli.output import console_for, say
from experiments.environment import DEFAULT_STORE

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.inspection.logs import Log


def logs(
    cell: CellArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines until no run is active, or until Ctrl-C.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", help="How many of the last lines of each log to show.", min=0)
    ] = 40,
    store: StoreFolder = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Show the logs of a cell's training and evaluation, and the training's latest loss; or the log of a preparation.

    With --json, print one JSON object per line.
    """
    from experiments.inspection.logs import follow as follow_logs
    from experiments.inspection.logs import logs_matching
    from experiments.store.store import Store

    place, console = Store(store), console_for(as_json)
    found = logs_matching(cell, place)
    shown: Log | None = None
    for log in found:
        if not log.path.exists() and not as_json:
            say(console, f"==> {log.title}: not started")
        for line in (*log.last(lines), *(log.last_losses() if lines else ())):
            shown = _print_line(log, line, shown, console, as_json)
    if follow:
        for log, line in follow_logs(found, place):
            shown = _print_line(log, line, shown, console, as_json)


def _print_line(log: Log, line: str, shown: Log | None, console: Console, as_json: bool) -> Log:
    """Print a line, below a title if the line before was of another log; returns its log."""
    if as_json:
        print(json.dumps({"kind": log.kind, "signature": log.signature, "line": line}), flush=True)
        return log
    if log != shown:
        say(console, f"==> {log.title} ({log.path})")
    say(console, line)
    return log
