"""The status of sweeps: every cell if there are few; if there are many, trainings and the cells that need attention."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from experiments.cli.views.tables import TextTable, name, numbers, sentences, values
from experiments.inspection.status import CellState, CellStatus, Status, SweepOverview, TaskStatus
from experiments.store.active_runs import ActiveRun
from experiments.wording import count, duration

MAX_ROWS = 40  # cells, or trainings, in one table
STYLES: dict[CellState, str] = {"done": "green", "running": "cyan", "failed": "bold red", "pruned": "yellow"}
NEED_ATTENTION: tuple[CellState, ...] = ("running", "failed", "interrupted")


def status_view(status: Status, every: bool = False) -> RenderableType:
    """Return the status of a sweep for a terminal. every: show all cells, however many there are."""
    parts: list[RenderableType] = [Text(line) for line in status_lines(status)]
    for table in _tables(status, every):
        parts += [Text(), table]
    return Group(*parts)


def status_lines(status: Status) -> Iterator[str]:
    """Yield the status of a sweep in sentences."""
    counts = ", ".join(f"{number:,} {state}" for state, number in status.counts.items())
    yield f"{status.sweep}: {count(len(status.cells), 'cell')}: {counts}"
    for run in status.runs:
        yield f"Active run: {_process(run)}, started {duration(time.time() - run.began)} ago"
    if status.left:
        yield f"Forecast: {status.left}"
    elif status.estimate is not None:
        low, high = status.estimate.wall_span_s
        guess = "" if status.estimate.measured else "; a rough guess"
        about = f"about {duration(status.estimate.wall_s)} on this machine ({duration(low)} to {duration(high)}{guess})"
        yield f"No active run. The rest takes {about}."


def _process(run: ActiveRun) -> str:
    return f"host {run.host}, process {run.pid}"


def _tables(status: Status, every: bool) -> Iterator[TextTable]:
    if every or len(status.cells) <= MAX_ROWS:
        if any(cell.training_status.state != "done" for cell in status.cells):
            yield from _active_trainings(status)
        yield _cells_table(status.cells)
        return
    yield _trainings_table(status)
    cells = [cell for cell in status.cells if cell.status.state in NEED_ATTENTION]
    if cells:
        yield _cells_table(cells[:MAX_ROWS], left_out=max(len(cells) - MAX_ROWS, 0))


def _active_trainings(status: Status) -> Iterator[TextTable]:
    """The trainings that are running, failed or interrupted, if there are any."""
    rows = [(status.names[name], own) for name, own in status.trainings.items() if own.state in NEED_ATTENTION]
    if rows:
        yield _tasks_table("training", rows)


def _cells_table(cells: Iterable[CellStatus], left_out: int = 0) -> TextTable:
    remark = f"... and {left_out:,} more (--all shows every cell)" if left_out else ""
    return _tasks_table("cell", ((cell.name, cell.status) for cell in cells), remark)


def _tasks_table(head: str, rows: Iterable[tuple[str, TaskStatus]], remark: str = "") -> TextTable:
    columns = (*values("state"), *numbers("progress", "speed", "left"), *sentences(""))
    table = TextTable(name(head), *columns, remark=remark)
    for title, status in rows:
        note = " ".join(filter(None, [status.why, f"on {status.where}" if status.where else ""]))
        table.add(title, _state(status), _progress(status), _speed(status), _left(status), note)
    return table


def _state(status: TaskStatus) -> Text:
    return Text(status.state, STYLES.get(status.state, ""))


def _progress(status: TaskStatus) -> str:
    progress = status.progress
    if progress is None:
        return ""
    return progress.phase or f"{progress.share:.0%} of {progress.total:,.6g} {progress.unit}"


def _speed(status: TaskStatus) -> str:
    progress = status.progress
    if progress is None or not progress.rate:
        return ""
    return f"{progress.rate * (1000 if progress.unit == 'kimg' else 1):,.0f} images/s"


def _left(status: TaskStatus) -> str:
    left_s = status.progress.left_s if status.progress is not None else None
    return duration(left_s) if left_s is not None else ""


def _trainings_table(status: Status) -> TextTable:
    """A row for each training and the states of its cells; unfinished ones come first."""
    counts: dict[str, Counter[CellState]] = {}
    for cell in status.cells:
        counts.setdefault(cell.training, Counter())[cell.status.state] += 1
    order = sorted(counts, key=lambda signature: counts[signature]["done"] == counts[signature].total())
    left_out = len(order) - MAX_ROWS
    remark = f"... and {left_out:,} more (--all shows every cell)" if left_out > 0 else ""
    columns = (*values("state"), *numbers("cells done"), *sentences("other cells", ""))
    table = TextTable(name("training"), *columns, remark=remark)
    for signature in order[:MAX_ROWS]:
        own, states = status.trainings[signature], counts[signature]
        others = ", ".join(f"{number:,} {state}" for state, number in states.items() if state != "done")
        done = f"{states['done']:,} of {states.total():,}"
        table.add(status.names[signature], _state(own), done, others, own.why)
    return table


def overview_table(rows: Iterable[SweepOverview]) -> TextTable:
    """Return a row for each sweep of a store."""
    table = TextTable(*values("sweep"), *numbers("cells done"), *sentences("active run"))
    for row in rows:
        runs = "; ".join(f"{_process(run)}: {run.progress.left if run.progress else 'starting'}" for run in row.runs)
        table.add(row.sweep, f"{row.done:,} of {row.cells:,}", runs)
    return table
