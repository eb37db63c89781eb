"""A frame of results -> comparison tables: which numbers stand where, with what error, and which one is the best."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.entries import Entry, rounded
from reports.metrics import METRICS
from reports.parts import Layout, Part, parts, valued
from reports.significance import Column, Mark, Paired, Sample, marks

COMPARABLE = (
    "features",
    "evaluation.images",
    "reference",
    "data",
    "sampling.resolution",
)  # numbers that differ in any of these never share a table
CONTEXT = {"noise_": "pure noise", "real_": "real train split"}  # prefixes of columns that say how to read a metric
Key = tuple[Any, ...]  # values of axes
Cells = list[dict[str, Any]]  # rows of a frame


@dataclass(frozen=True)
class Head:
    """A column of numbers: a metric, at values of the axes that make columns."""

    metric: str
    at: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Context:
    """A row below a table by which its numbers are read: kind "noise" or "real"."""

    kind: str
    title: str
    entries: list[Entry]


@dataclass(frozen=True)
class Comparison:
    """A table of numbers that may be compared.

    title: the sweep's; name: of the table where it is not the main one. label: what the scores are. row_heads: a title
    for every column of row names. rows: names and entries.
    """

    title: str
    name: str
    label: str
    main: bool
    row_heads: tuple[str, ...]
    heads: tuple[Head, ...]
    rows: list[tuple[tuple[str, ...], list[Entry]]]
    context: list[Context]

    @property
    def heading(self) -> str:
        """The sweep and the table."""
        return f"{self.title}: {self.name}" if self.name else self.title

    @property
    def number_heads(self) -> tuple[str, ...]:
        """A title for every column of numbers."""
        return tuple(head.text for head in self.heads)

    @property
    def entries(self) -> list[Entry]:
        """All its numbers, row by row."""
        return [entry for _, line in self.rows for entry in line]

    @property
    def marked(self) -> tuple[bool, ...]:
        """Of every column of numbers, whether any of its entries is marked as not told apart from the best."""
        return tuple(any(line[i].close for _, line in self.rows) for i in range(len(self.heads)))

    @property
    def complete(self) -> bool:
        """Whether every number is there that there will ever be."""
        return all(entry.have + entry.stopped + entry.pruned == entry.want for entry in self.entries)


def comparisons(frame: pd.DataFrame, layout: Layout, paired: Mapping[str, Paired] | None = None) -> list[Comparison]:
    """The tables of each group of comparable cells: numbers of different features, counts or data never mix.

    Of every group the main table, then those of fidelity and of memorisation where there are such numbers; one table
    of exactly the metrics that the layout names, if it names any. paired: of a metric, how the errors of cells hang
    together.
    """
    groups = frame.groupby([name for name in COMPARABLE if name in frame.columns], sort=False, dropna=False)
    return [
        _comparison(group, layout.title, part, paired or {}) for _, group in groups for part in parts(group, layout)
    ]


def _comparison(frame: pd.DataFrame, title: str, part: Part, paired: Mapping[str, Paired]) -> Comparison:
    cells = _cells_by_place(frame, part)
    rows, at = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    places = list(itertools.product(at, part.metrics))
    columns = [[cells.get((row, column), []) for row in rows] for column, _ in places]
    names = [name for _, name in places]
    entries = _entries(columns, names, paired)
    axes = short_axes(part.columns)
    return Comparison(
        title=title,
        name=part.name,
        label=describe_scores(frame),
        main=part.main,
        row_heads=short_axes(part.rows) or ("",),
        heads=tuple(_head(name, tuple(map(_tell, axes, column)), bool(part.name)) for column, name in places),
        rows=[(tuple(map(show_value, row)) or ("all",), [line[i] for line in entries]) for i, row in enumerate(rows)],
        context=list(_context(frame, [(name, line[0]) for name, line in zip(names, entries, strict=True)])),
    )


def _cells_by_place(frame: pd.DataFrame, part: Part) -> dict[tuple[Key, Key], Cells]:
    """The cells of every combination of row and column that there is, in order of appearance."""
    places: dict[tuple[Key, Key], Cells] = {}
    for row in frame.to_dict("records"):
        named = {str(name): None if pd.isna(value) else value for name, value in row.items()}
        row_key, column_key = (tuple(named[axis] for axis in axes) for axes in (part.rows, part.columns))
        places.setdefault((row_key, column_key), []).append(named)
    return places


def _sample(cells: Cells, metric: str) -> Sample:
    """The scores of an entry's seeds; none where any ended early: the mean of those that did not is too good."""
    ended = _stops(cells) or _prunings(cells)
    there = [cell for cell in cells if cell[metric] is not None] if not ended else []
    errors = [cell.get(f"{metric}_se") for cell in there]
    return Sample(
        tuple(int(cell["seed"]) for cell in there),
        tuple(str(cell["cell"]) for cell in there),
        tuple(float(cell[metric]) for cell in there),
        tuple(math.nan if error is None else float(error) for error in errors),
    )


def _stops(cells: Cells) -> list[int]:
    """At how many images the evaluations of those seeds ended that were stopped as clearly worse."""
    return [int(cell["stopped_at"]) for cell in cells if cell.get("stopped_at") is not None]


def _prunings(cells: Cells) -> list[float]:
    """At how many kimg the trainings of those seeds ended that were pruned."""
    return [float(cell["pruned_at"]) for cell in cells if cell.get("pruned_at") is not None]


def _entries(columns: list[list[Cells]], names: list[str], paired: Mapping[str, Paired]) -> list[list[Entry]]:
    """The entries of every column of numbers, from the cells of each and the metric that it shows."""
    samples = [[_sample(cells, name) for cells in column] for column, name in zip(columns, names, strict=True)]
    return [
        rounded([_entry(*of, name, first=name == names[0]) for of in zip(column, line, found, strict=True)])
        for column, line, found, name in zip(columns, samples, _marks(samples, names, paired), names, strict=True)
    ]


def _entry(cells: Cells, sample: Sample, mark: Mark, name: str, first: bool) -> Entry:
    known = bool(sample.values)
    return Entry(
        mean=sample.mean if known else None,
        margin=sample.margin if known else None,
        std=sample.std,
        have=sum(cell[name] is not None for cell in cells),
        want=len(cells),
        best=mark == "best",
        close=mark == "close",
        scale=METRICS[name].scale,
        unit=METRICS[name].unit,
        stopped=len(_stops(cells)),
        pruned=len(_prunings(cells)),
        instead=", ".join(_endings(cells)) if first else "",
    )


def _endings(cells: Cells) -> Iterator[str]:
    """What to say of seeds that ended early, and how many they are where others did not."""
    stops, prunings = _stops(cells), _prunings(cells)
    if stops:
        yield f"worse, stopped at {max(stops):,}{_share(len(stops), len(cells))}"
    if prunings:
        yield f"pruned at {max(prunings):,g} kimg{_share(len(prunings), len(cells))}"


def _share(some: int, total: int) -> str:
    return f" ({some} of {total} seeds)" if some < total else ""


def _marks(samples: list[list[Sample]], names: list[str], paired: Mapping[str, Paired]) -> list[list[Mark]]:
    """The marks of every column of numbers; none where no value is better than another."""
    ranked = [i for i, name in enumerate(names) if METRICS[name].better != "neither"]
    tested = [Column(tuple(samples[i]), METRICS[names[i]].better == "lower", paired.get(names[i])) for i in ranked]
    found = dict(zip(ranked, marks(tested), strict=True))
    return [found.get(i, [""] * len(line)) for i, line in enumerate(samples)]


def _context(frame: pd.DataFrame, columns: Sequence[tuple[str, Entry]]) -> Iterator[Context]:
    for prefix, title in CONTEXT.items():
        line = []
        for name, entry in columns:
            found = valued(frame, [prefix + name])
            value = float(frame[found[0]].dropna().iloc[0]) if found else None
            line.append(Entry(value, decimals=entry.decimals, scale=entry.scale, unit=entry.unit))
        if any(entry.mean is not None for entry in line):
            yield Context(prefix.rstrip("_"), _real_title(frame, columns) if prefix == "real_" else title, line)


def _real_title(frame: pd.DataFrame, columns: Sequence[tuple[str, Entry]]) -> str:
    if all(METRICS[name].group == "memorisation" for name, _ in columns):
        return "held-out real images"
    counted = valued(frame, ["real_images"])
    return f"{int(frame['real_images'].dropna().iloc[0]):,} real train images" if counted else CONTEXT["real_"]


def _head(name: str, at: tuple[str, ...], one_split: bool) -> Head:
    return Head(name, at, " ".join([*at, METRICS[name].name if one_split else METRICS[name].title]))


def describe_scores(frame: pd.DataFrame) -> str:
    """What the numbers of comparable cells are: features, images, reference, data set."""
    first = frame.iloc[0]
    size = first["sampling.resolution"]
    at = "" if pd.isna(size) else f" at {int(size)}x{int(size)}"
    reference = first.get("reference")
    parts = [first["features"], f"{int(first['evaluation.images']):,} images drawn{at}", first["data.name"]]
    return "; ".join(parts if reference is None or pd.isna(reference) else [*parts[:2], reference, parts[2]])


def short_axes(axes: tuple[str, ...]) -> tuple[str, ...]:
    """Axes by their field's name alone where that is unambiguous."""
    fields = [axis.split(".")[-1] for axis in axes]
    return tuple(field if fields.count(field) == 1 else axis for axis, field in zip(axes, fields, strict=True))


def show_value(value: Any) -> str:
    """An axis value as a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "null"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _tell(name: str, value: Any) -> str:
    """An axis value that stands alone: text speaks for itself, anything else is told with its name."""
    return value if isinstance(value, str) else f"{name}={show_value(value)}"
