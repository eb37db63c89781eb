"""Writes axes and their values as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

MAX_NAMED_CELLS = 6
OPTIONS = "_options."  # between an axis and an option of its values
ABSENT = "-"  # in a frame, what means nothing in a cell, such as an option of another value


def short_axes(axes: tuple[str, ...]) -> tuple[str, ...]:
    """Shorten axes to the name of their field if that is unambiguous."""
    fields = [axis.split(".")[-1] for axis in axes]
    return tuple(field if fields.count(field) == 1 else axis for axis, field in zip(axes, fields, strict=True))


def replaced(axes: Sequence[str], key: Sequence[Any], given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return axis values with the given ones in their place; a field's options go with the value that had them."""
    before = dict(zip(axes, key, strict=True))

    def of(axis: str) -> Any:
        field, _, option = axis.partition(OPTIONS)
        goes = option and field in given and given[field] != before.get(field)
        return given.get(axis, ABSENT if goes else before[axis])

    return tuple(map(of, axes))


def show_value(value: Any) -> str:
    """Return an axis value as a person would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "null"
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)  # or two rows would have one label


def label_value(axis: str, value: Any) -> str:
    """Return an axis value as a label: text by itself, anything else with the name of its axis."""
    return value if isinstance(value, str) else f"{axis}={show_value(value)}"


def joined_label(axes: Sequence[str], values: Sequence[Any]) -> str:
    """Return axis values as one label, without those that mean nothing there; "" for none."""
    named = [label_value(axis, value) for axis, value in zip(axes, values, strict=True) if value != ABSENT]
    return ", ".join(named or map(label_value, axes, values))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 cell, 3 cells."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def in_words(names: Sequence[str]) -> str:
    """Return one or more names as a sentence has them, such as "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def cell_list(names: Sequence[str], total: int) -> str:
    """Return the names of some of `total` cells, the first of them if there are many."""
    if len(names) == total:
        return "all cells"
    listed = ", ".join(names[:MAX_NAMED_CELLS])
    more = f" and {len(names) - MAX_NAMED_CELLS} more" if len(names) > MAX_NAMED_CELLS else ""
    return f"{'cell' if len(names) == 1 else 'cells'} {listed}{more}"
