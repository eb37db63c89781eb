"""Which entry of a column is the best, as far as the errors of the scores can say.

Every entry is compared with the best of its column and with no other. The claim that a table makes is "this one is
the best", which is these k - 1 comparisons; all k (k - 1) / 2 pairs would spend the same error rate on questions that
nobody asks of a table, and would leave true winners unmarked. As the best is chosen by the same numbers that it is then
tested by, what holds is this, at 95%: no false winner stands in bold, and the truly best entry is the bold one or among
those marked as not told apart. That every entry just as good as the best is marked too is not promised.

The tests: one seed each, a z test by the errors of both scores (see Paired); several seeds, Student's paired t over the
seeds that both have, Welch's t where they have fewer than two in common. p values of all columns of a table are
corrected together (Holm 1979), as a table with more columns has more chances of a false winner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

LEVEL = 0.05  # of a false winner anywhere in a table
NO_VARIANCE = 1e-12  # relative to the scores' own: less is rounding
Mark = Literal["best", "close", ""]


@dataclass(frozen=True)
class Paired:
    """Errors of the same score of several cells, drawn from the same noise and labels.

    covariance [cells, cells]: cov(influences of a, influences of b) / images, so that the variance of the difference
    of a and b is C_aa + C_bb - 2 C_ab: usually far less than that of two scores without a tie.
    """

    cells: tuple[str, ...]
    covariance: np.ndarray

    def error_of_difference(self, a: str, b: str) -> float | None:
        """The standard error of a's score less b's; None where nothing is known, or where the two move as one."""
        if a not in self.cells or b not in self.cells:
            return None
        i, j = self.cells.index(a), self.cells.index(b)
        own = float(self.covariance[i, i] + self.covariance[j, j])
        variance = own - float(self.covariance[i, j] + self.covariance[j, i])
        return math.sqrt(variance) if variance > NO_VARIANCE * own else None


@dataclass(frozen=True)
class Sample:
    """What an entry of a table is made of: a score of a cell for each seed.

    errors: standard errors of the values, NaN where unknown. Empty where the entry has no number.
    """

    seeds: tuple[int, ...] = ()
    cells: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return math.fsum(self.values) / len(self.values)

    @property
    def std(self) -> float | None:
        """The sample's standard deviation over seeds (n - 1); None with one seed."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    @property
    def margin(self) -> float | None:
        """Half of the 95% interval: normal with one seed, t over seeds with 3 or more; None where it is not known."""
        count, std = len(self.values), self.std
        if std is not None:
            return float(stdtrit(count - 1, 1 - LEVEL / 2)) * std / math.sqrt(count) if count > 2 else None
        known = count == 1 and math.isfinite(self.errors[0])
        return float(ndtri(1 - LEVEL / 2)) * self.errors[0] if known else None

    @property
    def has_error(self) -> bool:
        """Whether anything is known of how far the number is off."""
        return len(self.values) > 1 or any(map(math.isfinite, self.errors))


@dataclass(frozen=True)
class Column:
    """A column of a table: comparable numbers, which way is better, and how their errors hang together."""

    samples: tuple[Sample, ...]
    lower_is_better: bool = True
    paired: Paired | None = None


@dataclass(frozen=True)
class Difference:
    """A difference of two scores and its two-sided p value."""

    value: float
    p: float


def difference(a: Sample, b: Sample, paired: Paired | None = None) -> Difference | None:
    """a less b with the test that their seeds allow; None where nothing can be said.

    Nothing can be said of one seed against several, nor where there is no variance at all: equal differences over two
    or three seeds are rounding or chance, not certainty.
    """
    if len(a.values) == len(b.values) == 1:
        return _z_test(a, b, paired)
    common = [seed for seed in a.seeds if seed in b.seeds]
    if len(common) > 1:
        return _paired_t_test(a, b, common)
    return _welch_test(a, b) if min(len(a.values), len(b.values)) > 1 else None


def _z_test(a: Sample, b: Sample, paired: Paired | None) -> Difference | None:
    if paired is not None and {a.cells[0], b.cells[0]} <= set(paired.cells):
        error = paired.error_of_difference(a.cells[0], b.cells[0])
    else:
        error = a.errors[0] + b.errors[0]  # the most it can be, however the two hang together (Cauchy and Schwarz)
    if error is None or not 0 < error < math.inf:
        return None
    value = a.values[0] - b.values[0]
    return Difference(value, 2 * float(ndtr(-abs(value) / error)))


def _paired_t_test(a: Sample, b: Sample, seeds: Sequence[int]) -> Difference | None:
    left = np.array([a.values[a.seeds.index(seed)] for seed in seeds])
    right = np.array([b.values[b.seeds.index(seed)] for seed in seeds])
    differences = left - right
    value, spread = float(differences.mean()), float(differences.std(ddof=1))
    if not spread > NO_VARIANCE * float(np.abs([left, right]).max()):
        return None
    t = value / (spread / math.sqrt(len(seeds)))
    return Difference(value, 2 * float(stdtr(len(seeds) - 1, -abs(t))))


def _welch_test(a: Sample, b: Sample) -> Difference | None:
    parts = [float(np.var(sample.values, ddof=1)) / len(sample.values) for sample in (a, b)]
    if not math.sqrt(sum(parts)) > NO_VARIANCE * max(map(abs, (*a.values, *b.values))):
        return None
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(sample.values) - 1) for part, sample in zip(parts, (a, b), strict=True)
    )
    value = a.mean - b.mean
    return Difference(value, 2 * float(stdtr(freedom, -abs(value) / math.sqrt(sum(parts)))))


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Which hypotheses fall when all of them together may fall wrongly in a share `level` of cases (Holm 1979)."""
    fallen = [False] * len(p_values)
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, i in enumerate(order):
        if p_values[i] > level / (len(p_values) - rank):
            break
        fallen[i] = True
    return fallen


def marks(columns: Sequence[Column], level: float = LEVEL) -> list[list[Mark]]:
    """A mark for every entry of every column of one table.

    "best": told apart from every other entry of its column. "close": the best of a column that has no such winner, and
    all that cannot be told apart from it. Nothing is marked where no error is known, or where there is nothing to
    compare.
    """
    bests = [_best(column) for column in columns]
    tests = {
        (c, i): difference(columns[c].samples[best], sample, columns[c].paired)
        for c, best in enumerate(bests)
        if best is not None
        for i, sample in enumerate(columns[c].samples)
        if sample.values and i != best
    }
    known = {place: test for place, test in tests.items() if test is not None}
    fallen = dict(zip(known, holm([test.p for test in known.values()], level), strict=True))
    apart = {place for place in fallen if fallen[place] and _favours(known[place], columns[place[0]])}
    return [_column_marks(c, column, bests[c], apart) for c, column in enumerate(columns)]


def _best(column: Column) -> int | None:
    """The place of a column's best number; None where no winner can be named."""
    places = [i for i, sample in enumerate(column.samples) if sample.values]
    if len(places) < 2 or not any(column.samples[i].has_error for i in places):
        return None
    return (min if column.lower_is_better else max)(places, key=lambda i: column.samples[i].mean)


def _favours(test: Difference, column: Column) -> bool:
    """Whether a test of the best against another speaks for the best: over the seeds in common it need not."""
    return test.value < 0 if column.lower_is_better else test.value > 0


def _column_marks(c: int, column: Column, best: int | None, apart: set[tuple[int, int]]) -> list[Mark]:
    if best is None:
        return [""] * len(column.samples)
    close = {i for i, sample in enumerate(column.samples) if sample.values and i != best and (c, i) not in apart}
    if not close:
        return ["best" if i == best else "" for i in range(len(column.samples))]
    return ["close" if i in close | {best} else "" for i in range(len(column.samples))]
