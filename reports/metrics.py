"""Defines how every metric is shown: its title, unit, scale and decimals, its better direction and its table.

This module needs the standard library alone, so that a log line, a live table and a report can show the same text.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher", "neither"]
Group = Literal["main", "fidelity", "memorisation", "own"]
SPLITS = ("train", "val", "test")
PREFERRED_SPLITS = ("test", "val", "train")  # where only one split is shown, the first of these with a score
CHANCE_NOTE = "± of a copied share: how far from 0 it is by chance alone, in 95% of cases, if nothing is copied."
MAX_DECIMALS = 6  # of numbers without errors
FINEST_DECIMALS = 12  # of numbers with errors, which say that their digits mean something
MINUS = re.compile(r"(?<![\w.])-(?=\d)")  # a hyphen that is a minus sign
NORMAL_95 = 1.959963984540054  # standard errors to either side of a 95% interval
SCALE = " ×10³"  # of a metric's title in tables; files and other programs have it unscaled
ROUNDING = 1e-12  # an error or a spread is rounding if it is smaller than this, relative to its values


@dataclass(frozen=True)
class MetricInfo:
    """How a metric is shown.

    better: "neither" if the ideal value lies in between, so that no entry is the best. split: the real images that
    drawn ones are compared with; "file" for published statistics. scale, unit: a value is multiplied by `scale` and
    followed by `unit`. by_chance: its error says how far it is from 0 by chance alone; it is not a standard error, so
    no error of a difference follows from it.
    """

    name: str
    better: Better = "lower"
    group: Group = "main"
    split: str = ""
    scale: float = 1.0
    unit: str = ""
    by_chance: bool = False

    @property
    def title(self) -> str:
        """The metric's name and split."""
        return f"{self.name} {self.split}".rstrip()


def _split_metrics(split: str) -> dict[str, MetricInfo]:
    return {
        f"kid_{split}": MetricInfo(f"KID{SCALE}", "lower", "fidelity", split, scale=1000.0),
        f"precision_{split}": MetricInfo("precision", "higher", "fidelity", split),
        f"recall_{split}": MetricInfo("recall", "higher", "fidelity", split),
        f"density_{split}": MetricInfo("density", "higher", "fidelity", split),
        f"coverage_{split}": MetricInfo("coverage", "higher", "fidelity", split),
    }


METRICS: dict[str, MetricInfo] = {
    **{f"fid_{split}": MetricInfo("FID", split=split) for split in (*SPLITS, "file")},
    "class_accuracy": MetricInfo("class accuracy", "higher", scale=100.0, unit=" %"),
    "truncation_rms": MetricInfo("truncation error"),
    **_split_metrics("train"),
    **_split_metrics("val"),
    **_split_metrics("test"),
    **{f"fid_infinity_{split}": MetricInfo("FID inf", "lower", "fidelity", split) for split in (*SPLITS, "file")},
    "nn_ratio_pixels": MetricInfo("distance ratio, pixels", "neither", "memorisation"),
    "nn_ratio_features": MetricInfo("distance ratio, features", "neither", "memorisation"),
    "nn_copied_pixels": MetricInfo("copied, pixels", "neither", "memorisation", scale=100.0, unit=" %", by_chance=True),
    "nn_copied_features": MetricInfo(
        "copied, features", "neither", "memorisation", scale=100.0, unit=" %", by_chance=True
    ),
}


def declare(metric: str, title: str, better: Better) -> None:
    """Let tables show a metric that a sweep defines itself, against each split."""
    for split in SPLITS:
        METRICS[f"{metric}_{split}"] = MetricInfo(title, better, "own", split)


def stand_in(metric: str) -> str:
    """Return what is computed in place of a metric that would mean nothing: KID for an FID; any other stays itself."""
    start, _, against = metric.rpartition("_")
    return f"kid_{against}" if start in ("fid", "fid_infinity") else metric


def metric_info(metric: str) -> MetricInfo:
    """Return how a metric is shown; one that no table has, such as a loss, keeps its name and scale."""
    return METRICS.get(metric) or MetricInfo(metric)


def title_of(metric: str) -> str:
    """Return the title of a metric, such as "FID test" for "fid_test"."""
    return metric_info(metric).title


def unscaled_title(metric: str) -> str:
    """Return the title of a metric for a number as files have it: "KID test" for "kid_test"."""
    return title_of(metric).replace(SCALE, "")


def shown(
    metric: str, value: float | None, margin: float | None = None, *, sign: bool = False, decimals: int | None = None
) -> str:
    """Return a value of a metric as every log line, table and page shows it, such as "95.3 ± 1.3 %".

    margin: half of the value's 95% interval. Both are in the metric's stored unit. sign: write + before a positive
    value, as for a difference. decimals: as many as the numbers beside it have; by default what its own margin allows,
    which is also more than that where the margin would be shown as 0. A value that is None is a dash.
    """
    if value is None:
        return "—"
    info = metric_info(metric)
    has_margin = margin is not None and math.isfinite(margin) and margin > 0
    errors = [margin] if has_margin and margin is not None else []
    if decimals is None:
        decimals = common_decimals([value], errors, info.scale, info.unit)
    decimals = visible_decimals(decimals, errors, info.scale)
    number = f"{value * info.scale:z.{decimals}f}"
    interval = "".join(f" ± {error * info.scale:.{decimals}f}" for error in errors)
    return f"{signed(number) if sign else number}{interval}{info.unit}"


def signed(number: str) -> str:
    """Return a number as a difference: with its sign, unless it is rounded to 0."""
    return f"+{number}" if float(number) > 0 else number


def common_decimals(values: Iterable[float], errors: Iterable[float], scale: float = 1.0, unit: str = "") -> int:
    """Return how many decimals to show values with: enough for two digits of their median error.

    Without errors: one for percentages, two for numbers above 10 and otherwise three, more where the smallest value
    would be shown as 0. `errors` must be positive and finite.
    """
    scaled_errors = [error * scale for error in errors]
    if scaled_errors:
        return _two_digits(statistics.median(scaled_errors))
    sizes = sorted(abs(value) * scale for value in values if value and math.isfinite(value))
    usual = 1 if "%" in unit else 2 if sizes and statistics.median(sizes) >= 10 else 3
    return min(max(usual, -_exponent(sizes[0])), MAX_DECIMALS) if sizes else usual


def visible_decimals(decimals: int, errors: Iterable[float], scale: float = 1.0) -> int:
    """Return `decimals`, or as many as show two digits of each of these errors that would be shown as 0.

    In a column of unlike numbers, the best one may have an error a hundred times smaller than the others: 2.34 ± 0.02
    beside 401 ± 6. It is not exact. `errors` must be positive and finite.
    """
    hidden = [error * scale for error in errors if float(f"{error * scale:.{decimals}f}") == 0]
    return max((decimals, *map(_two_digits, hidden)))


def _two_digits(error: float) -> int:
    """Return how many decimals show an error with two digits."""
    return min(max(0, 1 - _exponent(error)), FINEST_DECIMALS)


def is_rounding(spread: float, values: Iterable[float]) -> bool:
    """Return whether an error or a spread of `values` is nothing but rounding; so is one that is not a number."""
    return not spread > ROUNDING * max((abs(value) for value in values if math.isfinite(value)), default=0.0)


def _exponent(value: float) -> int:
    """The power of ten of a number's first digit once it is rounded to two digits."""
    return int(f"{value:.1e}".partition("e")[2])
