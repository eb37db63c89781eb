"""Draw a training's images once, measure them as they come, and score them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from edm.data.prepare import Dataset
from edm.features import Extractor
from edm.files import load_tensors, save_tensors
from edm.generate import generate
from edm.memorisation import Memorisation, PixelPieces, memorisation, pixel_rows
from edm.pictures import save_grid, save_pairs
from edm.precondition import Denoiser
from edm.truncation import exact_images, final_images, truncation_error
from experiments.ingredients import ensure_data, ensure_extractor, load_averaged, load_published
from experiments.measuring import FINGERPRINT, SECONDS, SEGMENT_IMAGES, Measured, References, Shelf, segments
from experiments.plan import Evaluation, FeatureSpace, signature
from experiments.provenance import provenance
from experiments.scoring import Scorer, Scores, class_accuracy, scale
from experiments.sealed import find_sealed, read_sealed, write_sealed
from experiments.store import INFLUENCES, PAIRS, SAMPLES, STATISTICS, Store, replacing
from experiments.trial import Pulse, Setting, write_config

PREVIEW_IMAGES = 100
LOOKED_UP_IMAGES = SEGMENT_IMAGES  # whose nearest training images are looked for: those that are kept as pixels
CLOSEST = 10  # pairs in the picture
IMAGES, EXACT = "images", "images.safetensors"

log = logging.getLogger("edm_sweep")


def run_evaluation(store: Store, evaluation: Evaluation, setting: Setting) -> None:
    """Draw an evaluation's images, or what is missing of them, and score them; the caller holds its lock."""
    done = store.result("evaluations", evaluation.signature)
    if done is not None and evaluation.is_covered_by(done):
        return
    folder = store.folder("evaluations", evaluation.signature)
    write_config(folder, evaluation)
    bench = Bench(store, evaluation, setting)
    count = draw_and_measure(bench)
    before = done["scores"] if done is not None else []
    wanted = tuple(dict.fromkeys((*evaluation.scores, *before)))
    result = _scored(bench, count, wanted)
    files = [name for name in (STATISTICS, INFLUENCES, SAMPLES, PAIRS) if (folder / name).exists()]
    store.finish("evaluations", evaluation.signature, result, files)
    log.info("done: %s", result["metrics"])


class Bench:
    """What one evaluation works with, each part loaded when it is first needed."""

    def __init__(self, store: Store, evaluation: Evaluation, setting: Setting) -> None:
        self.store, self.evaluation, self.setting = store, evaluation, setting
        self.device = setting.device
        self.folder = store.folder("evaluations", evaluation.signature)
        self.drawing = store.folder("drawings", evaluation.drawing)
        self.pulse = Pulse(store, setting, self.folder, "images", evaluation.config.images)
        self.extractors: dict[FeatureSpace, Extractor] = {}

    @cached_property
    def data(self) -> Dataset:
        """The data set."""
        return ensure_data(self.store, self.evaluation.training.data)

    @cached_property
    def models(self) -> tuple[Denoiser, Denoiser | None]:
        """The network that draws, and the one that guides it."""
        evaluation, sampling = self.evaluation, self.evaluation.sampling
        model = load_averaged(self.store, evaluation.training, sampling.ema, self.device)
        if evaluation.guide is None or sampling.guide is None:
            return model, None
        return model, load_averaged(self.store, evaluation.guide, sampling.guide.ema, self.device)

    def extractor(self, space: FeatureSpace) -> Extractor:
        """What measures in a feature space."""
        if space not in self.extractors:
            self.extractors[space] = ensure_extractor(self.store, self.evaluation.training.data, space, self.device)
        return self.extractors[space]

    def shelf(self, space: FeatureSpace) -> Shelf:
        """Where the drawn images' features in a space are."""
        return Shelf(self.drawing / space.signature, self.extractor(space), space.label)

    @cached_property
    def references(self) -> References:
        """What real images measure in the evaluation's own space."""
        source, space = self.evaluation.training.data, self.evaluation.features
        own = (self.extractor(space), self.data, self.device)
        return References(self.store, source, space, *own, self.pulse.other_work, self.pulse.raise_if_stopped)

    def scorer(self, count: int) -> Scorer:
        """What scores the first `count` images."""
        evaluation, published = self.evaluation, None
        if evaluation.statistics is not None:
            published = load_published(self.store, evaluation.statistics, evaluation.features.dimension)
        measured = self.shelf(evaluation.features).measured(0, count)
        return Scorer(evaluation, measured, self.references, published)

    def first_pixels(self) -> Tensor:
        """The first images as they were drawn."""
        path = find_sealed(self.drawing, IMAGES)
        assert path is not None, f"{self.drawing} has no images"
        return load_tensors(path)[IMAGES]


# drawing ------------------------------------------------------------------------------------------


def draw_and_measure(bench: Bench) -> int:
    """Draw what is missing of an evaluation's images, segment by segment; returns how many there are to be scored.

    Fewer than asked for only where the evaluation may stop early and is clearly worse than another.
    """
    evaluation, total = bench.evaluation, bench.evaluation.config.images
    with bench.store.lock("drawings", evaluation.drawing, bench.pulse.raise_if_stopped):
        for start, stop in segments(0, total):
            _draw_segment(bench, start, stop)
            if evaluation.rivals and stop in evaluation.config.prefixes[:-1] and _is_clearly_worse(bench, stop):
                return stop
    return total


def _draw_segment(bench: Bench, start: int, stop: int) -> None:
    """Draw a segment and measure it in every space that lacks it; nothing where it is all there."""
    missing = [s for s in bench.evaluation.spaces if bench.shelf(s).find(start, stop - start) is None]
    keeps_pixels = start == 0 and not _has_pixels(bench, stop)
    bench.pulse.beat(start)
    if not missing and not keeps_pixels:
        return
    bench.pulse.raise_if_stopped()
    began = time.monotonic()
    images = _drawn(bench, start, stop)
    if keeps_pixels:
        write_sealed(bench.drawing, IMAGES, {IMAGES: images})

    def seconds() -> float:
        nonlocal began
        since, began = began, time.monotonic()
        return began - since

    for space in missing:
        bench.shelf(space).measure(start, images, bench.device, seconds)


def _has_pixels(bench: Bench, count: int) -> bool:
    path = find_sealed(bench.drawing, IMAGES)
    tensors = read_sealed(path) if path else None
    return tensors is not None and len(tensors[IMAGES]) >= count


def _drawn(bench: Bench, start: int, stop: int) -> Tensor:
    model, guide = bench.models
    batch, sampling = bench.setting.sampling_batch, bench.evaluation.sampling
    images, done = [], start
    for drawn in generate(model, sampling, start, stop, batch, guide=guide):
        images.append(drawn.images.cpu())
        done += len(drawn.images)
        if bench.pulse.beat(done):
            bench.pulse.raise_if_stopped()
    return torch.cat(images)


def _is_clearly_worse(bench: Bench, count: int) -> bool:
    """Whether, on every split, the FID of the first `count` images lies above the best other cell's at that number."""
    own, confidence = bench.scorer(count).at_prefix(count), bench.evaluation.config.stop_when
    results = [bench.store.result("evaluations", name) for name in bench.evaluation.rivals]
    rows = [row for result in results if result for row in result["prefixes"] if row["images"] == count]
    names = [key for key in own if key.startswith("fid_") and not key.endswith("_se")]
    rows = [row for row in rows if set(names) <= row.keys()]
    if not rows or not names or confidence is None:
        return False
    z = NormalDist().inv_cdf(confidence)
    for name in names:
        best = min(rows, key=lambda row: row[name])
        if own[name] - z * own[f"{name}_se"] <= best[name] + z * best[f"{name}_se"]:
            return False
    log.info("clearly worse than another cell at %d images: no more are drawn", count)
    return True


# scoring ------------------------------------------------------------------------------------------


def _scored(bench: Bench, count: int, wanted: tuple[str, ...]) -> dict[str, Any]:
    """The result of an evaluation: all of `wanted`, of the first `count` images."""
    evaluation, config = bench.evaluation, bench.evaluation.config
    bench.pulse.other_work("scoring", count, count)
    scorer = bench.scorer(count)
    scores = scorer.score(wanted)
    if "accuracy" in wanted:
        _judge(bench, count, scores)
    if "memorisation" in wanted:
        _look_up(bench, scores)
    if "truncation" in wanted:
        scores.metrics["truncation_rms"] = _truncation(bench)
    kinds = tuple(kind for kind in ("fid", "kid") if any(score.startswith(f"{kind}/") for score in wanted))
    fingerprint = bench.extractor(evaluation.features).fingerprint
    _write(bench, scorer, scores, fingerprint)
    return {
        "metrics": scores.metrics | scale(bench.references, config, kinds),
        "scores": list(wanted),
        "notes": [*evaluation.notes, *scores.notes],
        "prefixes": [scorer.at_prefix(n) for n in config.prefixes if n < count] + [_last_prefix(scores, count)],
        "label": evaluation.features.label,
        "images": count,
        "stopped_at": count if count < config.images else None,
        "seconds": _seconds(scorer.measured),
        "flops": evaluation.flops * count / config.images,
        "device": ", ".join(scorer.measured.origins("device")),
        "drawn": {what: scorer.measured.origins(what) for what in ("device", "git_commit", "host")},
        "threads": bench.setting.threads,
        FINGERPRINT: fingerprint,
        "provenance": provenance(),
    }


def _last_prefix(scores: Scores, count: int) -> dict[str, float]:
    """All images, in the manner of Scorer.at_prefix."""
    names = [name for name in scores.influences if name.startswith("fid_")]
    return {"images": float(count)} | {key: scores.metrics[key] for n in names for key in (n, f"{n}_se")}


def _seconds(measured: Measured) -> float:
    """What drawing and measuring took."""
    return float(sum(load_tensors(part.path)[SECONDS] for part in measured.parts))


def _write(bench: Bench, scorer: Scorer, scores: Scores, fingerprint: str) -> None:
    """Leave statistics, influences and a grid of samples in the evaluation's folder."""
    with replacing(bench.folder / STATISTICS) as temporary:
        save_tensors(scorer.statistics.tensors(), temporary, {FINGERPRINT: fingerprint})
    with replacing(bench.folder / INFLUENCES) as temporary:
        save_tensors(scores.influences, temporary)
    with replacing(bench.folder / SAMPLES) as temporary:
        save_grid(bench.first_pixels()[:PREVIEW_IMAGES], temporary)


def _judge(bench: Bench, count: int, scores: Scores) -> None:
    """Class accuracy, where the images were asked to show classes at all."""
    evaluation, num_classes = bench.evaluation, bench.evaluation.training.network.num_classes
    if evaluation.judge is None or not num_classes or evaluation.sampling.guidance == 0:
        return
    class_accuracy(bench.shelf(evaluation.judge).measured(0, count), scores)


def _truncation(bench: Bench) -> float:
    """The sampler's own error, in grey levels, against the solution, which all of a training's samplers share."""
    evaluation, (model, guide) = bench.evaluation, bench.models
    content: dict[str, Any] = {"training": evaluation.training.signature, "sampling": evaluation.sampling.exact()}
    if evaluation.guide is not None:
        content["guide"] = evaluation.guide.signature
    name = signature("exact", **content)

    def build(folder: Path) -> dict[str, Any]:
        def progress(done: int, steps: int) -> None:
            bench.pulse.other_work("the exact solution, steps", done, steps)

        solution = exact_images(model, evaluation.sampling, guide, progress)
        save_tensors({IMAGES: solution}, folder / EXACT)
        return {"provenance": provenance()}

    bench.store.ensure("exact", name, build, [EXACT], bench.pulse.raise_if_stopped)
    solution = load_tensors(bench.store.checked("exact", name, EXACT))[IMAGES]
    return truncation_error(final_images(model, evaluation.sampling, guide), solution)


# memorisation -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """One way to look at images: queries, and the train and test splits in pieces of rows."""

    name: str
    drawn: Tensor
    held_out: Tensor
    train: Sequence[Tensor]
    test: Sequence[Tensor]


def _look_up(bench: Bench, scores: Scores) -> None:
    """Nearest training images of the first images, in pixels and in features, and a picture of the closest pairs."""
    real, drawn = bench.references, bench.first_pixels()[: bench.evaluation.config.images]
    count = min(real.count("train"), real.count("test"))
    found: dict[str, Memorisation] = {}
    for view in _views(bench, drawn):
        bench.pulse.other_work(f"nearest training images, {view.name}", 0, len(drawn))
        found[view.name] = memorisation(view.drawn, view.train, view.test, count, bench.device)
        scores.metrics |= _told(f"nn_{{}}_{view.name}", found[view.name])
        scores.metrics |= _floor(bench, view, count)
    order, closest = real.order("train"), found["features"].closest(CLOSEST)
    neighbours = {name: bench.data.images[order[it.nearest.indices[closest, 0]]] for name, it in found.items()}
    distances = {name: it.nearest.distances[closest, 0] for name, it in found.items()}
    with replacing(bench.folder / PAIRS) as temporary:
        save_pairs(
            drawn[closest],
            neighbours["pixels"],
            neighbours["features"],
            temporary,
            distances["pixels"],
            distances["features"],
        )


def _views(bench: Bench, drawn: Tensor) -> Iterator[View]:
    real, data = bench.references, bench.data
    held_out = min(LOOKED_UP_IMAGES, real.count("val"))
    pixels = {split: PixelPieces(data.images, real.order(split)) for split in ("train", "test")}
    others = pixel_rows(data.images[real.order("val")[:held_out]])
    yield View("pixels", pixel_rows(drawn), others, pixels["train"], pixels["test"])
    features = {split: real.features(split, 0, real.count(split)) for split in ("train", "test")}
    rows = bench.shelf(bench.evaluation.features).measured(0, len(drawn))
    others = torch.cat(list(real.features("val", 0, held_out)))
    yield View("features", torch.cat(list(rows)), others, features["train"], features["test"])


def _told(name: str, found: Memorisation) -> dict[str, float]:
    return {
        name.format("ratio"): found.ratio,
        name.format("copied"): found.copied,
        f"{name.format('copied')}_se": found.copied_error,
    }


def _floor(bench: Bench, view: View, count: int) -> dict[str, float]:
    """What held-out real images of the val split score, which cannot have been copied: once for a data set."""
    space = bench.evaluation.features
    content = {"data": bench.evaluation.training.data.signature, "view": view.name, "count": count}
    if view.name == "features":
        content |= {"features": space, FINGERPRINT: bench.extractor(space).fingerprint}
    name = signature("scale", **content)

    def build(folder: Path) -> dict[str, Any]:
        del folder
        found = memorisation(view.held_out, view.train, view.test, count, bench.device)
        return {"metrics": _told(f"real_nn_{{}}_{view.name}", found)}

    return bench.store.ensure("scales", name, build, on_wait=bench.pulse.raise_if_stopped)["metrics"]
