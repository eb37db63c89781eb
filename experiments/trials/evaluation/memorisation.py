"""Nearest training images of drawn images, in pixels and in features."""

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
from experiments.store.results import ScaleRecord
from experiments.sweep.identity import signature
from experiments.sweep.segments import segment_stop
from experiments.trials.evaluation.context import EvaluationContext
from experiments.trials.evaluation.features import FINGERPRINT
from experiments.trials.evaluation.scoring import Scores

CLOSEST = 10  # pairs in the picture


@dataclass(frozen=True)
class View:
    """One way to look at images: queries, and the train and test splits in tasks of rows."""

    name: str
    drawn: Tensor
    held_out: Tensor
    train: Sequence[Tensor]
    test: Sequence[Tensor]


def measure_memorisation(context: EvaluationContext, scores: Scores) -> None:
    """Nearest training images of the first images, in pixels and in features, and a picture of the closest pairs."""
    real, drawn = context.references, context.first_pixels()[: context.evaluation.config.images]
    count = min(real.count("train"), real.count("test"))
    found: dict[str, Memorisation] = {}
    for view in _views(context, drawn):
        context.reporter.report_other_work(f"nearest training images, {view.name}", 0, len(drawn))
        found[view.name] = memorisation(view.drawn, view.train, view.test, count, context.device)
        scores.metrics |= _told(f"nn_{{}}_{view.name}", found[view.name])
        scores.metrics |= _floor(context, view, count)
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
    held_out = segment_stop(0, real.count("val"))  # as many as there are drawn images kept as pixels
    pixels = {split: PixelPieces(data.images, real.order(split)) for split in ("train", "test")}
    others = pixel_rows(data.images[real.order("val")[:held_out]])
    yield View("pixels", pixel_rows(drawn), others, pixels["train"], pixels["test"])
    features = {split: real.features(split, 0, real.count(split)) for split in ("train", "test")}
    rows = context.feature_cache(context.evaluation.features).measured(0, len(drawn))
    others = torch.cat(list(real.features("val", 0, held_out)))
    yield View("features", torch.cat(list(rows)), others, features["train"], features["test"])


def _told(name: str, found: Memorisation) -> dict[str, float]:
    return {
        name.format("ratio"): found.ratio,
        name.format("copied"): found.copied,
        f"{name.format('copied')}_se": found.copied_error,
    }


def _floor(context: EvaluationContext, view: View, count: int) -> Mapping[str, float]:
    """What held-out real images of the val split score, which cannot have been copied: once for a data set."""
    space = context.evaluation.features
    content = {"data": context.evaluation.training.data.signature, "view": view.name, "count": count}
    if view.name == "features":
        content |= {"features": space, FINGERPRINT: context.extractor(space).fingerprint}
    name = signature("scale", **content)

    def build(folder: Path) -> ScaleRecord:
        del folder
        found = memorisation(view.held_out, view.train, view.test, count, context.device)
        return ScaleRecord(metrics=_told(f"real_nn_{{}}_{view.name}", found), provenance=provenance())

    return context.store.ensure(ScaleRecord, name, build, on_wait=context.reporter.raise_if_stopped).metrics
