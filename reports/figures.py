"""Which charts a report has, and their points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pandas as pd

from reports.averages import margin_of, sum_of, with_common_seeds
from reports.charts import MAX_COLOURED, MAX_SERIES, Axis, Chart, ChartPoint, Palette, Series, finite
from reports.effects import best_metric
from reports.entries import TableEntry
from reports.labels import describe_scores
from reports.layout import columns_with_values
from reports.loss_charts import loss_charts
from reports.metrics import METRICS, PREFERRED_SPLITS, metric_info, shown, title_of
from reports.report import Report
from reports.rows import CellRow, cell_rows
from reports.scores import distinct_results, sample_of
from reports.significance import LEAST_SEEDS, PairedErrors, Sample
from reports.table import ResultTable
from reports.tables import FIRST_METRICS, comparable_groups
from reports.values import in_words, joined_label, label_value, short_axes, show_value

ItemT = TypeVar("ItemT")
ValueT = TypeVar("ValueT", float, float | None)
MAX_DOTS = 60
FARTHEST_BASELINE = 2.0  # in spans of all dots; a line that is farther away would squeeze the dots together
SAMPLER, GUIDANCE, STEPS = "sampling.sampler", "sampling.guidance", "sampling.steps"
BASELINE_KIND = "real"
NO_BARS = "No intervals: these errors are not known, or from two seeds only."
TRUNCATION = "truncation_rms"  # which has a chart of its own


@dataclass(frozen=True)
class ScoreAxis:
    """A column of the frame that scores are drawn against.

    colour: the axis that its lines show, if there is one. apart: an axis whose values make lines of their own where
    they change the column, too.
    """

    key: str
    column: str
    title: str
    is_log: bool = False
    colour: str = ""
    apart: str = ""


SCORE_AXES = (
    ScoreAxis("guidance", GUIDANCE, "guidance"),
    ScoreAxis("nfe", "nfe", "network evaluations per image", True, SAMPLER, GUIDANCE),
    ScoreAxis("parameters", "parameters", "parameters", True),
    ScoreAxis("kimg", "training.kimg", "images seen in training (thousands)", True),
    ScoreAxis("gpu-hours", "gpu_hours", "GPU-hours of training", True),
)


def all_charts(report: Report) -> list[Chart]:
    """Return every chart that a report's numbers allow, in the order of a page."""
    palette = Palette()
    rows = cell_rows(report.frame)  # as charts see them: no NaN, of which each would take a colour of its own
    for axis in report.layout.axes:  # all values in the table's order, so that they have their colours everywhere
        for row in rows:
            palette.colour(axis, row[axis])
    main = [table for table in report.tables if table.main]
    found: list[Chart | None] = [*_score_charts(main)]
    groups = comparable_groups(report.frame, report.layout.axes)
    for number, group in enumerate(groups, 1):
        own = (f"-{number}", f"Scores: {describe_scores(group)}.") if len(groups) > 1 else ("", "")
        maker = ChartMaker(group, report.layout.axes, report.paired, palette, *own)
        found += maker.charts()
    return [chart for chart in (*found, *loss_charts(report)) if chart is not None]


# scores with intervals ----------------------------------------------------------------------------


def _score_charts(tables: Sequence[ResultTable]) -> Iterator[Chart]:
    """Yield the charts of the scores of tables, but none of what an earlier one shows: another layout of its cells."""
    shown: list[set[tuple[float, float | None]]] = []
    for table in tables:
        chart = score_chart(table, len(shown) + 1)
        if chart is not None:
            scores = {(point.x, point.x_margin) for point in chart.series[0].points}
            if not any(scores <= others for others in shown):
                shown.append(scores)
                yield chart


def score_chart(table: ResultTable, number: int) -> Chart | None:
    """Draw a score of a table with its 95% intervals, in the table's order, and that of real images as a line.

    It is the FID of one split (test, else val, else train), or else KID, or else the table's first score with a better
    direction. None if there are fewer than two intervals or too many dots to read.
    """
    metric = best_metric([head.metric for head in table.heads if head.kind == "score"], FIRST_METRICS)
    if metric is None:
        return None
    dots = [(name, entry) for name, entry in _named_entries(table, metric) if finite([entry.mean])]
    if sum(bool(entry.margin) for _, entry in dots) < 2 or len(dots) > MAX_DOTS:
        return None
    points = [
        ChartPoint(
            _in_unit(metric, entry.mean or 0.0),
            i,
            f"{name}: {entry.text}",
            x_margin=_in_unit(metric, entry.margin),
            is_hollow=not entry.mark,
        )
        for i, (name, entry) in enumerate(dots)
    ]
    line, remark = _baseline(table, metric, points)
    is_marked = any(not point.is_hollow for point in points)
    filled = " Filled: the best of its column, or not significantly different from the best." if is_marked else ""
    y = Axis("", categories=tuple(name for name, _ in dots))
    caption = f"{_capitalised(title_of(metric))} with 95% intervals ({table.label}).{filled}{remark}"
    title = f"{_capitalised(title_of(metric))} of every cell"
    key = f"scores-{number}" if number > 1 else "scores"
    return Chart(key, title, caption, Axis(_unit_title(metric)), y, (Series("", 0, tuple(points)),), line)


def _named_entries(table: ResultTable, metric: str) -> list[tuple[str, TableEntry]]:
    """The entries of a metric, each named after its row and column."""
    columns = [(i, h.axis_values) for i, h in enumerate(table.heads) if h.metric == metric and h.kind == "score"]
    rows = [(label, entries) for label, (_, entries) in zip(table.row_labels, table.rows, strict=True)]
    return [(", ".join((label, *values)), entries[i]) for label, entries in rows for i, values in columns]


def _baseline(table: ResultTable, metric: str, points: Sequence[ChartPoint]) -> tuple[tuple[float, str] | None, str]:
    """The score of real images as a line, or a remark if it is far below all others."""
    column = next(i for i, head in enumerate(table.heads) if head.metric == metric)
    row = next((row for row in table.baselines if row.kind == BASELINE_KIND), None)
    entry = row.entries[column] if row is not None else None
    if row is None or entry is None or entry.mean is None:
        return None, ""
    ends = [end for p in points for end in (p.x - (p.x_margin or 0), p.x + (p.x_margin or 0))]
    low, high, place = min(ends), max(ends), _in_unit(metric, entry.mean)
    if max(low - place, place - high) < FARTHEST_BASELINE * (high - low):
        return (place, row.title), f" Dashed: {row.title}, {entry.text}."
    return None, f" {row.title} score {entry.text}, outside the figure to the {'left' if place < low else 'right'}."


# scores against something -------------------------------------------------------------------------


class ChartMaker:
    """Makes the charts of one group of comparable cells.

    suffix, scores: what tells its files and its captions from those of other groups.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        axes: tuple[str, ...],
        paired: dict[str, PairedErrors],
        palette: Palette,
        suffix: str,
        scores: str,
    ) -> None:
        self.rows, self.paired, self.palette = cell_rows(frame), paired, palette
        self.suffix, self.scores = suffix, scores
        self.axes = [axis for axis in axes if len({str(row[axis]) for row in self.rows}) > 1]
        self.names = dict(zip(axes, short_axes(axes), strict=True))
        self.metrics = set(columns_with_values(frame, list(map(str, frame.columns))))

    def charts(self) -> Iterator[Chart | None]:
        """Yield all charts of the group, None for those that it has no numbers for."""
        others = [name for name in METRICS if name in self.metrics and name != TRUNCATION]
        metric = best_metric(others, FIRST_METRICS)
        if metric is not None:
            for axis in SCORE_AXES:
                yield self.against(axis, metric)
        split = next((s for s in PREFERRED_SPLITS if f"precision_{s}" in self.metrics), "")
        names = f"recall_{split}", f"precision_{split}"
        yield self.scatter("precision-recall", *names, f"Precision against recall, {split} split")
        yield self.scatter("train-test", "fid_train", "fid_test", "Distance to the train and to the test split")
        yield self.against(replace(SCORE_AXES[1], key="truncation"), TRUNCATION, True)

    def against(self, axis: ScoreAxis, metric: str, is_log: bool = False) -> Chart | None:
        """Draw a metric against a column of the frame, averaged over the axes that are not shown."""
        rows = [row for row in self.rows if finite([row.get(axis.column)]) and finite([row.get(metric)])]
        rows = [row for row in rows if not is_log or row[metric] > 0]
        rows = [row for row in rows if not axis.is_log or row[axis.column] > 0]
        if len({row[axis.column] for row in rows}) < 2:
            return None
        colour = self._colour_axis(axis.colour, axis.column)
        kinds = self._kinds(rows, axis) if axis.apart in self.axes and axis.apart != colour else {}
        first_kind = next(iter(kinds.values()), "")

        def line_of(row: CellRow) -> tuple[Any, str]:
            return row[colour] if colour else None, kinds.get(show_value(row.get(axis.apart)), "")

        lines = [
            _set_apart(line) if kind != first_kind else line
            for (value, kind), group in _grouped(rows, line_of)
            for line in [self._line(value, kind, colour, group, axis, metric)]
        ]
        if len(lines) > MAX_SERIES:
            return None
        front = _pareto(lines, metric) if axis.key == "nfe" else None
        series = [*lines, *([front] if front is not None else [])]
        hidden = self._hidden([group for _, group in _grouped(rows, lambda row: (line_of(row), row[axis.column]))])
        bars = _bars([p for line in lines for p in line.points]) or NO_BARS
        caption = " ".join(
            filter(None, (self.scores, bars, self._averaged(hidden), _pareto_note(metric) if front is not None else ""))
        )
        title = f"{_capitalised(title_of(metric))} against {axis.title}"
        return Chart(
            axis.key + self.suffix,
            title,
            caption,
            Axis(axis.title, axis.is_log),
            Axis(_unit_title(metric), is_log),
            tuple(series),
            None,
            self._name(colour),
        )

    def _kinds(self, rows: Sequence[CellRow], axis: ScoreAxis) -> dict[str, str]:
        """A name for every value of the axis that is kept apart, the same where values come to the same column.

        Guidance doubles the network evaluations: a line through both kinds would show its effect as that of steps.
        """
        others = [each for each in self.axes if each != axis.apart]
        places: dict[str, set[tuple[Any, ...]]] = {}
        for row in rows:
            place = (*(str(row[each]) for each in others), row[axis.column])
            places.setdefault(show_value(row[axis.apart]), set()).add(place)
        kinds = _grouped(places, lambda value: frozenset(places[value]))
        names = {value: f"{self.names[axis.apart]}={', '.join(values)}" for _, values in kinds for value in values}
        return names if len(kinds) > 1 else {}

    def _line(self, value: Any, kind: str, colour: str, rows: list[CellRow], axis: ScoreAxis, metric: str) -> Series:
        name = ", ".join(filter(None, (self._label(colour, value), kind)))
        places = sorted(_grouped(rows, lambda row: row[axis.column]), key=lambda place: place[0])
        points = tuple(self._point(name or axis.title, x, group, metric) for x, group in places)
        return Series(name, self.palette.colour(colour, value) if colour else 0, points, is_line=True)

    def _point(self, name: str, x: float, rows: list[CellRow], metric: str) -> ChartPoint:
        y, margin = self._average(rows, metric)
        text = f"{name} at {show_value(x)}: {shown(metric, y, margin)}"
        return ChartPoint(float(x), _in_unit(metric, y), text, y_margin=_in_unit(metric, margin))

    def _average(self, rows: list[CellRow], metric: str) -> tuple[float, float | None]:
        """The mean over all axes of the rows, each with its seeds, and half of its 95% interval as tables have it."""
        samples: list[Sample] = []
        for _, group in _grouped(rows, lambda row: tuple(row[axis] for axis in self.axes)):
            sample = sample_of(distinct_results(group), metric)
            samples += [sample] if sample.values else []
        terms = [(1 / len(samples), sample) for sample in with_common_seeds(samples)]
        is_shown = len(terms[0][1].seeds) == 1 or len(terms[0][1].seeds) >= LEAST_SEEDS
        return sum_of(terms), margin_of(terms, self.paired.get(metric)) if is_shown else None

    def scatter(self, key: str, x: str, y: str, title: str) -> Chart | None:
        """Draw two metrics of every cell against each other, in the colours of one axis."""
        rows = [row for row in self.rows if finite([row.get(x)]) and finite([row.get(y)])]
        places = [group for _, group in _grouped(rows, lambda row: tuple(row[axis] for axis in self.axes))]
        if len(places) < 2:
            return None
        colour = self._colour_axis("", "")
        series = [
            Series(self._label(colour, value), self.palette.colour(colour, value) if colour else 0, tuple(points))
            for value, groups in _grouped(places, lambda cells: cells[0][colour] if colour else None)
            for points in [[self._pair(cells, x, y) for cells in groups]]
        ]
        hidden = [axis for axis in self.axes if axis != colour]
        bars = _bars([p for s in series for p in s.points])
        point = f"Every point is {'the mean of a cell over its seeds' if len(places) < len(rows) else 'a cell'}."
        caption = " ".join(filter(None, (self.scores, point, bars, self._not_shown(hidden))))
        axes = Axis(_unit_title(x)), Axis(_unit_title(y))
        return Chart(key + self.suffix, title, caption, *axes, tuple(series), None, self._name(colour))

    def _pair(self, cells: list[CellRow], x: str, y: str) -> ChartPoint:
        (x_value, x_margin), (y_value, y_margin) = self._average(cells, x), self._average(cells, y)
        name = joined_label([self.names[axis] for axis in self.axes], [cells[0][axis] for axis in self.axes])
        text = f"{name}: {title_of(x)} {shown(x, x_value, x_margin)}, {title_of(y)} {shown(y, y_value, y_margin)}"
        places = _in_unit(x, x_value), _in_unit(y, y_value)
        return ChartPoint(*places, text, _in_unit(x, x_margin), _in_unit(y, y_margin))

    # axes and captions ----------------------------------------------------------------------------

    def _colour_axis(self, preferred: str, column: str) -> str:
        """The axis that colours show: the preferred one, else the last one with few values; empty if there is none."""
        taken = {column, STEPS} if column == "nfe" else {column}  # steps make the evaluations
        few = [axis for axis in self.axes if axis not in taken and self._num_values(axis) <= MAX_COLOURED]
        return preferred if preferred in self.axes and preferred != column else next(iter(reversed(few)), "")

    def _num_values(self, axis: str) -> int:
        return len({str(row[axis]) for row in self.rows})

    def _hidden(self, groups: Sequence[list[CellRow]]) -> list[str]:
        """The axes that points are means over. groups: the rows of every point."""
        return [axis for axis in self.axes if any(len({str(row[axis]) for row in group}) > 1 for group in groups)]

    def _averaged(self, hidden: list[str]) -> str:
        return f"Every point is a mean over {in_words([self.names[axis] for axis in hidden])}." if hidden else ""

    def _not_shown(self, hidden: list[str]) -> str:
        return f"Not shown: {in_words([self.names[axis] for axis in hidden])}." if hidden else ""

    def _name(self, axis: str) -> str:
        return self.names.get(axis, "")

    def _label(self, axis: str, value: Any) -> str:
        return label_value(self.names[axis], value) if axis else ""


def _bars(points: Sequence[ChartPoint]) -> str:
    return "Bars: 95% intervals." if any(p.x_margin or p.y_margin for p in points) else ""


def _set_apart(line: Series) -> Series:
    """A line that differs from another of its colour: dashed, with hollow points."""
    return replace(line, is_dashed=True, points=tuple(replace(point, is_hollow=True) for point in line.points))


def _pareto(lines: Sequence[Series], metric: str) -> Series | None:
    """The points that no other point beats in both directions, joined; None if there is only one."""
    sign = -1 if metric_info(metric).better == "higher" else 1
    points = sorted((p for line in lines for p in line.points), key=lambda p: (p.x, sign * p.y))
    front: list[ChartPoint] = []
    for point in points:
        if not front or sign * point.y < sign * front[-1].y:
            front.append(replace(point, x_margin=None, y_margin=None))
    line = Series("Pareto front", 6, tuple(front), is_line=True, is_dashed=True, has_markers=False)
    return line if len(front) > 1 else None


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _pareto_note(metric: str) -> str:
    beyond = "higher" if metric_info(metric).better == "higher" else "lower"
    return f"Pareto front: no other point is {beyond} at as few evaluations."


def _unit_title(metric: str) -> str:
    unit = "grey levels" if metric == TRUNCATION else metric_info(metric).unit.strip()
    return f"{title_of(metric)} ({unit})" if unit else title_of(metric)


def _in_unit(metric: str, value: ValueT) -> ValueT:
    """Return a value of a metric, or half of its interval, in the unit that the metric's title says, as tables do."""
    return value if value is None else value * metric_info(metric).scale


def _grouped(items: Iterable[ItemT], key: Callable[[ItemT], Any]) -> list[tuple[Any, list[ItemT]]]:
    """Items by their key, in the order of appearance."""
    groups: dict[Any, list[ItemT]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.items())
