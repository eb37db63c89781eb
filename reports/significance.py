"""The significance tests behind a table's marks: which entry of a column is the best, as far as errors can say.

Every entry is compared with the best of its column and with no other. A table claims "this one is the best", and that
claim needs these k - 1 comparisons; testing all k (k - 1) / 2 pairs would spend the same error rate on questions that
nobody asks of a table, and would leave true winners unmarked. The best is chosen by the same numbers that it is then
tested with. What holds at 95% is this: no false winner is marked as best, and the truly best entry is either marked as
best or among those marked as not significantly different from it. Not every entry that is just as good as the best is
guaranteed a mark.

The tests: with one seed each, a z test on the errors of both scores (see PairedErrors); with several seeds, Student's
paired t test over the seeds in common, or Welch's t test if fewer than two are in common. The p values of all columns
of a table are corrected together (Holm 1979), because a table with more columns has more chances of a false winner.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit  # pyright: ignore[reportMissingTypeStubs]

from reports.metrics import NORMAL_95, is_rounding

LEVEL = 0.05  # probability of a false winner anywhere in a table
LEAST_SEEDS = 3  # for the interval of a score; that of two seeds reaches 12.7 standard errors to either side
MIN_RELATIVE_VARIANCE = 1e-12  # anything below this is rounding
Mark = Literal["best", "tied", ""]


@dataclass(frozen=True)
class PairedErrors:
    """Errors of one metric for several cells that are drawn from the same noise and labels.

    deviations [cells, images]: of the influence of every image on the score, scaled so that the covariance of two
    scores is the product of their rows. A matrix of covariances would not fit into memory for thousands of cells. The
    variance of the difference of a and b is that of the difference of their rows, usually far less than that of two
    independent scores.
    """

    cells: tuple[str, ...]
    deviations: np.ndarray

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {cell: row for row, cell in enumerate(self.cells)}

    def has_all(self, cells: Iterable[str]) -> bool:
        """Return whether the errors of all these cells are known."""
        return all(cell in self._rows for cell in cells)

    def error_of_sum(self, weights: Mapping[str, float]) -> float:
        """Return the standard error of a weighted sum of scores. weights: by cell."""
        total = np.zeros(self.deviations.shape[1])
        for cell, weight in weights.items():
            total += weight * self._row(cell)
        return float(np.linalg.norm(total))

    def error_of_difference(self, a: str, b: str) -> float | None:
        """Return the standard error of a's score minus b's; None if it is unknown or if both always vary together."""
        if not self.has_all((a, b)):
            return None
        own, other = self._row(a), self._row(b)
        variance = float(np.sum((own - other) ** 2))
        return math.sqrt(variance) if variance > MIN_RELATIVE_VARIANCE * float(own @ own + other @ other) else None

    def _row(self, cell: str) -> np.ndarray:
        return self.deviations[self._rows[cell]].astype(np.float64)


@dataclass(frozen=True)
class Sample:
    """The scores behind one entry of a table: one cell per seed.

    errors: standard errors of the values, NaN if unknown. All fields are empty if the entry has no number. by_chance:
    the errors are how far the values are from 0 by chance alone, from which no error of a difference follows.
    is_shared: the value is that of all seeds, as of a network that was not trained here.
    """

    seeds: tuple[int, ...] = ()
    cells: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    by_chance: bool = False
    is_shared: bool = False

    @property
    def standard_errors(self) -> tuple[float, ...]:
        """The standard errors of the values, NaN if unknown."""
        return (math.nan,) * len(self.errors) if self.by_chance else self.errors

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return math.fsum(self.values) / len(self.values)

    @property
    def std(self) -> float | None:
        """The sample standard deviation over seeds (n - 1); None with one seed, or if a value is infinite."""
        is_known = len(self.values) > 1 and all(map(math.isfinite, self.values))
        return float(np.std(self.values, ddof=1)) if is_known else None

    @property
    def margin(self) -> float | None:
        """Half of the 95% interval: normal with one seed, Student's t with three seeds or more.

        None if it is unknown, exactly 0 if all images or seeds agree but for rounding.
        """
        count, std = len(self.values), self.std
        spread = self.errors[0] if count == 1 else std if count >= LEAST_SEEDS else None
        if spread is None or not math.isfinite(spread):
            return None
        if is_rounding(spread, self.values):
            return 0.0
        return reach_95() * spread if count == 1 else reach_95(count - 1) * (spread / math.sqrt(count))

    def of_seeds(self, seeds: Iterable[int]) -> Sample:
        """Return the scores of these seeds alone, in their order."""
        places = [self.seeds.index(seed) for seed in seeds]
        return Sample(
            tuple(self.seeds[i] for i in places),
            tuple(self.cells[i] for i in places),
            tuple(self.values[i] for i in places),
            tuple(self.errors[i] for i in places),
            self.by_chance,
            self.is_shared,
        )

    @property
    def has_error(self) -> bool:
        """Whether the error of the mean can be estimated."""
        return len(self.values) > 1 or any(map(math.isfinite, self.errors))


@dataclass(frozen=True)
class ScoreColumn:
    """One column of a table: comparable scores, which direction is better, and the covariance of their errors."""

    samples: tuple[Sample, ...]
    lower_is_better: bool = True
    paired: PairedErrors | None = None


@dataclass(frozen=True)
class DifferenceTest:
    """The difference of two scores, its two-sided p value, and half of its 95% interval.

    num_seeds: the seeds that both have, over which it is; 0 if it is between means of other seeds.
    """

    value: float
    p: float
    margin: float
    num_seeds: int = 0


def common_seeds(a: Sample, b: Sample) -> tuple[int, ...]:
    """Return the seeds that both have, in the order of the first; none if one score of all seeds is among them."""
    return () if a.is_shared != b.is_shared else tuple(seed for seed in a.seeds if seed in b.seeds)


def matched(a: Sample, b: Sample) -> tuple[Sample, Sample]:
    """Return both with the scores of the seeds that both have; unchanged if they have none in common."""
    seeds = common_seeds(a, b)
    return (a.of_seeds(seeds), b.of_seeds(seeds)) if seeds else (a, b)


def compare_samples(a: Sample, b: Sample, paired: PairedErrors | None = None) -> DifferenceTest | None:
    """Return a minus b with the test that their seeds allow, or None if no test applies.

    No test applies to one seed against several, nor to seeds of which one is infinite, nor if there is no variance at
    all: equal differences over two or three seeds are rounding or chance, not certainty.
    """
    if len(a.values) == len(b.values) == 1:
        return _z_test(a, b, paired)
    if not all(map(math.isfinite, (*a.values, *b.values))):
        return None
    common = common_seeds(a, b)
    if len(common) > 1:
        return _paired_t_test(a, b, common)
    return _welch_test(a, b) if min(len(a.values), len(b.values)) > 1 else None


def _z_test(a: Sample, b: Sample, paired: PairedErrors | None) -> DifferenceTest | None:
    if paired is not None and paired.has_all((a.cells[0], b.cells[0])):
        error = paired.error_of_difference(a.cells[0], b.cells[0])
    else:
        # the largest possible, whatever their correlation (Cauchy-Schwarz)
        error = a.standard_errors[0] + b.standard_errors[0]
    value = a.values[0] - b.values[0]
    if error is None or is_rounding(error, (*a.values, *b.values)) or math.isinf(error) or math.isnan(value):
        return None
    return DifferenceTest(value, 2 * float(ndtr(-abs(value) / error)), reach_95() * error, 1)


def _paired_t_test(a: Sample, b: Sample, seeds: Sequence[int]) -> DifferenceTest | None:
    differences = np.subtract(a.of_seeds(seeds).values, b.of_seeds(seeds).values)
    value, spread = float(differences.mean()), float(differences.std(ddof=1))
    if is_rounding(spread, (*a.values, *b.values)):
        return None
    return _t_test(value, spread / math.sqrt(len(seeds)), len(seeds) - 1, len(seeds))


def _welch_test(a: Sample, b: Sample) -> DifferenceTest | None:
    parts = [float(np.var(sample.values, ddof=1)) / len(sample.values) for sample in (a, b)]
    if is_rounding(math.sqrt(sum(parts)), (*a.values, *b.values)):
        return None
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(sample.values) - 1) for part, sample in zip(parts, (a, b), strict=True)
    )
    return _t_test(a.mean - b.mean, math.sqrt(sum(parts)), freedom)


def _t_test(value: float, error: float, freedom: float, num_seeds: int = 0) -> DifferenceTest:
    p = 2 * float(stdtr(freedom, -abs(value) / error))
    return DifferenceTest(value, p, reach_95(freedom) * error, num_seeds)


def reach_95(freedom: float = math.inf) -> float:
    """Return how many standard errors a 95% interval reaches to either side.

    freedom: degrees of freedom of Student's t for an estimated standard error; infinite for a known one.
    """
    return float(stdtrit(freedom, 1 - LEVEL / 2)) if math.isfinite(freedom) else NORMAL_95


def holm(p_values: Sequence[float]) -> list[bool]:
    """Return which null hypotheses to reject, with a probability LEVEL of any false rejection (Holm 1979)."""
    rejected = [False] * len(p_values)
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, i in enumerate(order):
        if p_values[i] > LEVEL / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


def marks(columns: Sequence[ScoreColumn]) -> list[list[Mark]]:
    """Return a mark for every entry of every column of one table.

    "best": significantly better than every other entry of its column. "tied": if a column has no such winner, its best
    entry and all that are not significantly different from it. Nothing is marked if no error is known or if there is
    nothing to compare.
    """
    bests = [_best(column) for column in columns]
    tests = {
        (c, i): compare_samples(columns[c].samples[best], sample, columns[c].paired)
        for c, best in enumerate(bests)
        if best is not None
        for i, sample in enumerate(columns[c].samples)
        if sample.values and i != best
    }
    valid = {place: test for place, test in tests.items() if test is not None}
    rejected = dict(zip(valid, holm([test.p for test in valid.values()]), strict=True))
    worse = {place for place in rejected if rejected[place] and _favours_best(valid[place], columns[place[0]])}
    return [_column_marks(c, column, bests[c], worse) for c, column in enumerate(columns)]


def _best(column: ScoreColumn) -> int | None:
    """The index of a column's best number; None if no winner can be named."""
    indices = [i for i, sample in enumerate(column.samples) if sample.values]
    if len(indices) < 2 or not any(column.samples[i].has_error for i in indices):
        return None
    return (min if column.lower_is_better else max)(indices, key=lambda i: column.samples[i].mean)


def _favours_best(test: DifferenceTest, column: ScoreColumn) -> bool:
    """Whether a test of the best against another favours the best: over the seeds in common it may not."""
    return test.value < 0 if column.lower_is_better else test.value > 0


def _column_marks(c: int, column: ScoreColumn, best: int | None, worse: set[tuple[int, int]]) -> list[Mark]:
    if best is None:
        return [""] * len(column.samples)
    tied = {i for i, sample in enumerate(column.samples) if sample.values and i != best and (c, i) not in worse}
    if not tied:
        return ["best" if i == best else "" for i in range(len(column.samples))]
    return ["tied" if i in tied | {best} else "" for i in range(len(column.samples))]
