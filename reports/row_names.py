"""Names the rows of a table: by the values of all axes, or by what they change of the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.deltas import IS_BASELINE
from reports.layout import TableSpec
from reports.values import ABSENT, joined_label, short_axes, show_value

Row = tuple[Any, ...]  # the values of the axes that make rows


def baseline_of(spec: TableSpec, rows: Sequence[Row]) -> Mapping[str, Any]:
    """Return the axis values that a table's entries are compared with; of changes, those of a whole row.

    What a baseline leaves open is as in the first row; where no row is like that, as in the first that has its values.
    """
    named = [dict(zip(spec.rows, row, strict=True)) for row in rows] if spec.changes else []
    own = [row for row in named if all(row.get(axis, value) == value for axis, value in spec.baseline.items())]
    alike = [row for row in named[:1] if {**row, **_within(row, spec.baseline)} in own]
    return {**dict(*(alike or own)[:1]), **spec.baseline}


def _within(row: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return those of some values whose axes make rows."""
    return {axis: value for axis, value in values.items() if axis in row}


def baseline_in_words(spec: TableSpec, baseline: Mapping[str, Any]) -> str:
    """Return what differences are taken to; "" where a table has none."""
    values = {axis: value for axis, value in baseline.items() if has_differences(spec) and value != ABSENT}
    axes = tuple(dict.fromkeys((*spec.rows, *spec.columns, *values)))
    names = dict(zip(axes, short_axes(axes), strict=True))  # as the heads of the table have them
    text = ", ".join(f"{names[axis]}={show_value(value)}" for axis, value in values.items())
    return f"the {IS_BASELINE}, {text}" if text and spec.changes else text


def has_differences(spec: TableSpec) -> bool:
    """Return whether every score of a table is followed by its difference to the baseline."""
    return bool(spec.baseline) or spec.changes


def row_heads(spec: TableSpec) -> tuple[str, ...]:
    """Return the heads of the columns that name the rows."""
    return ("change",) if spec.changes else short_axes(spec.rows) or ("",)


def row_names(spec: TableSpec, row: Row, baseline: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a row, one below each head."""
    return (_changes_of(spec, row, baseline),) if spec.changes else tuple(map(show_value, row)) or ("all",)


def row_labels(spec: TableSpec, rows: Sequence[Row], baseline: Mapping[str, Any]) -> list[str]:
    """Return the name of every row as one text that makes sense without the heads, and is that of no other row."""
    if spec.changes:
        return [_changes_of(spec, row, baseline) for row in rows]
    heads = short_axes(spec.rows)
    labels = [joined_label(heads, row) or "all" for row in rows]
    return [  # a text may be a value of either of two axes, where the other one means nothing
        label if labels.count(label) == 1 else _with_axes(heads, row) for label, row in zip(labels, rows, strict=True)
    ]


def _with_axes(heads: Sequence[str], row: Row) -> str:
    return ", ".join(f"{head}={show_value(own)}" for head, own in zip(heads, row, strict=True) if own != ABSENT)


def _changes_of(spec: TableSpec, row: Row, baseline: Mapping[str, Any]) -> str:
    """Return what a row changes of the baseline, without the options that it has no use for."""
    parts = zip(spec.rows, short_axes(spec.rows), row, strict=True)
    changed = [f"{name}={show_value(own)}" for axis, name, own in parts if own not in (baseline[axis], ABSENT)]
    return ", ".join(changed) or IS_BASELINE
