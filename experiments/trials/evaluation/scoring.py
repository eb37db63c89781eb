"""Scores drawn images from their features, with standard errors where there are any."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from edm.config import SPLITS, EvaluationConfig, Extension, Split
from edm.generate import labels_of
from edm.metrics.fid import Frechet, Reference, Statistics, frechet, frechet_distance
from edm.metrics.fid_infinity import fid_infinity
from edm.metrics.kid import kernel_distance, kernel_sums
from edm.metrics.neighbours import prdc, squared_radii
from edm.metrics.uncertainty import interval, standard_error, within_classes
from edm.trying import TrialError, measured_by
from experiments.errors import UserError
from experiments.store.code_files import united
from experiments.store.provenance import provenance
from experiments.store.results import BaselineRecord
from experiments.sweep.code_parts import of_metrics
from experiments.sweep.identity import signature
from experiments.sweep.metrics import FILE, as_split, own_score, reference_sizes, split_score
from experiments.sweep.preparations import baseline_span
from experiments.sweep.tasks import Evaluation
from experiments.trials.code import code_now
from experiments.trials.evaluation.features import MeasuredFeatures
from experiments.trials.evaluation.references import References

NEAREST_K = 5  # for precision, recall, density and coverage (Naeem et al. 2020)
EXTRAPOLATION_SEED = 0

log = logging.getLogger("edm_sweep")


@dataclass
class Scores:
    """Metrics by name, the influence of every image on those that have errors, and notes.

    labels: the class that each image was drawn for; all equal where there are no classes.
    """

    labels: Tensor
    metrics: dict[str, float] = field(default_factory=dict)
    influences: dict[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a note, unless it is there."""
        if text not in self.notes:
            self.notes.append(text)

    def add(self, name: str, value: float, influences: Tensor) -> None:
        """Add a metric with its standard error and 95% interval, from the influence of every image on it."""
        influences = self.compare(name, influences)
        error = standard_error(influences)
        low, high = interval(value, error)
        self.metrics |= {name: value, f"{name}_se": error, f"{name}_low": low, f"{name}_high": high}

    def compare(self, name: str, influences: Tensor) -> Tensor:
        """Let a metric be compared between cells, image by image. Returns the influences less those of classes.

        influences: of all images, or of the first ones.
        """
        influences = within_classes(influences, self.labels[: len(influences)])
        self.influences[name] = influences.float()
        return influences


class Scorer:
    """Scores the first images of an evaluation against real ones."""

    def __init__(
        self, evaluation: Evaluation, measured: MeasuredFeatures, references: References, published: Reference | None
    ) -> None:
        self.evaluation, self.measured, self.real, self.published = evaluation, measured, references, published
        index = torch.arange(measured.num_images)
        self.labels = labels_of(index, evaluation.training.network.num_classes)
        self.radii: dict[int, Tensor] = {}
        self.sizes = reference_sizes(evaluation.config, {split: references.count(split) for split in SPLITS})

    def score(self, wanted: tuple[str, ...]) -> Scores:
        """Return all of `wanted` that depend on features alone: fid, fid_infinity, kid and prdc."""
        scores = Scores(self.labels)
        methods = {"fid": self._fid, "fid_infinity": self._fid_infinity, "kid": self._kid, "prdc": self._prdc}
        for metric, against in map(split_score, wanted):
            if metric in methods:
                self.real.on_phase(f"scoring {metric} against {against}")
                methods[metric](against, scores)
        for metric in (each for each in self.evaluation.config.metrics if isinstance(each, Extension)):
            for split in SPLITS:
                if own_score(metric, split) in wanted:
                    self.real.on_phase(f"scoring {metric} against {split}")
                    self._own(metric, split, scores)
        return scores

    def _own(self, metric: Extension, split: Split, scores: Scores) -> None:
        """Add a metric that an extension defines. Raises UserError where it is no finite number."""
        real = self.real.features(split, 0, self.sizes[split])
        try:
            found = measured_by(metric, *(torch.cat(list(features)).float() for features in (self.measured, real)))
        except TrialError as error:
            raise UserError(f"the metric {metric.name!r} ({metric.where}), against {split}: {error}") from None
        name = f"{metric.name}_{split}"
        if isinstance(found, Tensor):
            scores.add(name, float(found.double().mean()), found.double() - found.double().mean())
        else:
            scores.metrics[name] = found

    @cached_property
    def statistics(self) -> Statistics:
        """The statistics of all images."""
        return self.prefixes[self.measured.num_images]

    @cached_property
    def prefixes(self) -> dict[int, Statistics]:
        """The statistics of the first images, for each prefix and for all, from one pass over the features."""
        counts = self.evaluation.config.prefixes
        return self.measured.prefix_statistics((*counts, self.measured.num_images))

    @cached_property
    def kernel_sums(self) -> Tensor:
        """The part of every kernel distance that depends on the drawn images alone."""
        return kernel_sums(self.measured, self.real.device)

    def _reference(self, against: str) -> Reference:
        if against == FILE:
            assert self.published is not None
            return self.published
        return self.real.reference(as_split(against), self.sizes[as_split(against)])

    def _fid(self, against: str, scores: Scores) -> None:
        found = frechet(self.statistics, self._reference(against))
        scores.add(f"fid_{against}", found.distance, _influences(found, self.measured))
        if found.singular:
            scores.note("the covariance of the images is singular: standard errors by its pseudo-inverse")

    def _fid_infinity(self, against: str, scores: Scores) -> None:
        try:
            found = fid_infinity(self.measured, self._reference(against), EXTRAPOLATION_SEED, self.labels)
        except ValueError as error:
            scores.note(f"no {error}")
            return
        scores.metrics |= {f"fid_infinity_{against}": found.value, f"fid_infinity_{against}_se": found.standard_error}

    def _kid(self, against: str, scores: Scores) -> None:
        split, count = as_split(against), self.sizes[as_split(against)]
        real, mean = self.real.features(split, 0, count), self.real.kernel_mean(split, count)
        found = kernel_distance(self.measured, real, self.real.device, mean, self.kernel_sums)
        scores.add(f"kid_{against}", found.value, found.influences)

    def _prdc(self, against: str, scores: Scores) -> None:
        """Add precision and the like, of equally many images of both kinds, as these metrics depend on the numbers."""
        split = as_split(against)
        count = min(self.sizes[split], self.measured.num_images)
        if count <= NEAREST_K:
            scores.note(f"no precision, recall, density and coverage of {count} images: they need {NEAREST_K + 1}")
            return
        drawn, real = self.measured.first(count), self.real.features(split, 0, count)
        if count not in self.radii:
            self.radii[count] = squared_radii(drawn, NEAREST_K, self.real.device)
        radii = (self.radii[count], self.real.radii(split, count, NEAREST_K))
        found = prdc(drawn, real, NEAREST_K, self.real.device, *radii)
        values = {"precision": found.precision, "recall": found.recall}
        values |= {"density": found.density, "coverage": found.coverage}
        scores.metrics |= {f"{metric}_{against}": value for metric, value in values.items()}

    def at_prefix(self, count: int, wanted: tuple[str, ...]) -> dict[str, float]:
        """Return the FIDs among `wanted` and their standard errors, of the first `count` images alone."""
        row = {"images": float(count)}
        if count <= self.evaluation.features.dimension or count not in self.prefixes:
            return row
        part = self.measured.first(count)
        for metric, against in map(split_score, wanted):
            if metric == "fid":
                found = frechet(self.prefixes[count], self._reference(against))
                error = standard_error(within_classes(_influences(found, part), self.labels[:count]))
                row |= {f"fid_{against}": found.distance, f"fid_{against}_se": error}
        return row


def _influences(found: Frechet, measured: MeasuredFeatures) -> Tensor:
    return torch.cat([found.influences(features) for features in measured])


def class_accuracy(judged: MeasuredFeatures, scores: Scores) -> None:
    """Add the share of images that a classifier assigns to the class they were drawn for."""
    classes = judged.classes()
    assert classes is not None, "the judge is a classifier"
    correct = (classes == scores.labels).double()
    scores.add("class_accuracy", float(correct.mean()), correct - correct.mean())
    for end in ("class_accuracy_low", "class_accuracy_high"):
        scores.metrics[end] = min(max(scores.metrics[end], 0.0), 1.0)


# baselines ----------------------------------------------------------------------------------------


def baseline_scores(references: References, config: EvaluationConfig, wanted: tuple[str, ...]) -> Mapping[str, float]:
    """Return the baselines: scores of pure noise, and of real train images that were held out from the reference.

    wanted: scores of the evaluation, of which fid and kid have baselines. They are computed once for all evaluations
    that share references and number of images.
    """
    pairs = tuple(sorted(score for score in wanted if score.split("/")[0] in ("fid", "kid") and FILE not in score))
    sizes = reference_sizes(config, {split: references.count(split) for split in SPLITS})
    span = baseline_span(config, references.source)
    start, stop = span.start, span.stop
    content = {"data": references.source.signature, "features": references.space, "sizes": sizes, "scores": pairs}
    identity = signature("scale", **content, span=(start, stop), fingerprint=references.extractor.fingerprint)

    def build(folder: Path) -> BaselineRecord:
        del folder
        noise = references.features("noise", 0, references.count("noise"))
        metrics = _scores_of("noise", noise, references, sizes, pairs)
        if stop > start:
            # train images are no baseline where they are compared with themselves
            others = pairs if config.reference == "equal" else tuple(p for p in pairs if not p.endswith("/train"))
            metrics |= _scores_of("real", references.features("train", start, stop), references, sizes, others)
            metrics["real_images"] = float(stop - start)
        code = united(references.code, code_now(references.store, of_metrics(pairs)))
        return BaselineRecord(metrics=metrics, code=code, provenance=provenance())

    return references.store.ensure(BaselineRecord, identity, build, on_wait=references.on_wait).metrics


def _scores_of(
    prefix: str, images: MeasuredFeatures, references: References, sizes: dict[Split, int], pairs: tuple[str, ...]
) -> dict[str, float]:
    """Return the scores of noise or of real images, under names that begin with `prefix`."""
    metrics: dict[str, float] = {}
    statistics = images.statistics()
    for metric, against in map(split_score, pairs):
        split = as_split(against)
        count = sizes[split]
        if metric == "fid" and min(count, images.num_images) > references.space.dimension:
            metrics[f"{prefix}_fid_{split}"] = frechet_distance(statistics, references.reference(split, count))
        if metric == "kid" and images.num_images > 1:
            mean, real = references.kernel_mean(split, count), references.features(split, 0, count)
            metrics[f"{prefix}_kid_{split}"] = kernel_distance(images, real, references.device, mean).value
    return metrics
