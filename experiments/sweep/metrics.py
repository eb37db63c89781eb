"""Which scores an evaluation is asked for, which of them would mean nothing, and what a score is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edm.config import SPLITS, ClassifierConfig, EvaluationConfig, Features, Split

FILE = "file"  # stands beside the splits: a published statistics file
FITTED = ("fid", "fid_infinity")  # metrics that need a covariance of full rank
WHOLE = ("accuracy", "memorisation")  # of the images as they are, not against each split
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
HEADLINES = ("fid_", "kid_", "class_accuracy")  # how the metrics begin that a person looks for first, best first


def metrics_of(score: str) -> tuple[str, ...]:
    """The metrics that a score is told by."""
    metric, _, name = score.partition("/")
    if metric == "prdc":
        return tuple(f"{each}_{name}" for each in PRDC)
    if metric == "memorisation":
        told = ("nn_ratio_{}", "nn_copied_{}", "nn_copied_{}_se")
        return tuple(name.format(view) for view in ("pixels", "features") for name in told)
    if metric == "truncation":
        return ("truncation_rms",)
    if metric == "fid_infinity":
        return (f"{metric}_{name}", f"{metric}_{name}_se")
    own = "class_accuracy" if metric == "accuracy" else f"{metric}_{name}"
    return (own, *(f"{own}{error}" for error in ERRORS))


def context_of(score: str) -> tuple[str, ...]:
    """The metrics by which those of a score are read: of pure noise, of real images."""
    metric, _, name = score.partition("/")
    if metric in ("fid", "kid"):
        return (f"noise_{metric}_{name}", f"real_{metric}_{name}")
    return tuple(f"real_{own}" for own in metrics_of(score)) if metric == "memorisation" else ()


def headlines(metrics: Mapping[str, float]) -> dict[str, float]:
    """The few metrics to tell in a line."""
    own = {name: value for name, value in metrics.items() if name in METRICS}
    first = next((start for start in HEADLINES if any(name.startswith(start) for name in own)), "")
    return {n: v for n, v in own.items() if n.startswith((first, "class_accuracy")) and "infinity" not in n}


@dataclass(frozen=True)
class MetricRequest:
    """Scores to work out, such as "fid/test", and remarks on those that are left out."""

    scores: tuple[str, ...]
    notes: tuple[str, ...]


def reference_sizes(config: EvaluationConfig, sizes: Mapping[Split, int]) -> dict[Split, int]:
    """How many real images of each split generated ones are compared with: equally many, or all."""
    if config.reference == "all":
        return dict(sizes)
    return dict.fromkeys(sizes, min(sizes.values()))


def describe_reference(config: EvaluationConfig, sizes: Mapping[Split, int]) -> str:
    """The same in words."""
    count = "all" if config.reference == "all" else f"{min(sizes.values()):,}"
    file = f" and {Path(config.statistics).name}" if config.statistics else ""
    return f"{count} real images of each split{file}"


def meaningless(config: EvaluationConfig, sizes: Mapping[Split, int]) -> dict[str, str]:
    """The references to which a Frechet distance would mean nothing, each with the reason: a singular covariance."""
    dimension = DIMENSIONS[config.features]
    if config.images <= dimension:
        reason = f"{config.images:,} images drawn are not above the {dimension:,} dimensions of {config.features}"
        return dict.fromkeys((*SPLITS, FILE), reason)
    reason = "{:,} real images are not above the {:,} dimensions of " + config.features
    counts = reference_sizes(config, sizes)
    return {split: reason.format(count, dimension) for split, count in counts.items() if count <= dimension}


def requested_scores(config: EvaluationConfig, sizes: Mapping[Split, int], deterministic: bool) -> MetricRequest:
    """What `config` asks for, with the kernel distance in place of every Frechet distance that would mean nothing."""
    withheld = meaningless(config, sizes)
    names = (*config.splits, FILE) if config.statistics else config.splits
    scores = dict.fromkeys(_scores(config, names, withheld))
    if config.truncation and deterministic:
        scores["truncation"] = None
    reasons = dict.fromkeys(withheld[name] for name in names if name in withheld and set(FITTED) & set(config.metrics))
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
            elif name != FILE:  # a file has no features to compare one by one
                yield f"{'kid' if metric in FITTED else metric}/{name}"
