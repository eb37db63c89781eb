"""Which values of an axis come to the same computation, as sentences for people."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edm.config.canonical import reached_halflife
from experiments.sweep.diagnostics import show_value
from experiments.sweep.spec import SECTIONS, Cell, key_of, split_axis

Outcome = tuple[Cell, str]  # a cell, and the signature of the canonical form of what it comes to
Row = tuple[Any, ...]
MOST_CELLS = 4  # that a sentence names
SAME_WEIGHTS = "the files hold the same weights"
BY_CONTENT = {  # axes of paths, which decide by what the files hold; and how values of each come to the same
    "data.path": "they hold the same images",
    "model.from": SAME_WEIGHTS,
    "training.from": SAME_WEIGHTS,
    "evaluation.statistics": "the files are the same",
}


@dataclass(frozen=True)
class SameValues:
    """Values of an axis that come to the same in all cells that differ in nothing else.

    all: whether they are all the values that the axis has. why: the reason, if one is known.
    """

    axis: str
    values: tuple[Any, ...]
    all: bool
    why: str = ""

    def __str__(self) -> str:
        """Return a sentence."""
        *first, last = map(_shown, self.values)
        values = f"{', '.join(first)} and {last}"
        why = f": {self.why}" if self.why else ""
        if self.all:
            return f"{self.axis} changes nothing: {values} come to the same computation, which is done once{why}"
        return f"{self.axis}: {values} come to the same computation, which is done once{why}"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else show_value(value).strip("'")


def same_values(cells: Sequence[Outcome], axes: Sequence[str]) -> list[SameValues]:
    """Return the values of each axis that come to the same."""
    rows = [tuple([cell.value(axis) for axis in axes]) for cell, _ in cells]
    numbers = [number for number, axis in enumerate(axes) if decides_numbers(axis)]
    return [same for number in numbers for same in _same_values(cells, rows, axes[number], number)]


def decides_numbers(axis: str) -> bool:
    """Return whether an axis is more than a choice of what is shown, such as evaluation.metrics."""
    if axis in BY_CONTENT:
        return True
    section, name, _ = split_axis(axis)
    (field,) = (field for field in dataclasses.fields(SECTIONS[section]) if key_of(field) == name)
    return bool(field.metadata.get("identity", True))


def _same_values(cells: Sequence[Outcome], rows: Sequence[Row], axis: str, number: int) -> Iterator[SameValues]:
    """The values of one axis, given its number, that come to the same. rows: the values of all axes, of every cell."""
    outcomes: dict[Any, dict[Any, str]] = {}  # by value, and then by what else a cell is
    for (cell, computation), row in zip(cells, rows, strict=True):
        outcomes.setdefault(row[number], {})[cell.seed, row[:number], row[number + 1 :]] = computation
    left = list(outcomes)
    while left:
        first, *others = left
        same = [first, *(value for value in others if _agree(outcomes[first], outcomes[value]))]
        left = [value for value in left if value not in same]
        if len(same) > 1:
            why = _reason(axis, [cell for cell, _ in cells if cell.value(axis) in same])
            yield SameValues(axis, tuple(same), len(same) == len(outcomes), why)


def _agree(one: dict[Any, str], other: dict[Any, str]) -> bool:
    """Whether two values come to the same wherever cells differ in nothing else, and there are such cells."""
    shared = one.keys() & other.keys()
    return bool(shared) and all(one[rest] == other[rest] for rest in shared)


def _reason(axis: str, cells: Sequence[Cell]) -> str:
    if axis == "training.ema_halflife_kimg":
        reached = max(reached_halflife(cell.training) for cell in cells)
        return (
            f"training.ema_rampup holds the half-life at {reached:.3g} kimg or less, a share of the images seen; "
            "give shorter half-lives, or set ema_rampup: null"
        )
    return {
        **BY_CONTENT,
        "data.split_seed": "the folder has splits of its own",
        "training.kimg": "they take equally many steps",
        "training.label_dropout": "the images have no classes",
        "sampling.guidance": "nothing is guided",
        "sampling.guidance_interval": "the same steps are guided",
        "sampling.s_churn": "no sampler adds noise, or each adds as much as there can be",
        "sampling.eta": "only dpmpp_2m_sde reads it",
    }.get(axis, "")


def repeated_cells(cells: Sequence[Outcome], axes: Sequence[str], known: Sequence[SameValues]) -> list[list[int]]:
    """Return the groups of cells that come to the same for other reasons than the values of an axis that are `known`.

    Cells are given by their numbers.
    """
    merged = {(same.axis, value): same.values[0] for same in known for value in same.values}
    shown = [axis for axis in axes if decides_numbers(axis)]
    groups: dict[str, dict[Any, int]] = {}
    for number, (cell, computation) in enumerate(cells):
        values = [cell.value(axis) for axis in shown]
        if merged:
            values = [merged.get(pair, pair[1]) for pair in zip(shown, values, strict=True)]
        groups.setdefault(computation, {}).setdefault((cell.seed, *values), number)
    return [list(group.values()) for group in groups.values() if len(group) > 1]


def repeated_sentence(names: Sequence[Sequence[str]]) -> str:
    """Return a sentence on groups of cells that come to the same, given their names; it names the first group."""
    first = list(itertools.islice(names[0], MOST_CELLS))
    listed = f"{', '.join(first[:-1])} and {first[-1]}" + (" and others" if len(names[0]) > MOST_CELLS else "")
    others = "" if len(names) == 1 else f", as do {len(names) - 1} other {'group' if len(names) == 2 else 'groups'}"
    return f"{listed} come to the same computation, which is done once{others}"
