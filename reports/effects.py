"""Main effects: what changing one axis does to a score, on average over all values of the other axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.averages import margin_of, sum_of
from reports.metrics import METRICS, common_decimals, metric_info, shown, title_of
from reports.significance import PairedErrors, Sample, common_seeds, matched
from reports.values import replaced, show_value

Pair = tuple[Sample, Sample]


@dataclass(frozen=True)
class Effect:
    """The mean difference of a metric between two values of an axis, over all pairs of cells that differ in it alone.

    With several seeds, it is over seeds that all of these cells have, without num_left_out pairs that lack some of
    these; if too few pairs share two seeds or more, it is over all pairs, lacks_seeds, and has no margin. axis: its
    short name. margin: half of the 95% interval of the mean difference; None if it is unknown. differences: of all
    pairs that are not left out.
    """

    axis: str
    value: str
    base: str
    metric: str
    mean: float
    margin: float | None
    differences: tuple[float, ...]
    num_left_out: int = 0
    lacks_seeds: bool = False

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
        only = "the only complete pair" if self.num_left_out else "the only pair"
        count = f"{self.num_agreeing} of {num_pairs} pairs" if num_pairs > 1 else only
        pairs = f"{direction} in {count}{self._range()}" if self.mean else "no difference"
        what = f"{self.axis}, {self.value} instead of {self.base}: {size} {title_of(self.metric)}"
        return ", ".join([what, pairs, *self._remarks()])

    def _remarks(self) -> Iterator[str]:
        """What is missing of a sweep that is not done."""
        if self.num_left_out:
            yield f"{self.num_left_out} more left out for lack of seeds"
        if self.lacks_seeds:
            yield "too few seeds in common for an interval"

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
    has_several = any(len(sample.seeds) > 1 for pair in pairs for sample in pair)
    complete = _complete(pairs) if has_several else []
    kept = complete or [matched(*pair) for pair in pairs]
    lacks_seeds = has_several and not complete
    terms = [(sign / len(kept), sample) for pair in kept for sign, sample in zip((1, -1), pair, strict=True)]
    return Effect(
        axis,
        value,
        base,
        metric,
        sum_of(terms),
        None if lacks_seeds else margin_of(terms, paired),
        tuple(a.mean - b.mean for a, b in kept),
        len(pairs) - len(kept),
        lacks_seeds,
    )


def _complete(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs and the seeds that all of these have, chosen so that they hold the most scores.

    Empty if fewer than half of the pairs share two seeds: the mean of so few would not be that of the table.
    """
    own = [frozenset(common_seeds(*pair)) for pair in pairs]
    of_all = own[0].intersection(*own)
    choices = [seeds for seeds in dict.fromkeys([*own, of_all]) if len(seeds) > 1]
    blocks = [(seeds, [i for i, those in enumerate(own) if seeds <= those]) for seeds in choices]
    enough = [block for block in blocks if 2 * len(block[1]) >= len(pairs)]
    if not enough:
        return []
    seeds, kept = max(enough, key=lambda block: (len(block[0]) * len(block[1]), len(block[1])))
    return [(a.of_seeds(sorted(seeds)), b.of_seeds(sorted(seeds))) for a, b in (pairs[i] for i in kept)]


def best_metric(metrics: Sequence[str], preferred: Sequence[str]) -> str | None:
    """Return the metric to speak of first: the first preferred one, else the first that has a better direction."""
    ranked = [metric for metric in metrics if metric in METRICS and METRICS[metric].better != "neither"]
    return next((metric for metric in preferred if metric in ranked), ranked[0] if ranked else None)
