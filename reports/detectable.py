"""The smallest differences that a sweep's seeds can show, and how many seeds smaller ones would take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import nctdtrinc  # pyright: ignore[reportMissingTypeStubs]

from reports.effects import Pair, base_of, pairs_of_axis
from reports.metrics import common_decimals, is_rounding, metric_info, shown, title_of
from reports.significance import Sample, reach_95

SMALLEST = "Smallest differences that the seeds show"
POWER = 0.8  # how often a difference of this size is to be found
LEAST_FREEDOM = 4  # of a spread's estimate; from 2, it may be a sixth of the true spread
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Detectable:
    """The smallest difference between two values of an axis that a paired t test at 95% finds in four of five cases.

    axis: its short name. num_seeds: of both cells. difference: in the metric's stored unit. seeds_for_half: how many
    seeds it takes to find a difference half as large; None if that is more than MOST_SEEDS.
    """

    axis: str
    metric: str
    num_seeds: int
    difference: float
    seeds_for_half: int | None

    @property
    def text(self) -> str:
        """The difference in words, without a full stop."""
        info = metric_info(self.metric)
        decimals = common_decimals([self.difference], [self.difference], info.scale, info.unit)
        size = f"{shown(self.metric, self.difference, decimals=decimals)} {title_of(self.metric)}"
        more = f"{self.seeds_for_half} seeds" if self.seeds_for_half else f"over {MOST_SEEDS:,} seeds"
        return f"{self.axis}: {size} with {self.num_seeds} seeds; half of that takes {more}"


def detectable_differences(
    samples: Mapping[tuple[Any, ...], Sample],
    axes: Sequence[str],
    names: Sequence[str],
    metric: str,
    baseline: Mapping[str, Any],
) -> list[Detectable]:
    """Return the smallest difference for every axis whose pairs of cells say how differences vary over seeds.

    samples: by the values of all axes, in the table's order. names: of the axes, as people read them.
    """
    found: list[Detectable] = []
    for i, name in enumerate(names):
        by_value = pairs_of_axis(samples, axes, i, base_of(samples, axes, i, baseline))
        pairs = [pair for pairs in by_value.values() for pair in pairs]
        spread, num_seeds = _spread(pairs)
        if spread:
            size = smallest_difference(spread, num_seeds)
            found.append(Detectable(name, metric, num_seeds, size, seeds_for(size / 2, spread)))
    return found


def _spread(pairs: Sequence[Pair]) -> tuple[float, int]:
    """The standard deviation over seeds of the difference between two cells, from all pairs, and their seeds.

    It is 0 if there are too few to tell, and if all seeds agree but for rounding.
    """
    finite = [pair for pair in pairs if all(math.isfinite(value) for sample in pair for value in sample.values)]
    differences = [own for own in (_differences(*pair) for pair in finite) if len(own) > 1]
    freedom = sum(len(own) - 1 for own in differences)
    if freedom < LEAST_FREEDOM:
        return 0.0, 0
    spread = math.sqrt(sum(float(np.var(own, ddof=1)) * (len(own) - 1) for own in differences) / freedom)
    values = [value for pair in finite for sample in pair for value in sample.values]
    return (0.0 if is_rounding(spread, values) else spread), min(len(own) for own in differences)


def _differences(a: Sample, b: Sample) -> list[float]:
    """The differences of two samples, seed by seed."""
    other = dict(zip(b.seeds, b.values, strict=True))
    return [value - other[seed] for seed, value in zip(a.seeds, a.values, strict=True) if seed in other]


def smallest_difference(spread: float, num_seeds: int) -> float:
    """Return the difference that a two-sided paired t test finds with the probability POWER.

    spread: standard deviation of the difference over seeds. The test's statistic has Student's noncentral distribution.
    """
    freedom = num_seeds - 1
    return float(nctdtrinc(freedom, 1 - POWER, reach_95(freedom))) * spread / math.sqrt(num_seeds)


def seeds_for(difference: float, spread: float) -> int | None:
    """Return how many seeds it takes to find a difference; None if more than MOST_SEEDS."""
    enough = (num for num in range(2, MOST_SEEDS + 1) if smallest_difference(spread, num) <= difference)
    return next(enough, None)
