"""Differences of a table's entries to a baseline: the same cells at other values of some axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reports.entries import TableEntry, round_column
from reports.metrics import METRICS
from reports.significance import PairedErrors, Sample, common_seeds, compare_samples, holm, matched
from reports.values import replaced

Position = tuple[tuple[Any, ...], tuple[Any, ...]]  # the values of the axes that make rows, and of those for columns
IS_BASELINE = "baseline"
MOST_NAMED = 8  # differences that a sentence names


@dataclass(frozen=True)
class Baseline:
    """The values of axes to compare with, for a table with these axes as rows and columns."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Mapping[str, Any]

    def of(self, position: Position) -> Position:
        """Return the position of the entry that this one is compared with."""
        row, column = position
        found = replaced((*self.rows, *self.columns), (*row, *column), self.values)
        return found[: len(row)], found[len(row) :]


def difference_entries(
    positions: Sequence[Position],
    samples: Mapping[Position, Sample],
    metric: str,
    baseline: Baseline,
    paired: PairedErrors | None,
) -> list[TableEntry]:
    """Return one column of differences to the baseline, with their paired 95% intervals and p values."""
    return round_column([_entry(position, samples, metric, baseline, paired) for position in positions])


def significant_in_words(tests: Sequence[tuple[str, float]]) -> str:
    """Return which differences of a table are significant if all are tested at once; "" of fewer than two.

    tests: what they are called, with their p values.
    """
    if len(tests) < 2:
        return ""
    rejected = [name for (name, _), found in zip(tests, holm([p for _, p in tests]), strict=True) if found]
    more = [f"{len(rejected) - MOST_NAMED} more"] if len(rejected) > MOST_NAMED else []
    named = "; ".join([*rejected[:MOST_NAMED], *more]) if len(rejected) < len(tests) else "all"
    named = named or "none"
    return f"Significant at 95% after Holm's correction for this table's {len(tests)} differences: {named}."


def _entry(
    position: Position,
    samples: Mapping[Position, Sample],
    metric: str,
    baseline: Baseline,
    paired: PairedErrors | None,
) -> TableEntry:
    other = baseline.of(position)
    own, reference = samples.get(position, Sample()), samples.get(other, Sample())
    look = TableEntry(None, scale=METRICS[metric].scale, unit=METRICS[metric].unit, is_difference=True)
    if other == position:
        return replace(look, replacement=IS_BASELINE)
    if not own.values or not reference.values:
        return look
    test = compare_samples(own, reference, paired)
    if test is None:
        num_seeds = len(common_seeds(own, reference))
        own, reference = matched(own, reference)
        difference = own.mean - reference.mean
        is_known = not math.isnan(difference)  # as that of two that are infinite is
        return replace(look, mean=difference, num_seeds=num_seeds) if is_known else look
    return replace(look, mean=test.value, margin=test.margin, p=test.p, num_seeds=test.num_seeds)
