"""Which scores an evaluation is asked for, which of them would mean nothing, and how a score's metrics are shown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edm.config import SPLITS, ClassifierConfig, EvaluationConfig, Features, Split

FILE = "file"  # used like a split: a published statistics file
FITTED = ("fid", "fid_infinity")  # metrics that need a covariance of full rank
WHOLE = ("accuracy", "memorisation")  # metrics of the images themselves, not against each split
PRDC = ("precision", "recall", "density", "coverage")

DIMENSIONS: dict[Features, int] = {
    "inception": 2048,
    "dinov2": 1024,
    "classifier": ClassifierConfig().feature_channels,
}

METRICS = (
    *(f"{metric}_{name}" for metric in FITTED for name in (*SPLITS, FILE)),
    *(f"{metric}_{split}" for metric in ("kid", *PRDC) for split in SPLITS),
    "class_accuracy",
    "truncation_rms",
    "nn_ratio_pixels",
    "nn_ratio_features",
    "nn_copied_pixels",
    "nn_copied_features",
)
ERRORS = ("_se", "_low", "_high")  # of a metric: standard error and 95% interval
HEADLINES = ("fid_", "kid_", "class_accuracy")  # how the most important metrics begin, best first


# showing ------------------------------------------------------------------------------------------

# What log lines and the terminal show of a metric: its title, which may name a scale, the scale itself and a unit.
# Reports have a table of their own (reports/metrics.py), which a test compares with this one.
TITLES = {
    "fid": "FID",
    "fid_infinity": "FID inf",
    "kid": "KID x10^3",
    **{metric: metric for metric in PRDC},
    "class_accuracy": "class accuracy",
    "truncation_rms": "truncation error",
    "nn_ratio_pixels": "distance ratio, pixels",
    "nn_ratio_features": "distance ratio, features",
    "nn_copied_pixels": "copied, pixels",
    "nn_copied_features": "copied, features",
}
PERCENTAGES = ("class_accuracy", "nn_copied_pixels", "nn_copied_features")
MAX_DECIMALS = 6


def metric_title(name: str) -> str:
    """Return the title of a metric, such as "KID x10^3 test" for kid_test; any other name stays as it is."""
    stem, _, split = name.rpartition("_")
    return TITLES.get(name) or (f"{TITLES[stem]} {split}" if stem in TITLES else name)


def scale_of(name: str) -> tuple[float, str]:
    """Return the factor by which a metric is shown, and the unit that follows it."""
    if name in PERCENTAGES:
        return 100.0, " %"
    return (1000.0 if name.startswith("kid_") else 1.0), ""


def shown_metric(name: str, value: float, margin: float | None = None, sign: bool = False) -> str:
    """Return a metric's value as people read it, such as "95.3 ± 1.3 %".

    margin: half of the 95% interval; decides how many decimals are shown. sign: write + before a positive value.
    """
    scale, unit = scale_of(name)
    known = margin is not None and math.isfinite(margin) and margin > 0
    scaled_margin = margin * scale if known and margin is not None else None
    decimals = _decimals(value * scale, scaled_margin, unit)
    error = "" if scaled_margin is None else f" ± {scaled_margin:.{decimals}f}"
    return f"{value * scale:{'+' if sign else ''}.{decimals}f}{error}{unit}"


def _decimals(value: float, margin: float | None, unit: str) -> int:
    """Decimals for two digits of the margin; without one, 1 for percentages, 2 above 10, else 3, more where needed."""
    if margin is not None:
        return min(max(0, 1 - _exponent(margin)), MAX_DECIMALS)
    usual = 1 if unit else 2 if abs(value) >= 10 and math.isfinite(value) else 3
    return min(max(usual, -_exponent(abs(value))), MAX_DECIMALS) if value and math.isfinite(value) else usual


def _exponent(value: float) -> int:
    """The power of ten of a number's first digit once it is rounded to two digits."""
    return int(f"{value:.1e}".partition("e")[2])


def headlines(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the few metrics to show in one line: FIDs, or else KIDs, and the class accuracy."""
    known = {name: value for name, value in metrics.items() if name in METRICS}
    first = next((start for start in HEADLINES if any(name.startswith(start) for name in known)), "")
    return {n: v for n, v in known.items() if n.startswith((first, "class_accuracy")) and "infinity" not in n}


def metrics_line(metrics: Mapping[str, float]) -> str:
    """Return metrics as one line, such as "FID test 5.614, class accuracy 95.3 %"."""
    return ", ".join(f"{metric_title(name)} {shown_metric(name, value)}" for name, value in metrics.items())


# scores and their metrics -------------------------------------------------------------------------


def metrics_of(score: str) -> tuple[str, ...]:
    """Return the metrics that a score such as "fid/test" consists of, with their errors."""
    metric, _, name = score.partition("/")
    if metric == "prdc":
        return tuple(f"{each}_{name}" for each in PRDC)
    if metric == "memorisation":
        patterns = ("nn_ratio_{}", "nn_copied_{}", "nn_copied_{}_se")
        return tuple(pattern.format(view) for view in ("pixels", "features") for pattern in patterns)
    if metric == "truncation":
        return ("truncation_rms",)
    if metric == "fid_infinity":
        return (f"{metric}_{name}", f"{metric}_{name}_se")
    own = "class_accuracy" if metric == "accuracy" else f"{metric}_{name}"
    return (own, *(f"{own}{error}" for error in ERRORS))


def context_of(score: str) -> tuple[str, ...]:
    """Return the metrics that put a score into context: those of pure noise and of real images."""
    metric, _, name = score.partition("/")
    if metric in ("fid", "kid"):
        return (f"noise_{metric}_{name}", f"real_{metric}_{name}")
    return tuple(f"real_{own}" for own in metrics_of(score)) if metric == "memorisation" else ()


# what to compute ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class MetricRequest:
    """Scores to compute, such as "fid/test", and notes about scores that are left out."""

    scores: tuple[str, ...]
    notes: tuple[str, ...]


def reference_sizes(config: EvaluationConfig, sizes: Mapping[Split, int]) -> dict[Split, int]:
    """Return how many real images of each split generated ones are compared with. sizes: of the splits."""
    if config.reference == "all":
        return dict(sizes)
    return dict.fromkeys(sizes, min(sizes.values()))


def describe_reference(config: EvaluationConfig, sizes: Mapping[Split, int]) -> str:
    """Return a description of what generated images are compared with. sizes: of the splits."""
    count = "all" if config.reference == "all" else f"{min(sizes.values()):,}"
    file = f" and {Path(config.statistics).name}" if config.statistics else ""
    return f"{count} real images of each split{file}"


def meaningless(config: EvaluationConfig, sizes: Mapping[Split, int]) -> dict[str, str]:
    """Return the splits and files to which a Fréchet distance would mean nothing, each with the reason.

    With no more images than dimensions, generated or real, a covariance is singular. sizes: of the splits.
    """
    dimension = DIMENSIONS[config.features]
    if config.images <= dimension:
        reason = f"{config.images:,} images drawn are not above the {dimension:,} dimensions of {config.features}"
        return dict.fromkeys((*SPLITS, FILE), reason)
    reason = "{:,} real images are not above the {:,} dimensions of " + config.features
    counts = reference_sizes(config, sizes)
    return {split: reason.format(count, dimension) for split, count in counts.items() if count <= dimension}


def requested_scores(config: EvaluationConfig, sizes: Mapping[Split, int], deterministic: bool) -> MetricRequest:
    """Return the scores that a configuration asks for, with KID in place of every FID that would mean nothing.

    sizes: of the splits. deterministic: whether the sampler adds no noise.
    """
    withheld = meaningless(config, sizes)
    names = (*config.splits, FILE) if config.statistics else config.splits
    scores = dict.fromkeys(_scores(config, names, withheld))
    if config.truncation and deterministic:
        scores["truncation"] = None
    reasons = dict.fromkeys(withheld[name] for name in names if name in withheld and set(FITTED) & set(config.metrics))
    # notes end up in results.csv: a new wording would change the tables of sweeps that are done
    notes = [f"no FID, KID instead: {reason} features, so that a covariance is singular" for reason in reasons]
    if config.truncation and not deterministic:
        notes.append("no truncation error of samplers that add noise: they follow no one solution")
    return MetricRequest(tuple(scores), tuple(notes))


def _scores(config: EvaluationConfig, names: tuple[str, ...], withheld: Mapping[str, str]) -> Iterator[str]:
    if config.features == "classifier":
        yield "accuracy"
    for metric in config.metrics:
        if metric in WHOLE:
            yield metric
            continue
        for name in names:
            if metric in FITTED and name not in withheld:
                yield f"{metric}/{name}"
            elif name != FILE:  # a file holds no features of single images, which all other metrics need
                yield f"{'kid' if metric in FITTED else metric}/{name}"
