"""Weighted sums of scores over cells, with their 95% intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from reports.metrics import is_rounding
from reports.significance import PairedErrors, Sample, reach_95

Term = tuple[float, Sample]  # a weight, and the scores it applies to


def with_common_seeds(samples: Sequence[Sample]) -> list[Sample]:
    """Return samples with the scores of the seeds that all of them have; unchanged if these are fewer than two.

    A mean over cells, or their difference, then has one value for each seed, and its interval is around that mean.
    """
    seeds = [seed for seed in samples[0].seeds if all(seed in sample.seeds for sample in samples)]
    return [sample.of_seeds(seeds) for sample in samples] if len(seeds) > 1 else list(samples)


def sum_of(terms: Sequence[Term]) -> float:
    """Return a weighted sum of means over seeds."""
    return math.fsum(weight * sample.mean for weight, sample in terms)


def margin_of(terms: Sequence[Term], paired: PairedErrors | None) -> float | None:
    """Return half of the 95% interval of a weighted sum, over seeds if there are several, else over drawn images.

    None if it is unknown or if there is no variance, and where samples of several seeds differ in their seeds. If the
    covariance of the scores is unknown, the interval is the widest possible.
    """
    values = [value for _, sample in terms for value in sample.values]
    if all(len(sample.values) == 1 for _, sample in terms):
        error = _error_over_images(terms, paired)
        return reach_95() * error if math.isfinite(error) and not is_rounding(error, values) else None
    seeds = terms[0][1].seeds
    if len(seeds) < 2 or any(sample.seeds != seeds for _, sample in terms):
        return None
    sums = [math.fsum(weight * sample.values[i] for weight, sample in terms) for i in range(len(seeds))]
    spread = statistics.stdev(sums)
    return None if is_rounding(spread, values) else reach_95(len(seeds) - 1) * (spread / math.sqrt(len(seeds)))


def _error_over_images(terms: Sequence[Term], paired: PairedErrors | None) -> float:
    weights: dict[str, float] = {}
    for weight, sample in terms:
        weights[sample.cells[0]] = weights.get(sample.cells[0], 0.0) + weight
    if paired is not None and paired.has_all(weights):
        return paired.error_of_sum(weights)
    return sum(abs(weight) * sample.standard_errors[0] for weight, sample in terms)
