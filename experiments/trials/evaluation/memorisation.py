"""Finds the nearest training images of drawn images, in pixels and in features, to score memorisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from edm.config import Split
from edm.metrics.memorisation import Memorisation, PixelPieces, memorisation, pixel_rows
from edm.pictures import save_pairs
from experiments.store.files import replacing
from experiments.store.layout import PAIRS
from experiments.store.provenance import provenance
from experiments.store.results import BaselineRecord
from experiments.sweep.code_parts import of_features, of_metrics
from experiments.sweep.identity import signature
from experiments.sweep.preparations import compared_images
from experiments.trials.code import code_now
from experiments.trials.evaluation.context import EvaluationContext
from experiments.trials.evaluation.features import FINGERPRINT, MeasuredFeatures
from experiments.trials.evaluation.references import References
from experiments.trials.evaluation.scoring import Scores

CLOSEST = 10  # pairs of images in the picture
PIXELS, FEATURES = "pixels", "features"  # what images are compared by


@dataclass(frozen=True)
class View:
    """Real images as rows to compare with, either pixels or features.

    held_out: images of the val split. train, test: the splits, in parts of rows.
    """

    name: str
    held_out: Tensor
    train: Sequence[Tensor]
    test: Sequence[Tensor]


def measure_memorisation(context: EvaluationContext, scores: Scores) -> None:
    """Add scores of memorisation in pixels and in features, and write a picture of the closest pairs."""
    real, drawn = context.references, context.first_pixels()[: context.evaluation.config.images]
    count = _count(real)
    found: dict[str, Memorisation] = {}
    for view in real_views(real):
        context.reporter.phase(f"looking for the nearest training images, {view.name}")
        rows = pixel_rows(drawn) if view.name == PIXELS else _drawn_features(context, len(drawn))
        found[view.name] = memorisation(rows, view.train, view.test, count, context.device)
        scores.metrics |= _metrics(f"nn_{{}}_{view.name}", found[view.name])
        scores.compare(f"nn_copied_{view.name}", found[view.name].shares.cpu())
        scores.metrics |= baseline_memorisation(real, view)
    order, closest = real.order("train"), found[FEATURES].closest(CLOSEST)
    neighbours = {name: context.data.images[order[it.nearest.indices[closest, 0]]] for name, it in found.items()}
    distances = {name: it.nearest.distances[closest, 0] for name, it in found.items()}
    with replacing(context.folder / PAIRS) as temporary:
        save_pairs(
            drawn[closest],
            neighbours[PIXELS],
            neighbours[FEATURES],
            temporary,
            distances[PIXELS],
            distances[FEATURES],
        )


def _drawn_features(context: EvaluationContext, count: int) -> Tensor:
    rows = context.feature_cache(context.evaluation.features).measured(0, count)
    return torch.cat(list(rows))


def real_views(real: References) -> Iterator[View]:
    """Yield the pixels and then the features of the real images that memorisation looks at."""
    counts, data = compared_images(real.source), real.data

    def pixels(split: Split) -> PixelPieces:
        read = partial(real.on_phase, f"looking for the nearest training images, {PIXELS}")
        return PixelPieces(data.images, real.order(split), on_read=read)

    yield View(PIXELS, pixel_rows(data.images[real.order("val")[: counts["val"]]]), pixels("train"), pixels("test"))
    features: dict[Split, MeasuredFeatures] = {split: real.features(split, 0, n) for split, n in counts.items()}
    yield View(FEATURES, torch.cat(list(features["val"])), features["train"], features["test"])


def _count(real: References) -> int:
    """How many images of train and of test are compared: equally many."""
    return min(real.count("train"), real.count("test"))


def _metrics(pattern: str, found: Memorisation) -> dict[str, float]:
    return {
        pattern.format("ratio"): found.ratio,
        pattern.format("copied"): found.copied,
        f"{pattern.format('copied')}_se": found.copied_error,
    }


def baseline_memorisation(real: References, view: View) -> Mapping[str, float]:
    """Return the scores of real images of the val split, which cannot be copies; computed once for a data set."""
    count = _count(real)
    content = {"data": real.source.signature, "view": view.name, "count": count}
    if view.name == FEATURES:
        content |= {"features": real.space, FINGERPRINT: real.extractor.fingerprint}
    identity = signature("scale", **content)

    def build(folder: Path) -> BaselineRecord:
        del folder
        real.on_phase(f"looking for the nearest training images of real ones, {view.name}")
        found = memorisation(view.held_out, view.train, view.test, count, real.device)
        code = code_now(real.store, (*of_features(real.space), *of_metrics(["memorisation"])))
        metrics = _metrics(f"real_nn_{{}}_{view.name}", found)
        return BaselineRecord(metrics=metrics, code=code, provenance=provenance())

    return real.store.ensure(BaselineRecord, identity, build, on_wait=real.on_wait).metrics
