"""How a status is shown: every cell where there are few, trainings and what needs a look where there are many."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.cli.views.plan_json import estimate_json
from experiments.cli.views.text import count, duration
from experiments.inspection.status import CellState, CellStatus, Status, SweepOverview, TaskStatus
from experiments.store.active_runs import ActiveRun

MOST_ROWS = 40  # cells, or trainings, that are shown one by one
STYLES: dict[CellState, str] = {"done": "green", "running": "cyan", "failed": "bold red", "pruned": "yellow"}
BAR_WIDTH = 20
WORTH_A_LOOK: tuple[CellState, ...] = ("running", "failed", "interrupted")


def status_view(status: Status, every: bool = False) -> RenderableType:
    """A sweep at one moment. every: show all cells, however many there are."""
    lines = [Text(line) for line in status_lines(status)]
    return Group(*lines, Text(), *_tables(status, every))


def status_lines(status: Status) -> Iterator[str]:
    """The sweep in sentences."""
    counts = ", ".join(f"{number:,} {state}" for state, number in status.counts.items())
    yield f"{status.sweep}: {count(len(status.cells), 'cell')}: {counts}"
    for run in status.runs:
        yield f"Run by {_who(run)}, since {duration(time.time() - run.began)}"
    if status.left:
        yield f"Forecast: {status.left}"
    elif status.estimate is not None:
        low, high = status.estimate.wall_span_s
        basis = "" if status.estimate.measured else ", a rough guess"
        yield (
            f"No run is at it. What is left takes about {duration(status.estimate.wall_s)} on this machine "
            f"({duration(low)} to {duration(high)}{basis})"
        )


def _who(run: ActiveRun) -> str:
    return f"host {run.host}, process {run.pid}"


def _tables(status: Status, every: bool) -> Iterator[RenderableType]:
    if every or len(status.cells) <= MOST_ROWS:
        if any(cell.of_training.state != "done" for cell in status.cells):
            yield from _trainings_at_work(status)
        yield _cells(status.cells)
        return
    yield _by_training(status)
    looked_at = [cell for cell in status.cells if cell.standing.state in WORTH_A_LOOK]
    if looked_at:
        yield Text()
        yield _cells(looked_at[:MOST_ROWS])
    if len(looked_at) > MOST_ROWS:
        yield Text(f"... and {len(looked_at) - MOST_ROWS} more (--all shows every cell)")


def _trainings_at_work(status: Status) -> Iterator[RenderableType]:
    """The trainings that are at work or were interrupted, on which cells wait."""
    shown = [name for name, own in status.trainings.items() if own.state in WORTH_A_LOOK]
    if not shown:
        return
    table = _table("training", "state", "progress", "speed", "left", "")
    for name in shown:
        _row(table, status.names[name], status.trainings[name])
    yield table
    yield Text()


def _cells(cells: Iterable[CellStatus]) -> Table:
    table = _table("cell", "state", "progress", "speed", "left", "")
    for cell in cells:
        _row(table, cell.name, cell.standing)
    return table


def _table(*headers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, no_wrap=header not in (headers[0], ""))
    return table


def _row(table: Table, name: str, standing: TaskStatus) -> None:
    state = Text(standing.state, style=STYLES.get(standing.state, ""))
    told = " ".join(filter(None, [standing.why, f"on {standing.where}" if standing.where else ""]))
    table.add_row(Text(name), state, Text(_done(standing)), Text(_speed(standing)), Text(_left(standing)), Text(told))


def _done(standing: TaskStatus) -> str:
    if standing.share is None:
        return ""
    progress = standing.progress
    return f"{standing.share:4.0%} of {progress['total']:,.6g} {progress['unit']}"


def _speed(standing: TaskStatus) -> str:
    rate = standing.progress.get("rate")
    if not rate:
        return ""
    return f"{rate * (1000 if standing.progress['unit'] == 'kimg' else 1):,.0f} images/s"


def _left(standing: TaskStatus) -> str:
    return duration(standing.left_s) if standing.left_s is not None else ""


def _by_training(status: Status) -> Table:
    """A row for each training, with how many of its cells are in which state; of the unfinished first."""
    groups: dict[str, Counter[CellState]] = {}
    for cell in status.cells:
        groups.setdefault(cell.training, Counter())[cell.standing.state] += 1
    order = sorted(groups, key=lambda name: groups[name]["done"] == groups[name].total())
    table = _table("training", "state", "progress", "cells done", "others", "")
    for name in order[:MOST_ROWS]:
        own, counts = status.trainings[name], groups[name]
        others = ", ".join(f"{number} {state}" for state, number in counts.items() if state != "done")
        state = Text(own.state, style=STYLES.get(own.state, ""))
        bar = ProgressBar(total=counts.total(), completed=counts["done"], width=BAR_WIDTH)
        row = (Text(status.names[name]), state, bar, f"{counts['done']:,}/{counts.total():,}", others, Text(own.why))
        table.add_row(*row)
    if len(order) > MOST_ROWS:
        table.add_row(f"... and {len(order) - MOST_ROWS} more")
    return table


def overview_table(rows: Iterable[SweepOverview]) -> Table:
    """All sweeps of a store, a line each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("sweep")
    table.add_column("cells done", justify="right")
    table.add_column("")
    for row in rows:
        at_it = "; ".join(f"run by {_who(run)}: {run.progress.get('left', 'starting')}" for run in row.runs)
        table.add_row(Text(row.sweep), f"{row.done:,}/{row.cells:,}", Text(at_it))
    return table


# for scripts --------------------------------------------------------------------------------------


def status_json(status: Status) -> dict[str, Any]:
    """A sweep at one moment, for a script."""
    return {
        "sweep": status.sweep,
        "counts": status.counts,
        "runs": [_run_json(run) for run in status.runs],
        "forecast": status.left or None,
        "estimate": estimate_json(status.estimate) if status.estimate is not None else None,
        "trainings": [
            {"name": status.names[name], "signature": name, **_standing_json(own)}
            for name, own in status.trainings.items()
        ],
        "cells": [
            {
                "name": cell.name,
                "training": cell.training,
                "evaluation": cell.evaluation,
                **_standing_json(cell.standing),
            }
            for cell in status.cells
        ],
    }


def overview_json(row: SweepOverview) -> dict[str, Any]:
    """A sweep in a line, for a script."""
    return {"sweep": row.sweep, "cells": row.cells, "done": row.done, "runs": [_run_json(run) for run in row.runs]}


def _run_json(run: ActiveRun) -> dict[str, Any]:
    return {"session": run.name, "host": run.host, "pid": run.pid, "command": run.command, **run.progress}


def _standing_json(standing: TaskStatus) -> dict[str, Any]:
    told = {"state": standing.state, "why": standing.why or None, "where": standing.where or None}
    return {**told, "progress": dict(standing.progress) or None, "left_s": standing.left_s}
