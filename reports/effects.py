"""Main effects: what changing one axis does to a score, on average over all values of the other axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.averages import margin_of, sum_of, with_common_seeds
from reports.metrics import METRICS, common_decimals, metric_info, shown, title_of
from reports.significance import PairedErrors, Sample
from reports.values import replaced, show_value

Pair = tuple[Sample, Sample]


@dataclass(frozen=True)
class Effect:
    """The mean difference of a metric between two values of an axis, over all pairs of cells that differ in it alone.

    With several seeds, it is over the seeds that all of these cells have, if these are two or more. axis: its short
    name. margin: half of the 95% interval of the mean difference; None if it is unknown. differences: of all pairs.
    """

    axis: str
    value: str
    base: str
    metric: str
    mean: float
    margin: float | None
    differences: tuple[float, ...]

    @property
    def num_agreeing(self) -> int:
        """The number of pairs whose difference has the sign of the mean."""
        return sum(difference * self.mean > 0 for difference in self.differences)

    @property
    def text(self) -> str:
        """The effect as a sentence without a full stop."""
        size = shown(self.metric, self.mean, self.margin, sign=True)
        direction = "lower" if self.mean < 0 else "higher"
        num_pairs = len(self.differences)
        count = f"{self.num_agreeing} of {num_pairs} pairs" if num_pairs > 1 else "the only pair"
        pairs = f"{direction} in {count}{self._range()}" if self.mean else "no difference"
        return f"{self.axis}, {self.value} instead of {self.base}: {size} {title_of(self.metric)}, {pairs}"

    def _range(self) -> str:
        """The smallest and the largest difference, if pairs differ in direction."""
        if self.num_agreeing == len(self.differences):
            return ""
        info, margins = metric_info(self.metric), [self.margin] if self.margin else []
        decimals = common_decimals([self.mean], margins, info.scale, info.unit)
        ends = (min(self.differences), max(self.differences))
        return " ({} to {})".format(*(shown(self.metric, end, sign=True, decimals=decimals) for end in ends))

    @property
    def is_significant(self) -> bool:
        """Whether the 95% interval of the mean difference excludes 0."""
        return self.margin is not None and abs(self.mean) > self.margin


def main_effects(
    samples: Mapping[tuple[Any, ...], Sample],
    axes: Sequence[str],
    names: Sequence[str],
    metric: str,
    baseline: Mapping[str, Any],
    paired: PairedErrors | None,
) -> list[Effect]:
    """Return the effect of every value of every axis, against the baseline's value or else the axis's first one.

    samples: by the values of all axes, in the table's order. names: of the axes, as people read them.
    """
    found: list[Effect] = []
    for i, name in enumerate(names):
        base = base_of(samples, axes, i, baseline)
        for value, pairs in pairs_of_axis(samples, axes, i, base).items():
            found.append(_effect(name, show_value(value), show_value(base), metric, pairs, paired))
    return found


def base_of(samples: Mapping[tuple[Any, ...], Sample], axes: Sequence[str], i: int, baseline: Mapping[str, Any]) -> Any:
    """Return the value that the others of an axis are compared with: the baseline's, or else its first."""
    return baseline.get(axes[i], next((key[i] for key in samples), None))


def pairs_of_axis(
    samples: Mapping[tuple[Any, ...], Sample], axes: Sequence[str], i: int, base: Any
) -> dict[Any, list[Pair]]:
    """Return the pairs of samples that differ in one axis alone, by its value that is not `base`."""
    values = dict.fromkeys(key[i] for key in samples)
    pairs = {value: list(_pairs(samples, axes, i, value, base)) for value in values if value != base}
    return {value: found for value, found in pairs.items() if found}


def _pairs(
    samples: Mapping[tuple[Any, ...], Sample], axes: Sequence[str], i: int, value: Any, base: Any
) -> Iterator[Pair]:
    """The samples at `value` and at `base` of an axis for every combination of the others that has both."""
    for key, sample in samples.items():
        if key[i] == value:
            other = samples.get(replaced(axes, key, {axes[i]: base}), Sample())
            if sample.values and other.values:
                yield sample, other


def _effect(
    axis: str, value: str, base: str, metric: str, pairs: Sequence[Pair], paired: PairedErrors | None
) -> Effect:
    share = 1 / len(pairs)
    samples = with_common_seeds([sample for pair in pairs for sample in pair])
    terms = [(-share if i % 2 else share, sample) for i, sample in enumerate(samples)]
    differences = tuple(a.mean - b.mean for a, b in zip(samples[::2], samples[1::2], strict=True))
    return Effect(axis, value, base, metric, sum_of(terms), margin_of(terms, paired), differences)


def best_metric(metrics: Sequence[str], preferred: Sequence[str]) -> str | None:
    """Return the metric to speak of first: the first preferred one, else the first that has a better direction."""
    ranked = [metric for metric in metrics if metric in METRICS and METRICS[metric].better != "neither"]
    return next((metric for metric in preferred if metric in ranked), ranked[0] if ranked else None)
