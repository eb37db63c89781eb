"""The heads of a table's columns of numbers, each by itself and in groups that span several columns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reports.metrics import METRICS

ColumnKind = Literal["score", "difference", "cost", "published"]


@dataclass(frozen=True)
class ColumnHead:
    """The head of a column of numbers: what it shows, at values of the axes that make columns.

    metric: a metric, or a cost such as "parameters". metric_title: what it is called in this table.
    """

    metric: str
    axis_values: tuple[str, ...]
    metric_title: str
    kind: ColumnKind = "score"

    @property
    def text(self) -> str:
        """The whole head in one line."""
        return " ".join([*self.axis_values, self.metric_title])


@dataclass(frozen=True)
class HeadGroup:
    """A head that spans several columns; one without text leaves the columns below it without a group."""

    text: str
    span: int


def grouped_heads(heads: Sequence[ColumnHead]) -> tuple[tuple[HeadGroup, ...], ...]:
    """Return the rows of a table's head from top to bottom; in the last one, every column has its own head.

    Columns of the same axis values stand below these, and the splits of a metric below its name.
    """
    levels = _levels(heads)
    depth = max(map(len, levels), default=1)
    padded = [("",) * (depth - len(own)) + own for own in levels]
    rows = [_row([own[: i + 1] for own in padded]) for i in range(depth - 1)]
    return (*rows, tuple(HeadGroup(own[-1], 1) for own in padded))


def _levels(heads: Sequence[ColumnHead]) -> list[tuple[str, ...]]:
    """The texts of every column from its widest group to its own head."""
    scores = [head for head in heads if head.kind != "cost"]
    titles = {head.metric_title for head in scores}
    if len(titles) == 1 and any(head.axis_values for head in scores):  # one metric: its name spans all axis values
        return [(head.metric_title, *head.axis_values) if head in scores else (head.text,) for head in heads]
    split = _splits_are_grouped(heads)
    return [(*head.axis_values, *(_by_split(head) if split else (head.metric_title,))) for head in heads]


def _splits_are_grouped(heads: Sequence[ColumnHead]) -> bool:
    """Whether a metric has columns of several splits side by side."""
    pairs = [(_by_split(a)[0], _by_split(b)[0], a.axis_values == b.axis_values) for a, b in itertools.pairwise(heads)]
    return any(name == other != "" and same_place for name, other, same_place in pairs)


def _by_split(head: ColumnHead) -> tuple[str, str]:
    info = METRICS.get(head.metric)
    name, split = head.metric_title, info.split if info is not None else ""
    return (name.removesuffix(f" {split}"), split) if split and name.endswith(f" {split}") else ("", name)


def _row(prefixes: Sequence[tuple[str, ...]]) -> tuple[HeadGroup, ...]:
    groups = [(prefix[-1], len(list(group))) for prefix, group in itertools.groupby(prefixes)]
    return tuple(HeadGroup(text, span) for text, span in groups)
