"""Weighted sums of scores over cells, with their 95% intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from reports.metrics import is_rounding
from reports.significance import PairedErrors, Sample, normal_margin, t_margin

Term = tuple[float, Sample]  # a weight, and the scores it applies to


def sum_of(terms: Sequence[Term]) -> float:
    """Return a weighted sum of means over seeds."""
    return math.fsum(weight * sample.mean for weight, sample in terms)


def margin_of(terms: Sequence[Term], paired: PairedErrors | None) -> float | None:
    """Return half of the 95% interval of a weighted sum, over seeds if there are several, else over drawn images.

    None if it is unknown or if there is no variance. If the covariance of the scores is unknown, the interval is the
    widest possible.
    """
    values = [value for _, sample in terms for value in sample.values]
    if all(len(sample.values) == 1 for _, sample in terms):
        error = _error_over_images(terms, paired)
        return normal_margin(error) if math.isfinite(error) and not is_rounding(error, values) else None
    seeds = [seed for seed in terms[0][1].seeds if all(seed in sample.seeds for _, sample in terms)]
    if len(seeds) < 2:
        return None
    sums = [math.fsum(weight * _at(sample, seed) for weight, sample in terms) for seed in seeds]
    spread = statistics.stdev(sums)
    return t_margin(spread / math.sqrt(len(seeds)), len(seeds) - 1) if not is_rounding(spread, values) else None


def _at(sample: Sample, seed: int) -> float:
    return sample.values[sample.seeds.index(seed)]


def _error_over_images(terms: Sequence[Term], paired: PairedErrors | None) -> float:
    weights: dict[str, float] = {}
    for weight, sample in terms:
        weights[sample.cells[0]] = weights.get(sample.cells[0], 0.0) + weight
    if paired is not None and paired.has_all(weights):
        return paired.error_of_sum(weights)
    return sum(abs(weight) * sample.errors[0] for weight, sample in terms)
