"""The status of sweeps: every cell if there are few; if there are many, trainings and the cells that need attention."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from rich.text import Text

from experiments.cli.views.changes import change_lines
from experiments.cli.views.page import Page
from experiments.cli.views.tables import TextTable, name, numbers, sentences, values
from experiments.cli.views.task_progress import left_text, share_text, speed_text
from experiments.inspection.status import CellState, CellStatus, Status, SweepOverview, TaskStatus
from experiments.store.active_runs import ActiveRun
from experiments.wording import count, duration, process_text

MAX_ROWS = 40  # cells, or trainings, in one table
STYLES: dict[CellState, str] = {"done": "green", "running": "cyan", "failed": "bold red", "pruned": "yellow"}
NEED_ATTENTION: tuple[CellState, ...] = ("running", "failed", "interrupted")
LESS_URGENT = 1  # rank of a row that is neither in these states nor done


def status_view(status: Status, every: bool = False, fits_screen: bool = False) -> Page:
    """Return the status of a sweep for a terminal.

    every: show all cells, however many there are. fits_screen: leave out what the terminal is too short for, finished
    cells first.
    """
    return Page(*map(Text, status_lines(status)), *_tables(status, every), fits_screen=fits_screen)


def status_lines(status: Status) -> Iterator[str]:
    """Yield the status of a sweep in sentences."""
    counts = ", ".join(f"{number:,} {state}" for state, number in status.counts.items())
    yield f"{status.sweep}: {count(len(status.cells), 'cell')}: {counts}"
    yield from change_lines(status.changes, status.sweep, status.store)
    for run in status.runs:
        ago = duration(max(0.0, time.time() - run.began))  # by the clock of another machine, perhaps
        yield f"Active run: {process_text(run.host, run.pid)}, started {ago} ago"
    if status.left:
        yield f"Forecast: {status.left}"
    elif status.estimate is not None:
        low, high = status.estimate.wall_span_s
        guess = "" if status.estimate.measured else "; a rough guess"
        about = f"about {duration(status.estimate.wall_s)} on this machine ({duration(low)} to {duration(high)}{guess})"
        yield f"No active run. The rest takes {about}."


def _tables(status: Status, every: bool) -> Iterator[TextTable]:
    yield from _active("preparation", status.preparations, status.names)
    if every or len(status.cells) <= MAX_ROWS:
        if any(cell.training_status.state != "done" for cell in status.cells):
            yield from _active("training", status.trainings, status.names)
        yield _cells_table(status.cells)
        return
    yield _trainings_table(status)
    cells = [cell for cell in status.cells if cell.status.state in NEED_ATTENTION]
    if cells:
        yield _cells_table(cells[:MAX_ROWS], left_out=max(len(cells) - MAX_ROWS, 0))


def _active(head: str, tasks: Mapping[str, TaskStatus], names: Mapping[str, str]) -> Iterator[TextTable]:
    """The tasks that are running, failed or interrupted, if there are any."""
    rows = [(names[signature], own) for signature, own in tasks.items() if own.state in NEED_ATTENTION]
    if rows:
        yield _tasks_table(head, rows)


def _cells_table(cells: Iterable[CellStatus], left_out: int = 0) -> TextTable:
    remark = f"... and {left_out:,} more (--all shows every cell)" if left_out else ""
    return _tasks_table("cell", ((cell.name, cell.status) for cell in cells), remark)


def _tasks_table(head: str, rows: Iterable[tuple[str, TaskStatus]], remark: str = "") -> TextTable:
    columns = (*values("state"), *numbers("progress", "images/s", "left"), *sentences(""))
    table = TextTable(name(head), *columns, remark=remark)
    for title, status in rows:
        note = " ".join(filter(None, [_why(status), f"on {status.where}" if status.where else ""]))
        progress = status.progress
        far = ("", "", "") if progress is None else (share_text(progress), speed_text(progress), left_text(progress))
        table.add(title, _state(status), *far, note, rank=_rank(status.state))
    return table


def _why(status: TaskStatus) -> str:
    """The reason for a state; a sentence above the tables says which code has made results."""
    return "; ".join(filter(None, [status.why, "made by other code" if status.change is not None else ""]))


def _rank(state: CellState) -> int:
    """How soon a row gives way on a screen that is too small."""
    if state in NEED_ATTENTION:
        return 0
    return 2 if state == "done" else LESS_URGENT


def _state(status: TaskStatus) -> Text:
    return Text(status.state, STYLES.get(status.state, ""))


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
        finished = states["done"] == states.total()
        rank = _rank(own.state) if own.state != "done" or finished else LESS_URGENT
        table.add(status.names[signature], _state(own), done, others, _why(own), rank=rank)
    return table


def overview_table(rows: Iterable[SweepOverview]) -> TextTable:
    """Return a row for each sweep of a store."""
    table = TextTable(*values("sweep"), *numbers("cells done", "failed"), *sentences("active run"))
    for row in rows:
        failed = f"{row.failed:,}" if row.failed else ""
        table.add(row.sweep, f"{row.done:,} of {row.cells:,}", failed, "; ".join(map(_run_text, row.runs)))
    return table


def _run_text(run: ActiveRun) -> str:
    return f"{process_text(run.host, run.pid)}: {run.progress.left if run.progress else 'starting'}"
