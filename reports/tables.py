"""A frame of results -> comparison tables, and tables -> Markdown, LaTeX and rich."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.table import Table as RichTable
from rich.text import Text

NOTHING = "—"
COMPARABLE = (
    "features",
    "evaluation.images",
    "data",
    "sampling.resolution",
)  # numbers that differ in any of these never share a table
CONTEXT = {"noise_": "pure noise", "real_": "real train split"}  # prefixes of columns that say how to read a metric


@dataclass(frozen=True)
class Metric:
    """How a metric is shown and which way is better."""

    title: str
    lower_is_better: bool = True
    percent: bool = False


METRICS = {
    "fid_train": Metric("FID train"),
    "fid_val": Metric("FID val"),
    "fid_test": Metric("FID test"),
    "class_accuracy": Metric("class accuracy", lower_is_better=False, percent=True),
}


@dataclass(frozen=True)
class Layout:
    """What makes the rows and the columns of a table; metrics None are all there are."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...] = ()
    metrics: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Entry:
    """One number of a table: the mean over seeds, its standard deviation where there are several."""

    mean: float | None
    std: float | None = None
    have: int = 0
    want: int = 0
    best: bool = False
    decimals: int = 3
    percent: bool = False

    @property
    def text(self) -> str:
        """As it is printed, without emphasis."""
        if self.mean is None:
            return NOTHING
        factor, unit = (100, " %") if self.percent else (1, "")
        spread = f" ± {self.std * factor:.{self.decimals}f}" if self.std is not None else ""
        part = f" ({self.have} of {self.want} seeds)" if self.have < self.want else ""
        return f"{self.mean * factor:.{self.decimals}f}{spread}{unit}{part}"


@dataclass(frozen=True)
class Comparison:
    """A table of numbers that may be compared.

    label: what the scores are. heads: a title for every column of row names, then for every column of numbers.
    rows: names and entries. context: rows below the table, by which its numbers are read.
    """

    title: str
    label: str
    row_heads: tuple[str, ...]
    number_heads: tuple[str, ...]
    rows: list[tuple[tuple[str, ...], list[Entry]]]
    context: list[tuple[str, list[Entry]]]

    @property
    def complete(self) -> bool:
        """Whether every number is there."""
        return all(entry.have == entry.want for _, entries in self.rows for entry in entries)


def comparisons(frame: pd.DataFrame, layout: Layout) -> list[Comparison]:
    """One table for each group of comparable cells: numbers of different features, image counts or data never mix."""
    groups = frame.groupby(list(COMPARABLE), sort=False, dropna=False)
    return [_comparison(group, layout) for _, group in groups]


def _comparison(frame: pd.DataFrame, layout: Layout) -> Comparison:
    metrics = [m for m in layout.metrics or METRICS if m in frame.columns]
    row_keys, column_keys = _keys(frame, layout.rows), _keys(frame, layout.columns)
    places = list(itertools.product(column_keys, metrics))
    entries = [[_entry(frame, layout, row, column, metric) for column, metric in places] for row in row_keys]
    decorated = _decorated(entries, [metric for _, metric in places])
    names, column_names = short_axes(layout.rows), short_axes(layout.columns)
    heads = tuple(" ".join([*map(_tell, column_names, column), METRICS[metric].title]) for column, metric in places)
    return Comparison(
        title=layout.title,
        label=describe_scores(frame),
        row_heads=names or ("",),
        number_heads=heads,
        rows=[(tuple(map(show_value, row)) or ("all",), line) for row, line in zip(row_keys, decorated, strict=True)],
        context=_context(frame, [metric for _, metric in places], decorated),
    )


def _keys(frame: pd.DataFrame, axes: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """The combinations of axis values there are, in order of appearance."""
    if not axes:
        return [()]
    return list(dict.fromkeys(frame[list(axes)].itertuples(index=False, name=None)))


def _entry(frame: pd.DataFrame, layout: Layout, row: tuple[Any, ...], column: tuple[Any, ...], metric: str) -> Entry:
    here = pd.Series(True, index=frame.index)
    for axis, value in zip((*layout.rows, *layout.columns), (*row, *column), strict=True):
        here &= frame[axis].map(lambda found, value=value: found == value or (pd.isna(found) and pd.isna(value)))
    values = frame.loc[here, metric]
    present = [float(value) for value in values.dropna()]
    mean = statistics.fmean(present) if present else None
    std = statistics.stdev(present) if len(present) > 1 else None
    return Entry(mean, std, len(present), len(values), percent=METRICS[metric].percent)


def _decorated(entries: list[list[Entry]], metrics: list[str]) -> list[list[Entry]]:
    """The same entries with the best of every column marked and as many decimals as its numbers want."""
    columns = []
    for column, metric in zip(zip(*entries, strict=True), metrics, strict=True):
        means = [entry.mean for entry in column if entry.mean is not None]
        best = (min if METRICS[metric].lower_is_better else max)(means) if len(means) > 1 else None
        decimals = 1 if METRICS[metric].percent else 2 if means and statistics.median(means) >= 10 else 3
        columns.append([_marked(entry, entry.mean is not None and entry.mean == best, decimals) for entry in column])
    return [list(line) for line in zip(*columns, strict=True)]


def _marked(entry: Entry, best: bool, decimals: int) -> Entry:
    return Entry(entry.mean, entry.std, entry.have, entry.want, best, decimals, entry.percent)


def _context(frame: pd.DataFrame, metrics: list[str], entries: list[list[Entry]]) -> list[tuple[str, list[Entry]]]:
    rows = []
    for prefix, title in CONTEXT.items():
        line = []
        for metric, entry in zip(metrics, entries[0], strict=True):
            values = frame[prefix + metric].dropna().tolist() if prefix + metric in frame.columns else []
            line.append(Entry(values[0] if values else None, decimals=entry.decimals))
        if any(entry.mean is not None for entry in line):
            rows.append((title, line))
    return rows


def describe_scores(frame: pd.DataFrame) -> str:
    """What the numbers of comparable cells are: features, images, data set."""
    first = frame.iloc[0]
    size = first["sampling.resolution"]
    at = "" if pd.isna(size) else f" at {int(size)}x{int(size)}"
    return f"{first['features']}; {int(first['evaluation.images']):,} images drawn{at}; {first['data.name']}"


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


def to_markdown(table: Comparison) -> str:
    """A Markdown table, the best of every column in bold."""
    return "\n".join(_markdown_lines(table)) + "\n"


def _markdown_lines(table: Comparison) -> Iterator[str]:
    yield f"**{table.title}** ({table.label})"
    yield ""
    yield f"| {' | '.join((*table.row_heads, *table.number_heads))} |"
    yield f"|{' --- |' * len(table.row_heads)}{' ---: |' * len(table.number_heads)}"
    for names, entries in table.rows:
        numbers = [f"**{entry.text}**" if entry.best else entry.text for entry in entries]
        yield f"| {' | '.join((*names, *numbers))} |"
    for title, entries in table.context:
        blank = [""] * (len(table.row_heads) - 1)
        numbers = [f"*{entry.text}*" if entry.mean is not None else "" for entry in entries]
        yield f"| {' | '.join((f'*{title}*', *blank, *numbers))} |"


def to_latex(table: Comparison) -> str:
    """A booktabs table to paste into a paper."""

    def line(cells: list[str]) -> str:
        return (
            "  "
            + " & ".join(cells).replace("%", r"\%").replace("_", r"\_").replace("±", r"$\pm$").replace(NOTHING, "--")
            + r" \\"
        )

    body = [
        line([*names, *(rf"\textbf{{{e.text}}}" if e.best else e.text for e in entries)])
        for names, entries in table.rows
    ]
    blank = [""] * (len(table.row_heads) - 1)
    context = [
        line([title, *blank, *(e.text if e.mean is not None else "" for e in entries)])
        for title, entries in table.context
    ]
    return "\n".join(
        [
            f"% {table.title} ({table.label})",
            rf"\begin{{tabular}}{{{'l' * len(table.row_heads)}{'r' * len(table.number_heads)}}}",
            r"  \toprule",
            line([*table.row_heads, *table.number_heads]),
            r"  \midrule",
            *body,
            *(["  \\midrule", *context] if context else []),
            r"  \bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def to_rich(table: Comparison) -> RichTable:
    """The table for a terminal."""
    rich = RichTable(
        title=f"{table.title}: {table.label}", title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    for head in table.row_heads:
        rich.add_column(head, no_wrap=True)
    for head in table.number_heads:
        rich.add_column(head, justify="right", no_wrap=True)
    for names, entries in table.rows:
        rich.add_row(*names, *(Text(entry.text, style="bold green" if entry.best else "") for entry in entries))
    for title, entries in table.context:
        blank = [""] * (len(table.row_heads) - 1)
        rich.add_row(title, *blank, *(entry.text if entry.mean is not None else "" for entry in entries), style="dim")
    return rich
