"""In which fields, other than axes, several sweeps differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.sweep.equivalence import decides_numbers
from experiments.sweep.plan import Plan
from reports.values import in_words, show_value

MOST_FIELDS = 8  # that the sentence names


def unlike_fields(plans: Mapping[str, Plan]) -> str:
    """Return a sentence on the fields that no sweep has as an axis and that differ between sweeps; "" where none does.

    plans: by the names of the sweeps in the report.
    """
    axes = {axis for plan in plans.values() for axis in plan.sweep.axes}
    found = [_values_of(plan, axes) for plan in plans.values()]
    shared = [name for name in found[0] if all(name in own for own in found)]  # not options that one of them lacks
    unlike = [name for name in shared if len({own[name] for own in found}) > 1]
    if not unlike:
        return ""
    shown = [f"{name} ({', '.join(own[name] for own in found)})" for name in unlike[:MOST_FIELDS]]
    more = f" and {len(unlike) - MOST_FIELDS} more" if len(unlike) > MOST_FIELDS else ""
    return f"{in_words(list(plans))} also differ in fields that are no axes: {', '.join(shown)}{more}."


def _values_of(plan: Plan, axes: set[str]) -> dict[str, str]:
    """Return the values that the cells of a sweep have of each field that is no axis and that decides numbers."""
    found: dict[str, dict[Any, None]] = {}
    for cell in plan.sweep.cells:  # a value is None in those that have no such field
        for name, value in cell.parameters().items():
            found.setdefault(name, {})[value if value.__hash__ is not None else repr(value)] = None
    return {
        name: " or ".join(show_value(value) for value in values if value is not None or len(values) == 1)
        for name, values in found.items()
        if name not in axes and name != "seed" and decides_numbers(name)
    }
