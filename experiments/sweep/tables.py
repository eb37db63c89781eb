"""Checks the tables that a sweep file asks for against its axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from experiments.sweep.axes import as_in_cells
from experiments.sweep.diagnostics import show_value, suggest, suggest_axis
from experiments.sweep.document import Document, Location
from experiments.sweep.spec import Cell, Cost, ReportConfig
from experiments.wording import one_of
from reports.metrics import METRICS


class ReportTables:
    """Checks and completes the tables of a sweep with these axes and cells. cells: those of one seed."""

    def __init__(self, document: Document, axes: tuple[str, ...], cells: Sequence[Cell]) -> None:
        self.document, self.axes, self.cells = document, axes, cells

    def complete(self, table: ReportConfig, place: Location) -> ReportConfig:
        """Return a table with its rows filled in. place: where it is in the file. Raises UserError if it is wrong."""
        for key in ("rows", "columns"):
            for i, axis in enumerate(getattr(table, key) or ()):
                self._require_axis(axis, key, (*place, key, i))
        for i, metric in enumerate(table.metrics or ()):
            if metric not in METRICS:
                raise self.document.error(
                    (*place, "metrics", i),
                    f"report.metrics: {metric!r} is not a metric; {suggest(metric, tuple(METRICS))}",
                )
        rows = tuple(axis for axis in self.axes if axis not in table.columns) if table.rows is None else table.rows
        rows = (*rows, *self._length(table, (*rows, *table.columns)))
        self._require_own_entries((*rows, *table.columns), place)
        for axis, value in (table.baseline or {}).items():
            self._require_axis(axis, "baseline", (*place, "baseline", axis))
            self._require_value(axis, value, (*place, "baseline", axis))
        baseline = {axis: as_in_cells(axis, value) for axis, value in (table.baseline or {}).items()}
        self._require_baseline(baseline, (*place, "baseline"))
        if table.equal == "nfe" and "sampling.steps" not in self.axes:
            remedy = "make sampling.steps an axis, such as sampling.steps: [8, 16, 32], or remove the line"
            raise self.document.error((*place, "equal"), f"report.equal: nfe compares numbers of steps; {remedy}")
        return replace(table, rows=rows, baseline=baseline or table.baseline)

    def _length(self, table: ReportConfig, shown: tuple[str, ...]) -> tuple[str, ...]:
        """The axis that a table at equal compute chooses along, where it is not shown; its rows have one value each."""
        length = "sampling.steps" if table.equal == "nfe" else "training.kimg"
        return (length,) if table.equal and length in self.axes and length not in shown else ()

    def _require_axis(self, axis: str, key: str, place: Location) -> None:
        if axis not in self.axes:
            hint = suggest_axis(axis, self.axes)
            if axis in get_args(Cost):
                equal = f", and report.equal: {axis} to compare where it is equal" if axis != "parameters" else ""
                hint = f"write report.costs: [{axis}] for a column of it{equal}"
            raise self.document.error(place, f"report.{key}: {axis!r} is not an axis of this sweep; {hint}")

    def _require_value(self, axis: str, value: Any, place: Location) -> None:
        values = {as_in_cells(axis, known): known for known in (cell.value(axis) for cell in self.cells)}
        if as_in_cells(axis, value) not in values:
            choices = one_of([show_value(known) for known in values.values()])
            message = f"report.baseline: {show_value(value)} is not a value of {axis}; use {choices}"
            raise self.document.error(place, message)

    def _require_baseline(self, baseline: Mapping[str, Any], place: Location) -> None:
        """Raise UserError where no cell has all values of a baseline, as every difference would be empty."""
        cells = [{axis: as_in_cells(axis, cell.value(axis)) for axis in baseline} for cell in self.cells]
        if baseline and baseline not in cells:
            shown = ", ".join(f"{axis}={show_value(value)}" for axis, value in baseline.items())
            raise self.document.error(place, f"report.baseline: no cell has {shown}; give the values of one")

    def _require_own_entries(self, shown: tuple[str, ...], place: Location) -> None:
        """Raise UserError where two cells would share an entry of the table that has the `shown` axes."""
        entries: dict[tuple[Any, ...], Cell] = {}
        for cell in self.cells:
            other = entries.setdefault(tuple(cell.value(axis) for axis in shown), cell)
            if other != cell:
                axis = next(a for a in self.axes if cell.value(a) != other.value(a))
                raise self.document.error(
                    (*place, "rows"),
                    f"report: {axis} is neither in rows nor in columns, so different cells would share a table entry; "
                    "add it to rows or columns",
                )
