"""Makes tables of comparable results from a frame of cells: the numbers, their errors and which one is the best."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from reports.changed_code import changed_lines
from reports.comparable import COMPARABLE, separating_columns
from reports.costs import COSTS, cost_entries
from reports.deltas import Baseline, Position, difference_entries
from reports.detectable import Detectable, detectable_differences
from reports.effects import Effect, best_metric, main_effects
from reports.entries import TableEntry, coarsest, round_column, with_seed_counts
from reports.equal import EqualView, equal_view
from reports.heads import ColumnHead
from reports.labels import LOSSES, data_title, describe_scores, with_data_titles
from reports.layout import Layout, TableSpec, columns_with_values, table_specs
from reports.metrics import METRICS, PREFERRED_SPLITS
from reports.references import Footnotes, published_entries, published_study
from reports.row_names import baseline_in_words, baseline_of, has_differences, row_heads, row_labels, row_names
from reports.rows import CellRow, cell_rows
from reports.scores import States, distinct_results, entry_of, sample_of
from reports.significance import Mark, PairedErrors, Sample, ScoreColumn, marks
from reports.table import BaselineRow, ResultTable
from reports.values import label_value, short_axes, show_value

BASELINES = {"noise_": "pure noise", "real_": "real train split"}  # prefixes of the columns with a metric's baselines
FIRST_METRICS = tuple(f"{name}_{split}" for name in ("fid", "kid") for split in PREFERRED_SPLITS)  # to speak of first
NO_CURVES = pd.DataFrame(columns=["training", "kimg", "loss", "val_loss"])
Cells = dict[Position, list[CellRow]]  # the cells of every entry
Column = tuple[ColumnHead, list[TableEntry]]


def result_tables(
    frame: pd.DataFrame,
    layouts: Layout | Sequence[Layout],
    paired: Mapping[str, PairedErrors] | None = None,
    states: States | None = None,
    allowed: tuple[str, ...] = (),
    curves: pd.DataFrame = NO_CURVES,
) -> list[ResultTable]:
    """Make the tables of every group of comparable cells, so that incomparable numbers never share a table.

    A layout makes a main table of each group, then one of fidelity and one of memorisation if the group has such
    metrics; if the layout names metrics, one table of exactly those; if it asks for equal compute, of the cells or the
    points of `curves` that cost equally much. paired: the covariance of the cells' errors, by metric. states: what
    happens to cells without a score, by name. allowed: fields in which cells of one table may differ all the same.
    """
    asked = (layouts,) if isinstance(layouts, Layout) else layouts
    groups = comparable_groups(frame, asked[0].axes, allowed)
    views = [(layout.title, _view(group, layout, curves)) for group in groups for layout in asked]
    specs = [(view.frame, title, spec) for title, view in views for spec in view.specs]
    tables = [
        TableMaker(group, spec, paired or {}, states or {}, allowed).table(title, number)
        for number, (group, title, spec) in enumerate(specs, 1)
    ]
    repeated = [any(table.effects == other.effects for other in tables[:i]) for i, table in enumerate(tables)]
    return [  # several layouts of the same cells have the same effects
        replace(table, effects=(), detectable=()) if is_repeated else table
        for table, is_repeated in zip(tables, repeated, strict=True)
    ]


def _view(group: pd.DataFrame, layout: Layout, curves: pd.DataFrame) -> EqualView:
    """The cells of a layout's tables, and which tables these are."""
    if layout.equal:
        return equal_view(group, layout, curves)
    return EqualView(group, table_specs(group, layout))


def comparable_groups(frame: pd.DataFrame, axes: tuple[str, ...], allowed: tuple[str, ...] = ()) -> list[pd.DataFrame]:
    """Return the cells that may share a table, group by group. axes: of the table. allowed: fields that may differ."""
    keys = separating_columns(list(map(str, frame.columns)), axes, allowed)
    titled = with_data_titles(frame) if "data" in keys else frame
    return [group for _, group in titled.groupby(keys, sort=False, dropna=False)] if keys else [frame]


class TableMaker:
    """Makes one table of comparable cells."""

    def __init__(
        self,
        frame: pd.DataFrame,
        spec: TableSpec,
        paired: Mapping[str, PairedErrors],
        states: States,
        allowed: tuple[str, ...] = (),
    ) -> None:
        self.frame, self.spec, self.paired, self.states = frame, spec, paired, states
        self.study = published_study(spec.reference) if spec.reference else None
        self.footnotes = Footnotes()
        self.differing = _differing(frame, spec.axes, allowed)
        self.is_comparable = spec.is_comparable and not self.differing
        self.cells = _cells_by_position(frame, spec)
        self.rows, self.columns = (list(dict.fromkeys(key[i] for key in self.cells)) for i in (0, 1))
        self.baseline = baseline_of(spec, self.rows)
        self.deltas = Baseline(spec.rows, spec.columns, self.baseline) if self._has_deltas() else None
        self.samples: dict[str, dict[Position, Sample]] = {
            metric: {position: sample_of(cells, metric) for position, cells in self.cells.items()}
            for metric in spec.metrics
        }

    def table(self, title: str, number: int) -> ResultTable:
        """Return the table. title: of the sweep. number: of the table."""
        spec, scores = self.spec, self._score_columns()
        shown = [*self._cost_columns(), *self._with_companions(scores)]
        columns = with_seed_counts([column for _, column in shown])
        heads = row_heads(spec)
        effects, detectable = self._effects() if spec.main else ((), ())
        return ResultTable(
            title=title,
            name=spec.name,
            label=self._label(),
            main=spec.main,
            row_heads=heads,
            heads=tuple(head for head, _ in shown),
            rows=[
                (row_names(spec, key, self.baseline), [column[i] for column in columns])
                for i, key in enumerate(self.rows)
            ],
            row_labels=row_labels(spec, self.rows, self.baseline),
            baselines=list(_baselines(self.frame, shown)),
            caption=spec.caption,
            baseline=baseline_in_words(spec, self.baseline) if self.deltas is not None else "",
            effects=effects,
            detectable=detectable,
            footnotes=(*changed_lines(self.frame), *self.footnotes.lines(), *self._source(), *self._own_notes()),
            number=number,
            row_axes=tuple(dict(zip(spec.rows, map(show_value, key), strict=True)) for key in self.rows),
            plain_heads=heads if spec.changes else self._plain_heads(heads),
            is_comparable=self.is_comparable,
        )

    def _plain_heads(self, heads: Sequence[str]) -> tuple[str, ...]:
        """The heads of axes whose values are all text."""
        values = zip(*self.rows, strict=True)
        return tuple(
            head for head, own in zip(heads, values, strict=False) if all(isinstance(v, str | None) for v in own)
        )

    def _label(self) -> str:
        if self.spec.note and not self.spec.metrics:
            return LOSSES.format(data_title(self.frame.iloc[0]))
        return describe_scores(self.frame)

    def _score_columns(self) -> list[tuple[tuple[object, ...], Column]]:
        """The columns of scores, each with its values of the axes that make columns."""
        places = list(itertools.product(self.columns, self.spec.metrics))
        samples = [[self._sample(row, column, metric) for row in self.rows] for column, metric in places]
        metrics = [metric for _, metric in places]
        none: list[list[Mark]] = [[""] * len(column) for column in samples]  # no winner among what cannot be compared
        found = _marks(samples, metrics, self.paired) if self.is_comparable else none
        made: list[tuple[tuple[object, ...], Column]] = []
        for (column, metric), scores, marks_of in zip(places, samples, found, strict=True):
            is_first = metric == self.spec.metrics[0]
            parts = zip(self.rows, scores, marks_of, strict=True)
            entries = [
                entry_of(self._cells(row, column), sample, mark, metric, self.states, is_first=is_first)
                for row, sample, mark in parts
            ]
            made.append((column, (self._head(metric, column), round_column(entries))))
        return made

    def _sample(self, row: tuple[object, ...], column: tuple[object, ...], metric: str) -> Sample:
        return self.samples[metric].get((row, column), Sample())

    def _head(self, metric: str, column: tuple[object, ...]) -> ColumnHead:
        info = METRICS[metric]
        title = info.name if info.group == "fidelity" and not self.spec.main else info.title  # its table names it
        return ColumnHead(metric, tuple(map(label_value, short_axes(self.spec.columns), column)), title)

    # differences and published numbers ------------------------------------------------------------

    def _with_companions(self, scores: Sequence[tuple[tuple[object, ...], Column]]) -> Iterator[Column]:
        """Each column of scores, followed by its differences to the baseline and by published numbers, if any."""
        for column, (head, entries) in scores:
            yield head, entries
            if self.deltas is not None:
                metric, positions = head.metric, [(row, column) for row in self.rows]
                own = self.samples[metric], metric, self.deltas, self.paired.get(metric)
                title = f"Δ {head.metric_title}"
                yield ColumnHead(metric, head.axis_values, title, "difference"), difference_entries(positions, *own)
            published = self._published(head.metric, column)
            if any(entry.mean is not None for entry in published):
                yield (
                    ColumnHead(head.metric, head.axis_values, f"{head.metric_title}, published", "published"),
                    published,
                )

    def _has_deltas(self) -> bool:
        """Whether any two cells can be compared, as none can with a baseline that is in another table."""
        baseline = Baseline(self.spec.rows, self.spec.columns, self.baseline)
        others = (other for at in self.cells if (other := baseline.of(at)) != at)
        return has_differences(self.spec) and (self.spec.changes or any(other in self.cells for other in others))

    def _published(self, metric: str, column: tuple[object, ...]) -> list[TableEntry]:
        if self.study is None:
            return []
        return published_entries(self.study, [self._cells(row, column) for row in self.rows], metric, self.footnotes)

    def _source(self) -> Iterator[str]:
        """Where published numbers come from, or that there are none for these cells."""
        if self.study is None:
            return
        matches = any(self.study.entry_for(cell) for cells in self.cells.values() for cell in cells)
        if matches:
            yield f"Published: {self.study.source}. {' '.join(self.study.notes)}"
        else:
            yield f"{self.study.name} has no numbers for the cells of this table."

    def _own_notes(self) -> Iterator[str]:
        """What the table shows at equal compute, and what differs between cells although they are in one table."""
        if self.spec.note:
            yield self.spec.note
        if self.spec.metrics and self.deltas is None and has_differences(self.spec):
            wanted = baseline_in_words(self.spec, self.baseline)
            yield f"There are no differences to {wanted}, as no two cells of this table differ in that alone."
        if self.differing:
            yield (
                f"These numbers cannot strictly be compared: the cells differ in {'; '.join(self.differing)}. They "
                "share a table because of --allow, and none is marked as the best."
            )

    def _effects(self) -> tuple[tuple[Effect, ...], tuple[Detectable, ...]]:
        metric = best_metric(self.spec.metrics, FIRST_METRICS)
        if metric is None:
            return (), ()
        samples = {(*row, *column): sample for (row, column), sample in self.samples[metric].items()}
        asked = samples, self.spec.axes, short_axes(self.spec.axes), metric, self.baseline
        return tuple(main_effects(*asked, self.paired.get(metric))), tuple(detectable_differences(*asked))

    # costs ----------------------------------------------------------------------------------------

    def _cost_columns(self) -> Iterator[Column]:
        """The columns of costs; one is enough for all values of the axes that make columns, if it is equal in them."""
        for cost in (name for name in self.spec.costs if COSTS[name].column in self.frame.columns):
            info = COSTS[cost]
            columns = [cost_entries([self._cells(row, key) for row in self.rows], cost) for key in self.columns]
            if all(_same_numbers(columns[0], other) for other in columns):
                rows = [[cell for key in self.columns for cell in self._cells(row, key)] for row in self.rows]
                yield ColumnHead(cost, (), info.title, "cost"), cost_entries(rows, cost)
                continue
            for key, entries in zip(self.columns, columns, strict=True):
                values = tuple(map(label_value, short_axes(self.spec.columns), key))
                yield ColumnHead(cost, values, info.title, "cost"), entries

    def _cells(self, row: tuple[object, ...], column: tuple[object, ...]) -> list[CellRow]:
        return self.cells.get((row, column), [])


def _differing(frame: pd.DataFrame, axes: tuple[str, ...], allowed: tuple[str, ...]) -> list[str]:
    """The fields that would separate the cells, with their values."""
    found: list[str] = []
    for name in separating_columns(list(map(str, frame.columns)), axes):
        values = list(dict.fromkeys(map(show_value, frame[name].tolist())))
        if len(values) > 1:
            fields = [field for field in allowed if COMPARABLE[field] == name]
            found.append(f"{' and '.join(fields)} ({', '.join(values)})")
    return found


def _same_numbers(a: Sequence[TableEntry], b: Sequence[TableEntry]) -> bool:
    """Whether two columns agree wherever both have a number."""
    return all(x.mean == y.mean or x.mean is None or y.mean is None for x, y in zip(a, b, strict=True))


def _cells_by_position(frame: pd.DataFrame, spec: TableSpec) -> Cells:
    """The cells of every combination of row and column that exists, in order of appearance."""
    positions: Cells = {}
    for row in cell_rows(frame):
        row_key, column_key = (tuple(row[axis] for axis in axes) for axes in (spec.rows, spec.columns))
        positions.setdefault((row_key, column_key), []).append(row)
    return {position: distinct_results(cells) for position, cells in positions.items()}


def _marks(samples: list[list[Sample]], metrics: list[str], paired: Mapping[str, PairedErrors]) -> list[list[Mark]]:
    """The marks of every column of numbers; none for metrics without a better direction."""
    ranked = [i for i, metric in enumerate(metrics) if METRICS[metric].better != "neither"]
    tested = [
        ScoreColumn(tuple(samples[i]), METRICS[metrics[i]].better == "lower", paired.get(metrics[i])) for i in ranked
    ]
    found = dict(zip(ranked, marks(tested), strict=True))
    return [found.get(i, [""] * len(column)) for i, column in enumerate(samples)]


def _baselines(frame: pd.DataFrame, columns: Sequence[Column]) -> Iterator[BaselineRow]:
    for prefix, title in BASELINES.items():
        entries: list[TableEntry] = []
        for head, column in columns:
            present = columns_with_values(frame, [prefix + head.metric]) if head.kind == "score" else ()
            value = float(frame[present[0]].dropna().iloc[0]) if present else None
            shown = coarsest(_with_numbers(head, column, columns))
            entries.append(TableEntry(value, decimals=shown.decimals, scale=shown.scale, unit=shown.unit))
        if any(entry.mean is not None for entry in entries):
            metrics = [head.metric for head, _ in columns if head.kind == "score"]
            yield BaselineRow(prefix.rstrip("_"), _real_title(frame, metrics) if prefix == "real_" else title, entries)


def _with_numbers(head: ColumnHead, column: Sequence[TableEntry], columns: Sequence[Column]) -> Sequence[TableEntry]:
    """Return a column, or if it has no number yet, another with the same score that has some."""
    alike = [each for other, each in columns if (other.metric, other.kind) == (head.metric, head.kind)]
    return next((each for each in (column, *alike) if any(entry.mean is not None for entry in each)), column)


def _real_title(frame: pd.DataFrame, metrics: Sequence[str]) -> str:
    if all(METRICS[metric].group == "memorisation" for metric in metrics):
        return "held-out real images"
    counted = columns_with_values(frame, ["real_images"])
    return f"{int(frame['real_images'].dropna().iloc[0]):,} real train images" if counted else BASELINES["real_"]
