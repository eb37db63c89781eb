"""Scores that an evaluation is asked for ("fid/test"), which would mean nothing, and their metrics ("fid_test")."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edm.config import SPLITS, ClassifierConfig, EvaluationConfig, Extension, Features, Split
from reports.metrics import METRICS, declare, shown, title_of

FILE = "file"  # used like a split: a published statistics file
TRUNCATION = "truncation"  # a score that needs the exact solution
FITTED = ("fid", "fid_infinity")  # metrics that need a covariance of full rank
# Scores whose errors or values were mended after results had them: their names in results say which rule they follow,
# so that older ones count as missing and are computed again.
REVISED = {"fid_infinity": "fid_infinity.2"}
WHOLE = ("accuracy", "memorisation")  # metrics of the images themselves, not against each split
OWN_SCORE = re.compile(r"\w+\.[0-9a-f]{20}/\w+")
PRDC = ("precision", "recall", "density", "coverage")

DIMENSIONS: dict[Features, int] = {
    "inception": 2048,
    "dinov2": 1024,
    "classifier": ClassifierConfig().feature_channels,
}

ERRORS = ("_se", "_low", "_high")  # of a metric: standard error and 95% interval
HEADLINES = ("fid_", "kid_", "class_accuracy")  # how the most important metrics begin, best first


def dimension_of(features: Features | Extension) -> int:
    """Return the number of dimensions of a feature space."""
    return features.fact("dimension") if isinstance(features, Extension) else DIMENSIONS[features]


def headlines(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the few metrics to show in one line: FIDs, or else KIDs, and the class accuracy."""
    known = {name: value for name, value in metrics.items() if name in METRICS}
    first = next((start for start in HEADLINES if any(name.startswith(start) for name in known)), "")
    return {n: v for n, v in known.items() if n.startswith((first, "class_accuracy")) and "infinity" not in n}


def headline(metrics: Mapping[str, float]) -> str:
    """Return the headlines of an evaluation as one line, such as "FID test 5.614, class accuracy 95.3 %"."""
    return ", ".join(f"{title_of(name)} {shown(name, value)}" for name, value in headlines(metrics).items())


def split_score(score: str) -> tuple[str, str]:
    """Return what a score such as "fid/test" measures and what against, or "" for scores of the images themselves."""
    metric, _, name = score.partition("/")
    return metric.partition(".")[0], name


def as_split(name: str) -> Split:
    """Return what a score measures against as a split. Raises ValueError where it is none."""
    return SPLITS[SPLITS.index(name)]  # pyright: ignore[reportArgumentType] - raises for another word


def plain_score(score: str) -> str:
    """Return a score without the number of its rule, for people."""
    return "/".join(filter(None, split_score(score)))


def own_score(metric: Extension, split: str) -> str:
    """Return the score of a metric that an extension defines; its code and its options count, as a revision does."""
    content = json.dumps([metric.code, metric.options])
    rule = hashlib.sha256(content.encode()).hexdigest()[:20] if metric.options else metric.code
    return f"{metric.name}.{rule}/{split}"


def is_own_score(score: str) -> bool:
    """Return whether a score is of a metric that an extension defines."""
    return OWN_SCORE.fullmatch(score) is not None


def computable(scores: Iterable[str], config: EvaluationConfig) -> tuple[str, ...]:
    """Return the scores without those of metrics whose code an evaluation with `config` does not have."""
    known = {own_score(metric, split) for metric in config.metrics if isinstance(metric, Extension) for split in SPLITS}
    return tuple(score for score in scores if score in known or not is_own_score(score))


def declare_metrics(configs: Iterable[EvaluationConfig]) -> None:
    """Let reports show the metrics that extensions define."""
    for metric in dict.fromkeys(metric for config in configs for metric in config.metrics):
        if isinstance(metric, Extension):
            declare(metric.name, metric.fact("title", metric.name), metric.fact("better", "lower"))


def with_others(scores: tuple[str, ...], others: Iterable[str]) -> tuple[str, ...]:
    """Return `scores` and those of `others` that they do not repeat, be it by an older rule."""
    own = set(map(split_score, scores))
    return (*scores, *dict.fromkeys(score for score in others if split_score(score) not in own))


def metrics_of(score: str) -> tuple[str, ...]:
    """Return the metrics that a score such as "fid/test" consists of, with their errors."""
    metric, name = split_score(score)
    if metric == "prdc":
        return tuple(f"{each}_{name}" for each in PRDC)
    if metric == "memorisation":
        patterns = ("nn_ratio_{}", "nn_copied_{}", "nn_copied_{}_se")
        return tuple(pattern.format(view) for view in ("pixels", "features") for pattern in patterns)
    if metric == TRUNCATION:
        return ("truncation_rms",)
    if metric == "fid_infinity":
        return (f"{metric}_{name}", f"{metric}_{name}_se")
    own = "class_accuracy" if metric == "accuracy" else f"{metric}_{name}"
    return (own, *(f"{own}{error}" for error in ERRORS))


def baselines_of(score: str) -> tuple[str, ...]:
    """Return the metrics that put a score into context: those of pure noise and of real images."""
    metric, name = split_score(score)
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
    """Return the splits and files to which a Frechet distance would mean nothing, each with the reason.

    With no more images than dimensions, generated or real, a covariance is singular. sizes: of the splits.
    """
    dimension = dimension_of(config.features)
    if config.images <= dimension:
        reason = f"{config.images:,} images drawn are not above the {dimension:,} dimensions of {config.features}"
        return dict.fromkeys((*SPLITS, FILE), reason)
    reason = "{:,} real images are not above the {:,} dimensions of " + str(config.features)
    counts = reference_sizes(config, sizes)
    return {split: reason.format(count, dimension) for split, count in counts.items() if count <= dimension}


def fid_remedy(config: EvaluationConfig, sizes: Mapping[Split, int]) -> str | None:
    """Return which fields to set, all of them together, for every Fréchet distance to mean something.

    None where all do already, or none is asked for. sizes: of the splits.
    """
    dimension, withheld = dimension_of(config.features), meaningless(config, sizes)
    if not set(config.metrics) & set(FITTED) or not withheld.keys() & set(config.splits):
        return None
    changes: list[str] = []
    if config.images <= dimension:
        changes.append(f"evaluation.images above {dimension:,}")
    counts = reference_sizes(config, sizes)
    if any(counts[split] <= dimension for split in config.splits):
        large = [split for split in config.splits if sizes[split] > dimension]
        large = large or [split for split in SPLITS if sizes[split] > dimension]
        if not large:
            return f"for an FID, use features with fewer dimensions, as no split has more than {dimension:,} images"
        if large != list(config.splits):
            changes.append(f"evaluation.splits [{', '.join(large)}]")
        if config.reference != "all":
            changes.append("evaluation.reference all")
    return f"for an FID, set {' and '.join(changes)}" + (" together" if len(changes) > 1 else "")


def requested_scores(config: EvaluationConfig, sizes: Mapping[Split, int], deterministic: bool) -> MetricRequest:
    """Return the scores that a configuration asks for, with KID in place of every FID that would mean nothing.

    sizes: of the splits. deterministic: whether the sampler adds no noise.
    """
    withheld = meaningless(config, sizes)
    names = (*config.splits, FILE) if config.statistics else config.splits
    scores = dict.fromkeys(_scores(config, names, withheld))
    if config.truncation and deterministic:
        scores[TRUNCATION] = None
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
        if isinstance(metric, Extension):
            yield from (own_score(metric, split) for split in config.splits)
            continue
        if metric in WHOLE:
            yield metric
            continue
        for name in names:
            if metric in FITTED and name not in withheld:
                yield f"{REVISED.get(metric, metric)}/{name}"
            elif name != FILE:  # a file holds no features of single images, which all other metrics need
                yield f"{'kid' if metric in FITTED else metric}/{name}"
