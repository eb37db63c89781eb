"""Finds the nearest training images of drawn images, in pixels and in features, to score memorisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from edm.metrics.memorisation import Memorisation, PixelPieces, memorisation, pixel_rows
from edm.pictures import save_pairs
from experiments.store.files import replacing
from experiments.store.layout import PAIRS
from experiments.store.provenance import provenance
from experiments.store.results import BaselineRecord
from experiments.sweep.code_parts import of_features, of_metrics
from experiments.sweep.identity import signature
from experiments.sweep.segments import segment_stop
from experiments.trials.code import code_now
from experiments.trials.evaluation.context import EvaluationContext
from experiments.trials.evaluation.features import FINGERPRINT
from experiments.trials.evaluation.scoring import Scores

CLOSEST = 10  # pairs of images in the picture


@dataclass(frozen=True)
class View:
    """Images as rows to compare, either pixels or features.

    held_out: real images of the val split. train, test: the splits, in parts of rows.
    """

    name: str
    drawn: Tensor
    held_out: Tensor
    train: Sequence[Tensor]
    test: Sequence[Tensor]


def measure_memorisation(context: EvaluationContext, scores: Scores) -> None:
    """Add scores of memorisation in pixels and in features, and write a picture of the closest pairs."""
    real, drawn = context.references, context.first_pixels()[: context.evaluation.config.images]
    count = min(real.count("train"), real.count("test"))
    found: dict[str, Memorisation] = {}
    for view in _views(context, drawn):
        context.reporter.report_other_work(f"nearest training images, {view.name}", 0, len(drawn))
        found[view.name] = memorisation(view.drawn, view.train, view.test, count, context.device)
        scores.metrics |= _metrics(f"nn_{{}}_{view.name}", found[view.name])
        scores.metrics |= _baseline(context, view, count)
    order, closest = real.order("train"), found["features"].closest(CLOSEST)
    neighbours = {name: context.data.images[order[it.nearest.indices[closest, 0]]] for name, it in found.items()}
    distances = {name: it.nearest.distances[closest, 0] for name, it in found.items()}
    with replacing(context.folder / PAIRS) as temporary:
        save_pairs(
            drawn[closest],
            neighbours["pixels"],
            neighbours["features"],
            temporary,
            distances["pixels"],
            distances["features"],
        )


def _views(context: EvaluationContext, drawn: Tensor) -> Iterator[View]:
    real, data = context.references, context.data
    held_out = segment_stop(0, real.count("val"))  # as many as drawn images are kept as pixels
    pixels = {split: PixelPieces(data.images, real.order(split)) for split in ("train", "test")}
    others = pixel_rows(data.images[real.order("val")[:held_out]])
    yield View("pixels", pixel_rows(drawn), others, pixels["train"], pixels["test"])
    features = {split: real.features(split, 0, real.count(split)) for split in ("train", "test")}
    rows = context.feature_cache(context.evaluation.features).measured(0, len(drawn))
    others = torch.cat(list(real.features("val", 0, held_out)))
    yield View("features", torch.cat(list(rows)), others, features["train"], features["test"])


def _metrics(pattern: str, found: Memorisation) -> dict[str, float]:
    return {
        pattern.format("ratio"): found.ratio,
        pattern.format("copied"): found.copied,
        f"{pattern.format('copied')}_se": found.copied_error,
    }


def _baseline(context: EvaluationContext, view: View, count: int) -> Mapping[str, float]:
    """Return the scores of real images of the val split, which cannot be copies; computed once for a data set."""
    space = context.evaluation.features
    content = {"data": context.evaluation.training.data.signature, "view": view.name, "count": count}
    if view.name == "features":
        content |= {"features": space, FINGERPRINT: context.extractor(space).fingerprint}
    identity = signature("scale", **content)

    def build(folder: Path) -> BaselineRecord:
        del folder
        found = memorisation(view.held_out, view.train, view.test, count, context.device)
        code = code_now(context.store, (*of_features(space), *of_metrics(["memorisation"])))
        metrics = _metrics(f"real_nn_{{}}_{view.name}", found)
        return BaselineRecord(metrics=metrics, code=code, provenance=provenance())

    return context.store.ensure(
        BaselineRecord, identity, build, on_wait=context.reporter.raise_if_stop_requested
    ).metrics
