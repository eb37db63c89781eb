"""Makes tables of comparable results from a frame of cells: the numbers, their errors and which one is the best."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.entries import CHANGED_MARK, TableEntry, round_column
from reports.layout import Layout, TableSpec, columns_with_values, table_specs
from reports.metrics import METRICS
from reports.significance import Mark, PairedErrors, Sample, ScoreColumn, marks

COMPARABLE = (
    "features",
    "evaluation.images",
    "reference",
    "data",
    "sampling.resolution",
)  # numbers that differ in any of these never share a table
MAX_NAMED_CELLS = 6
BASELINES = {"noise_": "pure noise", "real_": "real train split"}  # prefixes of the columns with a metric's baselines
AxisValues = tuple[Any, ...]
CellRows = list[dict[str, Any]]  # rows of a frame, as dictionaries


@dataclass(frozen=True)
class ColumnHead:
    """The head of a column of numbers: a metric, at values of the axes that make columns."""

    metric: str
    axis_values: tuple[str, ...]
    metric_title: str

    @property
    def text(self) -> str:
        """The whole head in one line."""
        return " ".join([*self.axis_values, self.metric_title])


@dataclass(frozen=True)
class BaselineRow:
    """A row below a table to judge its numbers by: the scores of pure noise or of real images."""

    kind: str  # "noise" or "real"
    title: str
    entries: list[TableEntry]


@dataclass(frozen=True)
class ResultTable:
    """A table of comparable numbers.

    title: of the sweep. name: of the table; empty for the main one. label: what the scores are. row_heads: one for each
    axis that makes rows. rows: the axis values and the entries of each row. row_labels: the axis values of each row as
    one text that makes sense without the heads. footnotes: sentences on marked numbers, each with its mark.
    """

    title: str
    name: str
    label: str
    main: bool
    row_heads: tuple[str, ...]
    heads: tuple[ColumnHead, ...]
    rows: list[tuple[tuple[str, ...], list[TableEntry]]]
    row_labels: list[str]
    baselines: list[BaselineRow]
    footnotes: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """The titles of the sweep and the table."""
        return f"{self.title}: {self.name}" if self.name else self.title

    @property
    def number_heads(self) -> tuple[str, ...]:
        """The head of every column of numbers in one line."""
        return tuple(head.text for head in self.heads)

    @property
    def entries(self) -> list[TableEntry]:
        """All entries, row by row."""
        return [entry for _, line in self.rows for entry in line]

    @property
    def columns(self) -> list[list[TableEntry]]:
        """All entries, column by column."""
        return [[line[i] for _, line in self.rows] for i in range(len(self.heads))]

    @property
    def has_ties(self) -> tuple[bool, ...]:
        """For every column of numbers, whether any entry is marked as not significantly different from the best."""
        return tuple(any(entry.is_tied for entry in column) for column in self.columns)

    @property
    def complete(self) -> bool:
        """Whether no further work would fill in a number."""
        return all(e.num_seeds + e.num_stopped + e.num_pruned == e.expected_seeds for e in self.entries)


def result_tables(
    frame: pd.DataFrame, layout: Layout, paired: Mapping[str, PairedErrors] | None = None
) -> list[ResultTable]:
    """Make the tables of every group of comparable cells, so that incomparable numbers never share a table.

    A group has a main table, then one of fidelity and one of memorisation if it has such metrics; if the layout names
    metrics, one table of exactly those. paired: the covariance of the cells' errors, by metric.
    """
    keys = [name for name in COMPARABLE if name in frame.columns]
    groups = [group for _, group in frame.groupby(keys, sort=False, dropna=False)]
    return [
        _result_table(group, layout.title, spec, paired or {})
        for group in groups
        for spec in table_specs(group, layout)
    ]


def _result_table(frame: pd.DataFrame, title: str, spec: TableSpec, paired: Mapping[str, PairedErrors]) -> ResultTable:
    cells = _cells_by_position(frame, spec)
    row_keys, column_keys = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    positions = list(itertools.product(column_keys, spec.metrics))
    columns = [[cells.get((row, column), []) for row in row_keys] for column, _ in positions]
    metrics = [metric for _, metric in positions]
    entries = _entries(columns, metrics, paired)
    row_axes, column_axes = short_axes(spec.rows), short_axes(spec.columns)
    return ResultTable(
        title=title,
        name=spec.name,
        label=describe_scores(frame),
        main=spec.main,
        row_heads=row_axes or ("",),
        heads=tuple(_column_head(metric, column_axes, values, bool(spec.name)) for values, metric in positions),
        rows=[
            (tuple(map(show_value, key)) or ("all",), [column[i] for column in entries])
            for i, key in enumerate(row_keys)
        ],
        row_labels=[", ".join(map(label_value, row_axes, key)) or "all" for key in row_keys],
        baselines=list(_baselines(frame, [(m, column[0]) for m, column in zip(metrics, entries, strict=True)])),
        footnotes=tuple(_footnotes(frame)),
    )


def _footnotes(frame: pd.DataFrame) -> Iterator[str]:
    """Say of each change of code which cells were made before it."""
    if "code" not in frame.columns:
        return
    cells: dict[str, list[str]] = {}
    for cell, change in zip(frame["cell"], frame["code"], strict=True):
        if isinstance(change, str):
            cells.setdefault(change, []).append(str(cell))
    for change, names in cells.items():
        yield f"{CHANGED_MARK}: made by other code than today's: {change} ({cell_list(names, len(frame))})."


def cell_list(names: Sequence[str], total: int) -> str:
    """Return the names of some of `total` cells, the first of them if there are many."""
    if len(names) == total:
        return "all cells"
    listed = ", ".join(names[:MAX_NAMED_CELLS])
    more = f" and {len(names) - MAX_NAMED_CELLS} more" if len(names) > MAX_NAMED_CELLS else ""
    return f"{'cell' if len(names) == 1 else 'cells'} {listed}{more}"


def _cells_by_position(frame: pd.DataFrame, spec: TableSpec) -> dict[tuple[AxisValues, AxisValues], CellRows]:
    """The cells of every combination of row and column that exists, in order of appearance."""
    positions: dict[tuple[AxisValues, AxisValues], CellRows] = {}
    for record in frame.to_dict("records"):
        row = {str(name): None if pd.isna(value) else value for name, value in record.items()}
        row_key, column_key = (tuple(row[axis] for axis in axes) for axes in (spec.rows, spec.columns))
        positions.setdefault((row_key, column_key), []).append(row)
    return positions


def _sample(cells: CellRows, metric: str) -> Sample:
    """The scores of an entry's seeds; none if any ended early, because the mean of the others would be too good."""
    ended_early = _stopped_at(cells) or _pruned_at(cells)
    scored = [cell for cell in cells if cell[metric] is not None] if not ended_early else []
    errors = [cell.get(f"{metric}_se") for cell in scored]
    return Sample(
        tuple(int(cell["seed"]) for cell in scored),
        tuple(str(cell["cell"]) for cell in scored),
        tuple(float(cell[metric]) for cell in scored),
        tuple(math.nan if error is None else float(error) for error in errors),
    )


def _stopped_at(cells: CellRows) -> list[int]:
    """The numbers of images after which evaluations were stopped as clearly worse."""
    return [int(cell["stopped_at"]) for cell in cells if cell.get("stopped_at") is not None]


def _pruned_at(cells: CellRows) -> list[float]:
    """The kimg after which trainings were pruned."""
    return [float(cell["pruned_at"]) for cell in cells if cell.get("pruned_at") is not None]


def _entries(
    columns: list[list[CellRows]], metrics: list[str], paired: Mapping[str, PairedErrors]
) -> list[list[TableEntry]]:
    """The entries of every column of numbers."""
    samples = [[_sample(cells, metric) for cells in column] for column, metric in zip(columns, metrics, strict=True)]
    entries: list[list[TableEntry]] = []
    for cells, scores, found, metric in zip(columns, samples, _marks(samples, metrics, paired), metrics, strict=True):
        parts = zip(cells, scores, found, strict=True)
        entries.append(round_column([_entry(*each, metric, first=metric == metrics[0]) for each in parts]))
    return entries


def _entry(cells: CellRows, sample: Sample, mark: Mark, metric: str, first: bool) -> TableEntry:
    has_number = bool(sample.values)
    return TableEntry(
        mean=sample.mean if has_number else None,
        margin=sample.margin if has_number else None,
        std=sample.std,
        num_seeds=sum(cell[metric] is not None for cell in cells),
        expected_seeds=len(cells),
        mark=mark,
        scale=METRICS[metric].scale,
        unit=METRICS[metric].unit,
        num_stopped=len(_stopped_at(cells)),
        num_pruned=len(_pruned_at(cells)),
        num_changed=sum(cell.get("code") is not None for cell in cells),
        replacement=", ".join(_early_ends(cells)) if first else "",
    )


def _early_ends(cells: CellRows) -> Iterator[str]:
    """What to say of seeds that ended early, and how many they are if others did not."""
    stopped, pruned = _stopped_at(cells), _pruned_at(cells)
    if stopped:
        yield f"worse, stopped at {max(stopped):,}{_share(len(stopped), len(cells))}"
    if pruned:
        yield f"pruned at {max(pruned):,g} kimg{_share(len(pruned), len(cells))}"


def _share(some: int, total: int) -> str:
    return f" ({some} of {total} seeds)" if some < total else ""


def _marks(samples: list[list[Sample]], metrics: list[str], paired: Mapping[str, PairedErrors]) -> list[list[Mark]]:
    """The marks of every column of numbers; none for metrics without a better direction."""
    ranked = [i for i, metric in enumerate(metrics) if METRICS[metric].better != "neither"]
    tested = [
        ScoreColumn(tuple(samples[i]), METRICS[metrics[i]].better == "lower", paired.get(metrics[i])) for i in ranked
    ]
    found = dict(zip(ranked, marks(tested), strict=True))
    return [found.get(i, [""] * len(column)) for i, column in enumerate(samples)]


def _baselines(frame: pd.DataFrame, columns: Sequence[tuple[str, TableEntry]]) -> Iterator[BaselineRow]:
    for prefix, title in BASELINES.items():
        entries: list[TableEntry] = []
        for metric, entry in columns:
            present = columns_with_values(frame, [prefix + metric])
            value = float(frame[present[0]].dropna().iloc[0]) if present else None
            entries.append(TableEntry(value, decimals=entry.decimals, scale=entry.scale, unit=entry.unit))
        if any(entry.mean is not None for entry in entries):
            metrics = [metric for metric, _ in columns]
            yield BaselineRow(prefix.rstrip("_"), _real_title(frame, metrics) if prefix == "real_" else title, entries)


def _real_title(frame: pd.DataFrame, metrics: Sequence[str]) -> str:
    if all(METRICS[metric].group == "memorisation" for metric in metrics):
        return "held-out real images"
    counted = columns_with_values(frame, ["real_images"])
    return f"{int(frame['real_images'].dropna().iloc[0]):,} real train images" if counted else BASELINES["real_"]


def _column_head(metric: str, axes: tuple[str, ...], values: AxisValues, one_split: bool) -> ColumnHead:
    title = METRICS[metric].name if one_split else METRICS[metric].title
    return ColumnHead(metric, tuple(map(label_value, axes, values)), title)


def describe_scores(frame: pd.DataFrame) -> str:
    """Describe the scores of comparable cells: features, number of images, reference and data set."""
    first = frame.iloc[0]
    size = first["sampling.resolution"]
    resolution = "" if pd.isna(size) else f" at {int(size)}x{int(size)}"
    reference = first.get("reference")
    parts = [_describe_features(first), f"{int(first['evaluation.images']):,} images drawn{resolution}"]
    if reference is not None and not pd.isna(reference):
        parts.append(str(reference))
    return "; ".join([*parts, str(first["data.name"])])


def _describe_features(row: pd.Series) -> str:
    """The features of a cell, with the rule by which images were resized; the frame leaves out the default one."""
    features, rule = str(row["features"]), row.get("evaluation.resize")
    return f"{features}, {rule}'s resize" if features.startswith("Inception") and rule == "pytorch-fid" else features


def short_axes(axes: tuple[str, ...]) -> tuple[str, ...]:
    """Shorten axes to the name of their field if that is unambiguous."""
    fields = [axis.split(".")[-1] for axis in axes]
    return tuple(field if fields.count(field) == 1 else axis for axis, field in zip(axes, fields, strict=True))


def show_value(value: Any) -> str:
    """Return an axis value as a person would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "null"
    return f"{value:g}" if isinstance(value, float) else str(value)


def label_value(axis: str, value: Any) -> str:
    """Return an axis value as a label: text by itself, anything else with the name of its axis."""
    return value if isinstance(value, str) else f"{axis}={show_value(value)}"
