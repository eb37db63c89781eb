"""One table of a report: comparable numbers, their heads, and what is said below them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from reports.deltas import significant_in_words
from reports.detectable import SMALLEST, Detectable
from reports.effects import Effect
from reports.entries import TableEntry
from reports.heads import ColumnHead, HeadGroup, grouped_heads
from reports.metrics import METRICS
from reports.values import in_words


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
    one text that makes sense without the heads. caption: what the sweep file says of the table. baseline: the axis
    values that differences are taken to. effects: of every axis on the first metric; none if an earlier table has the
    same. detectable: the smallest differences of that metric that the seeds show, likewise. number: among those of the
    report. row_axes: the axis values of each row by axis, as text. plain_heads: the heads of axes whose values are all
    text. is_comparable: False if its cells differ in a field that `allowed` names, or in what is to be equal: none is
    the best.
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
    caption: str = ""
    baseline: str = ""
    effects: tuple[Effect, ...] = ()
    detectable: tuple[Detectable, ...] = ()
    footnotes: tuple[str, ...] = ()
    number: int = 1
    row_axes: tuple[Mapping[str, str], ...] = ()
    plain_heads: tuple[str, ...] = ()
    is_comparable: bool = True

    @property
    def heading(self) -> str:
        """The titles of the sweep and the table."""
        return f"{self.title}: {self.name}" if self.name else self.title

    @property
    def subject(self) -> str:
        """What the table is about: its name, or else its scores, such as "FID and class accuracy"."""
        scores = [METRICS[head.metric].name for head in self.heads if head.kind == "score"]
        return self.name or in_words(list(dict.fromkeys(scores)) or ["Loss at equal compute"])

    @property
    def head_groups(self) -> tuple[tuple[HeadGroup, ...], ...]:
        """The heads of the columns of numbers as rows from top to bottom, those on top spanning several columns."""
        return grouped_heads(self.heads)

    @property
    def blocks_below(self) -> tuple[tuple[str, ...], ...]:
        """What to say right below the table, line by line: what Δ is, effects, what the seeds show, footnotes."""
        tested = significant_in_words(self._tests)
        baseline = (f"Δ: the difference to {self.baseline}.", *filter(None, (tested,))) if self.baseline else ()
        effects = ("Main effects:", *(effect.text for effect in self.effects)) if self.effects else ()
        sizes = (f"{SMALLEST}:", *(one.text for one in self.detectable)) if self.detectable else ()
        return tuple(filter(None, (baseline, effects, sizes, *((line,) for line in self.footnotes))))

    @property
    def _tests(self) -> list[tuple[str, float]]:
        """Every difference to the baseline, by row and column, with its p value."""
        return [
            (f"{head.text} of {label}", entry.p)
            for label, (_, entries) in zip(self.row_labels, self.rows, strict=True)
            for head, entry in zip(self.heads, entries, strict=True)
            if entry.p is not None
        ]

    @property
    def number_heads(self) -> tuple[str, ...]:
        """The head of every column of numbers in one line."""
        return tuple(head.text for head in self.heads)

    @property
    def entries(self) -> list[TableEntry]:
        """All entries, row by row."""
        return [entry for _, line in self.rows for entry in line]

    @cached_property
    def columns(self) -> list[list[TableEntry]]:
        """All entries, column by column."""
        return [[line[i] for _, line in self.rows] for i in range(len(self.heads))]

    @cached_property
    def has_ties(self) -> tuple[bool, ...]:
        """For every column of numbers, whether any entry is marked as not significantly different from the best."""
        return tuple(any(entry.is_tied for entry in column) for column in self.columns)

    @property
    def has_scores(self) -> bool:
        """Whether it has columns of scores; a table of losses at equal compute has none."""
        return any(head.kind == "score" for head in self.heads)

    @property
    def complete(self) -> bool:
        """Whether no further work would fill in a number."""
        scores = [column for head, column in zip(self.heads, self.columns, strict=True) if head.kind == "score"]
        return all(e.num_seeds + e.num_stopped + e.num_pruned == e.expected_seeds for column in scores for e in column)
