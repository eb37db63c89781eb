"""Draw a training's images once, measure them as they come, and score them."""

from __future__ import annotations

import functools
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

from edm.data.dataset import Dataset
from edm.features import Extractor
from edm.files import MODEL, load_tensors, save_tensors
from edm.generate import generate
from edm.memorisation import Memorisation, PixelPieces, memorisation, pixel_rows
from edm.pictures import save_grid, save_pairs
from edm.precondition import Denoiser
from edm.truncation import exact_images, final_images, truncation_error
from experiments.faults import is_out_of_memory
from experiments.ingredients import ensure_data, ensure_extractor, forget_extractors, load_averaged, load_published
from experiments.leases import Held
from experiments.measuring import FINGERPRINT, SECONDS, Measured, References, Shelf, segments
from experiments.planning import SEGMENT_IMAGES, Evaluation, FeatureSpace, Training, signature
from experiments.provenance import provenance
from experiments.scores import headlines
from experiments.scoring import Scorer, Scores, class_accuracy, scale
from experiments.sealed import load_sealed, write_sealed
from experiments.store import INFLUENCES, PAIRS, SAMPLES, STATISTICS, Store, replacing
from experiments.trial import Pulse, Setting, write_config

PREVIEW_IMAGES = 100
LOOKED_UP_IMAGES = SEGMENT_IMAGES  # whose nearest training images are looked for: those that are kept as pixels
CLOSEST = 10  # pairs in the picture
WAIT_S = 0.5  # between looks for what somebody else draws
IMAGES, EXACT = "images", "images.safetensors"

log = logging.getLogger("edm_sweep")


def run_evaluation(store: Store, evaluation: Evaluation, setting: Setting) -> None:
    """Draw an evaluation's images, or what is missing of them, and score them; the caller holds its lock."""
    done = store.result("evaluations", evaluation.signature)
    if done is not None and evaluation.is_covered_by(done):
        return
    folder = store.folder("evaluations", evaluation.signature)
    write_config(folder, evaluation)
    before = done or {"scores": [], "notes": []}
    bench = Bench(store, evaluation, setting, tuple(dict.fromkeys((*evaluation.scores, *before["scores"]))))
    # held while the features are read, too: who wants more of these images replaces a segment that is cut short
    with store.lock("drawings", evaluation.drawing, bench.pulse.raise_if_stopped):
        extent = _extent(bench, done)
        result = _scored(bench, extent, before["notes"])
        for start, _ in segments(0, extent.count):
            store.forget("segments", evaluation.segment_name(start))
    files = [name for name in (STATISTICS, INFLUENCES, SAMPLES, PAIRS) if (folder / name).exists()]
    store.finish("evaluations", evaluation.signature, result, files)
    log.info("done: %s", ", ".join(f"{name} {value:.4f}" for name, value in headlines(result["metrics"]).items()))


@dataclass(frozen=True)
class Extent:
    """How many images are scored, and the rival that an evaluation was stopped for, where it was."""

    count: int
    stopped_by: str | None = None


def _extent(bench: Bench, done: dict[str, Any] | None) -> Extent:
    """Draw what is missing; what was finished before stays what it was, unless it was stopped for a stranger."""
    if done is None:
        return draw_and_measure(bench)
    rival = done["stopped_by"]
    known = Extent(done["images"], rival) if rival is None or rival in bench.evaluation.rivals else None
    if known is None:
        return draw_and_measure(bench)
    _draw_all(bench, known.count)
    return known


class Bench:
    """What one evaluation works with, each part loaded when it is first needed."""

    def __init__(
        self, store: Store, evaluation: Evaluation, setting: Setting, wanted: tuple[str, ...] | None = None
    ) -> None:
        self.store, self.evaluation, self.setting = store, evaluation, setting
        self.wanted = evaluation.scores if wanted is None else wanted
        self.device = setting.device
        self.folder = store.folder("evaluations", evaluation.signature)
        self.drawing = store.folder("drawings", evaluation.drawing)
        self.pulse = Pulse(store, setting, self.folder, "images", evaluation.config.images)
        self.batch = setting.sampling_batch
        self.began = time.time()
        self.extractors: dict[FeatureSpace, Extractor] = {}

    @cached_property
    def data(self) -> Dataset:
        """The data set."""
        return ensure_data(self.store, self.evaluation.training.data)

    @cached_property
    def models(self) -> tuple[Denoiser, Denoiser | None]:
        """The network that draws, and the one that guides it."""
        evaluation, sampling = self.evaluation, self.evaluation.sampling
        model = self._model(evaluation.training, sampling.ema)
        if evaluation.guide is None or sampling.guide is None:
            return model, None
        return model, self._model(evaluation.guide, sampling.guide.ema)

    def _model(self, training: Training, width: float | None) -> Denoiser:
        result = self.store.finished("trainings", training.signature)
        return _loaded(self.store.root, training, width, self.device, result["files"][MODEL])

    def extractor(self, space: FeatureSpace) -> Extractor:
        """What measures in a feature space."""
        if space not in self.extractors:
            source, wait = self.evaluation.training.data, self.pulse.raise_if_stopped
            self.extractors[space] = ensure_extractor(self.store, source, space, self.device, wait)
        return self.extractors[space]

    def shelf(self, space: FeatureSpace) -> Shelf:
        """Where the drawn images' features in a space are."""
        return Shelf(self.drawing / space.signature, self.extractor(space), space.label)

    @cached_property
    def spaces(self) -> dict[FeatureSpace, int]:
        """The feature spaces that the images are measured in, and how many of them in each."""
        evaluation, wanted = self.evaluation, dict(self.evaluation.spaces)
        for space in (evaluation.features, evaluation.judge) if "accuracy" in self.wanted else (evaluation.features,):
            wanted[space] = max(wanted.get(space, 0), evaluation.config.images)
        return wanted

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
        tensors = load_sealed(self.drawing, IMAGES)
        assert tensors is not None, f"{self.drawing} has no images"
        return tensors[IMAGES]


@functools.lru_cache(maxsize=2)
def _loaded(root: Path, training: Training, width: float | None, device: torch.device, checksum: str) -> Denoiser:
    """A network to draw from, kept by a worker from one evaluation to the next."""
    del checksum  # part of the key: a network that was trained anew is another one
    return load_averaged(Store(root), training, width, device)


def forget_models() -> None:
    """Give back the memory of the networks that a worker has kept, those that measure as well."""
    _loaded.cache_clear()
    forget_extractors()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# drawing ------------------------------------------------------------------------------------------


def help_draw(store: Store, evaluation: Evaluation, setting: Setting) -> None:
    """Draw segments of an evaluation that nobody has begun, from the end on; another trial holds it, and scores it."""
    done = store.result("evaluations", evaluation.signature)
    if done is not None and evaluation.is_covered_by(done):
        return
    bench = Bench(store, evaluation, setting)
    bench.pulse.silent = True
    for start, stop in reversed(list(segments(0, evaluation.config.images))):
        # one that is there, be it cut short, may be read just now by who holds the drawing
        if not list((bench.drawing / evaluation.features.signature).glob(f"{start:08d}-*")):
            _try_segment(bench, start, stop)
            store.forget("segments", evaluation.segment_name(start))


def draw_and_measure(bench: Bench) -> Extent:
    """Draw what is missing of an evaluation's images, segment by segment; the caller holds the drawing's lock.

    Fewer than asked for only where the evaluation may stop early and is clearly worse than another. That is asked only
    where nothing more has been drawn yet: nothing is thrown away.
    """
    evaluation, total = bench.evaluation, bench.evaluation.config.images
    if not evaluation.rivals:
        _draw_all(bench, total)
        return Extent(total)
    for start, stop in segments(0, total):
        _draw_segment(bench, start, stop)
        asks = stop in evaluation.config.prefixes[:-1]
        if asks and bench.shelf(evaluation.features).find(stop, 1) is None:
            rival = _clearly_better(bench, stop)
            if rival is not None:
                log.info("clearly worse than %s at %d images: no more are drawn", rival, stop)
                return Extent(stop, rival)
    return Extent(total)


def _draw_all(bench: Bench, count: int) -> None:
    """Draw all segments, but for those that helpers are at: these are waited for."""
    left = list(segments(0, count))
    while True:
        left = [span for span in left if not _try_segment(bench, *span)]
        if not left:
            return
        time.sleep(WAIT_S)
        bench.pulse.raise_if_stopped()


def _try_segment(bench: Bench, start: int, stop: int) -> bool:
    """Draw a segment unless it is there; False where somebody else is at it."""
    try:
        with bench.store.try_lock("segments", bench.evaluation.segment_name(start)):
            _draw_segment(bench, start, stop)
    except Held:
        return False
    return True


def _draw_segment(bench: Bench, start: int, stop: int) -> None:
    """Draw a segment and measure it in every space that lacks it; nothing where it is all there."""
    spaces = [space for space, images in bench.spaces.items() if start < images]
    missing = [space for space in spaces if bench.shelf(space).find(start, stop - start) is None]
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
    tensors = load_sealed(bench.drawing, IMAGES)
    return tensors is not None and len(tensors[IMAGES]) >= count


def _drawn(bench: Bench, start: int, stop: int) -> Tensor:
    model, guide = bench.models
    images, done = [], start
    while done < stop:
        try:
            for drawn in generate(model, bench.evaluation.sampling, done, stop, bench.batch, guide=guide):
                images.append(drawn.images.cpu())
                done += len(drawn.images)
                if bench.pulse.beat(done):
                    bench.pulse.raise_if_stopped()
        except RuntimeError as error:
            if not is_out_of_memory(error) or bench.batch == 1:
                raise
            bench.batch = -(-bench.batch // 2)  # the images are the same: each depends on its index alone
            log.warning("out of memory: drawing %d images at once", bench.batch)
    return torch.cat(images)


def _clearly_better(bench: Bench, count: int) -> str | None:
    """The rival whose FIDs of the first `count` images lie clearly below this evaluation's, on every split."""
    evaluation, confidence = bench.evaluation, bench.evaluation.config.stop_when
    own = bench.scorer(count).at_prefix(count, bench.wanted)
    names = [key for key in own if key.startswith("fid_") and not key.endswith("_se")]
    if not names or confidence is None:
        return None
    z = NormalDist().inv_cdf(confidence)
    strangers = [name for name in evaluation.rivals if name not in evaluation.kin]
    results = {name: bench.store.result("evaluations", name) for name in strangers}
    rows: dict[str, dict[str, float]] = {
        name: row
        for name, result in results.items()
        if result is not None
        for row in result["prefixes"]
        if row["images"] == count
    }
    better = [
        rival
        for rival, row in rows.items()
        if set(names) <= row.keys()
        and all(own[name] - z * own[f"{name}_se"] > row[name] + z * row[f"{name}_se"] for name in names)
    ]
    return min(better, key=lambda rival: rows[rival][names[-1]], default=None)


# scoring ------------------------------------------------------------------------------------------


def _scored(bench: Bench, extent: Extent, notes: list[str]) -> dict[str, Any]:
    """The result of an evaluation: all that is wanted, of the first images; `notes` are those of earlier scores."""
    evaluation, config, wanted, count = bench.evaluation, bench.evaluation.config, bench.wanted, extent.count
    began = time.monotonic()
    bench.pulse.other_work("scoring", count, count)
    scorer = bench.scorer(count)
    scores = scorer.score(wanted)
    if "accuracy" in wanted:
        _judge(bench, count, scores)
    if "memorisation" in wanted:
        _look_up(bench, scores)
    if "truncation" in wanted:
        scores.metrics["truncation_rms"] = _truncation(bench)
    fingerprint = bench.extractor(evaluation.features).fingerprint
    _write(bench, scorer, scores, fingerprint)
    return {
        "metrics": scores.metrics | scale(bench.references, config, wanted),
        "scores": list(wanted),
        "notes": list(dict.fromkeys((*evaluation.notes, *notes, *scores.notes))),
        "prefixes": [*(scorer.at_prefix(n, wanted) for n in config.prefixes if n < count), _last_prefix(scores, count)],
        "label": evaluation.features.label,
        "images": count,
        "stopped_at": count if extent.stopped_by else None,
        "stopped_by": extent.stopped_by,
        "seconds": _seconds(scorer.measured),
        "scoring_seconds": time.monotonic() - began,
        "flops": evaluation.flops * count / config.images,
        "device": ", ".join(scorer.measured.origins("device")),
        "drawn": {what: scorer.measured.origins(what) for what in ("device", "git_commit", "host")},
        "threads": bench.setting.threads,
        FINGERPRINT: fingerprint,
        "provenance": provenance(bench.setting.told, bench.began),
    }


def _last_prefix(scores: Scores, count: int) -> dict[str, float]:
    """All images, in the manner of Scorer.at_prefix."""
    names = [name for name in scores.influences if name.startswith("fid_")]
    return {"images": float(count)} | {key: scores.metrics[key] for n in names for key in (n, f"{n}_se")}


def _seconds(measured: Measured) -> float:
    """What drawing and measuring took."""
    return sum(float(Measured.whole(SECONDS, part)) for part in measured.parts)


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
    evaluation = bench.evaluation
    if not evaluation.training.network.num_classes or evaluation.sampling.guidance == 0:
        scores.note("no class accuracy of images that were asked for no class")
        return
    class_accuracy(bench.shelf(evaluation.judge).measured(0, count), scores)


def _truncation(bench: Bench) -> float:
    """The sampler's own error, in grey levels, against the solution, which all of a training's samplers share."""
    evaluation, (model, guide) = bench.evaluation, bench.models
    name = evaluation.solution

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
        return {"metrics": _told(f"real_nn_{{}}_{view.name}", found), "provenance": provenance()}

    return bench.store.ensure("scales", name, build, on_wait=bench.pulse.raise_if_stopped)["metrics"]
