"""Says in a sentence what a report asks and what it finds."""

from __future__ import annotations

import math
from collections.abc import Iterator

from reports.effects import Effect, best_metric
from reports.entries import TableEntry
from reports.metrics import METRICS, title_of
from reports.report import Report
from reports.table import ResultTable
from reports.tables import FIRST_METRICS
from reports.values import ABSENT, counted, short_axes, show_value

MAX_VALUES = 6  # of an axis that are listed


def question(report: Report) -> str:
    """Say what is compared: the axes with their values, and how many cells and trainings there are."""
    axes = [axis for axis in report.layout.axes if len(set(_shown(report, axis))) > 1]
    parts = [f"{name} ({_values(report, axis)})" for axis, name in zip(axes, short_axes(tuple(axes)), strict=True)]
    cells, trainings = len(report.frame), report.frame["training"].nunique() if "training" in report.frame else 0
    size = f"{counted(cells, 'cell')}{_seeds(report)}"
    size += f" from {counted(trainings, 'training')}" if trainings else ""
    return f"Compares {', '.join(parts)}: {size}." if parts else f"{size}."


def _seeds(report: Report) -> str:
    """How many seeds the cells of an entry have; nothing where all have one."""
    most, values = report.frame["seed"].nunique(), [_shown(report, axis) for axis in report.layout.axes]
    is_even = len(report.frame) == most * max(len(set(zip(*values, strict=True))), 1)
    return f" ({'' if is_even else 'up to '}{most} seeds)" if most > 1 else ""


def _values(report: Report, axis: str) -> str:
    """List the values of an axis, of those cells to which it means something."""
    values = [value for value in dict.fromkeys(_shown(report, axis)) if value != ABSENT]
    listed = ", ".join(values[:MAX_VALUES])
    return f"{listed} and {len(values) - MAX_VALUES} more" if len(values) > MAX_VALUES else listed


def _shown(report: Report, axis: str) -> list[str]:
    """The value of an axis in each cell as text: pandas leaves out null when it counts."""
    return list(map(show_value, report.frame[axis].tolist()))


def finding(tables: list[ResultTable]) -> str:
    """Say which cell is best, and which axis matters most; empty if there is no score yet, or none can be the best.

    It is about the first table, and says so if others have scores that cannot be compared with those.
    """
    main = [table for table in tables if table.main]
    parts = list(_parts(main[0])) if main and main[0].is_comparable else []
    where = "First table: " if len({table.label for table in main if table.has_scores}) > 1 else ""
    return f"{where}{'; '.join(parts)}." if parts else ""


def _parts(table: ResultTable) -> Iterator[str]:
    metric = best_metric([head.metric for head in table.heads if head.kind == "score"], FIRST_METRICS)
    if metric is None:
        return
    best = _best(table, metric)
    if best is not None:
        yield _best_sentence(table, metric, *best)
    effects = [effect for effect in table.effects if effect.is_significant]
    if effects:
        yield f"the largest significant main effect is {max(effects, key=_size).text}"


def _size(effect: Effect) -> float:
    return abs(effect.mean)


def _best(table: ResultTable, metric: str) -> tuple[str, TableEntry, int] | None:
    """The name, the entry and the column of the best score of a metric."""
    found = [
        (", ".join((label, *head.axis_values)), entries[i], i)
        for i, head in enumerate(table.heads)
        if head.metric == metric and head.kind == "score"
        for label, (_, entries) in zip(table.row_labels, table.rows, strict=True)
        if entries[i].mean is not None and math.isfinite(entries[i].mean or 0.0)
    ]
    if not found:
        return None
    choose = min if METRICS[metric].better == "lower" else max
    return choose(found, key=lambda one: one[1].mean or 0.0)


def _best_sentence(table: ResultTable, metric: str, name: str, entry: TableEntry, column: int) -> str:
    tied = sum(other.is_tied for other in table.columns[column]) - 1
    rest = ""
    if entry.is_best:
        rest = ", significantly better than all others of its column"
    elif entry.is_tied:
        others = ("others" if tied > 1 else "other") + _of_column(table, metric)
        rest = f", and {tied} {others} {'are' if tied > 1 else 'is'} not significantly different" if tied > 0 else ""
    return f"The best {title_of(metric)} is {entry.number} ({name}){rest}"


def _of_column(table: ResultTable, metric: str) -> str:
    """Say that entries of other columns with this score were not compared, where there are such."""
    several = sum(head.metric == metric and head.kind == "score" for head in table.heads) > 1
    return " of its column" if several else ""
