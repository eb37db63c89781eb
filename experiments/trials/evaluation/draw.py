"""Draws the images of a training segment by segment and measures their features."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from edm.generate import generate
from experiments.store.checksummed import load_checksummed, write_checksummed
from experiments.store.leases import Held
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.sweep.segments import segments
from experiments.sweep.tasks import Evaluation
from experiments.trials.context import TrialContext
from experiments.trials.evaluation.context import IMAGES, EvaluationContext
from experiments.trials.failures import is_out_of_memory

log = logging.getLogger("edm_sweep")


@dataclass(frozen=True)
class Extent:
    """How many images are scored, and the rival that an evaluation was stopped for, where it was."""

    count: int
    stopped_by: str | None = None


def help_draw(store: Store, evaluation: Evaluation, trial: TrialContext) -> None:
    """Draw segments of an evaluation that nobody has begun, from the end on; another trial holds it, and scores it."""
    done = store.result(EvaluationResult, evaluation.signature)
    if done is not None and evaluation.is_covered_by(done):
        return
    context = EvaluationContext(store, evaluation, trial)
    context.reporter.silent = True
    for start, stop in reversed(list(segments(0, evaluation.config.images))):
        # one that is there, be it cut short, may be read just now by who holds the drawing
        if not list((context.drawing / evaluation.features.signature).glob(f"{start:08d}-*")):
            _try_segment(context, start, stop)
            store.forget("segments", evaluation.segment_name(start))


def draw_and_measure(context: EvaluationContext) -> Extent:
    """Draw what is missing of an evaluation's images, segment by segment; the caller holds the drawing's lock.

    Fewer than asked for only where the evaluation may stop early and is clearly worse than another. That is asked only
    where nothing more has been drawn yet: nothing is thrown away.
    """
    evaluation, total = context.evaluation, context.evaluation.config.images
    if not evaluation.rivals:
        draw_all(context, total)
        return Extent(total)
    for start, stop in segments(0, total):
        draw_segment(context, start, stop)
        asks = stop in evaluation.config.prefixes[:-1]
        if asks and context.feature_cache(evaluation.features).find(stop, 1) is None:
            rival = _clearly_better(context, stop)
            if rival is not None:
                log.info("clearly worse than %s at %d images: no more are drawn", rival, stop)
                return Extent(stop, rival)
    return Extent(total)


def draw_all(context: EvaluationContext, count: int) -> None:
    """Draw all segments, but for those that helpers are at: these are waited for."""
    left = list(segments(0, count))
    while True:
        left = [span for span in left if not _try_segment(context, *span)]
        if not left:
            return
        time.sleep(context.trial.wait_s)
        context.reporter.raise_if_stopped()


def _try_segment(context: EvaluationContext, start: int, stop: int) -> bool:
    """Draw a segment unless it is there; False where somebody else is at it."""
    try:
        with context.store.try_lock("segments", context.evaluation.segment_name(start)):
            draw_segment(context, start, stop)
    except Held:
        return False
    return True


def draw_segment(context: EvaluationContext, start: int, stop: int) -> None:
    """Draw a segment and measure it in every space that lacks it; nothing where it is all there."""
    spaces = [space for space, images in context.spaces.items() if start < images]
    missing = [space for space in spaces if context.feature_cache(space).find(start, stop - start) is None]
    keeps_pixels = start == 0 and not _has_pixels(context, stop)
    context.reporter.beat(start)
    if not missing and not keeps_pixels:
        return
    context.reporter.raise_if_stopped()
    began = time.monotonic()
    images = _generate(context, start, stop)
    if keeps_pixels:
        write_checksummed(context.drawing, IMAGES, {IMAGES: images})

    def seconds() -> float:
        nonlocal began
        since, began = began, time.monotonic()
        return began - since

    for space in missing:
        context.feature_cache(space).measure(start, images, context.device, seconds)


def _has_pixels(context: EvaluationContext, count: int) -> bool:
    tensors = load_checksummed(context.drawing, IMAGES)
    return tensors is not None and len(tensors[IMAGES]) >= count


def _generate(context: EvaluationContext, start: int, stop: int) -> Tensor:
    model, guide = context.models
    images, done = [], start
    while done < stop:
        try:
            for drawn in generate(model, context.evaluation.sampling, done, stop, context.batch, guide=guide):
                images.append(drawn.images.cpu())
                done += len(drawn.images)
                if context.reporter.beat(done):
                    context.reporter.raise_if_stopped()
        except RuntimeError as error:
            if not is_out_of_memory(error) or context.batch == 1:
                raise
            context.batch = -(-context.batch // 2)  # the images are the same: each depends on its index alone
            log.warning("out of memory: drawing %d images at once", context.batch)
    return torch.cat(images)


def _clearly_better(context: EvaluationContext, count: int) -> str | None:
    """The rival whose FIDs of the first `count` images lie clearly below this evaluation's, on every split."""
    evaluation, confidence = context.evaluation, context.evaluation.config.stop_when
    own = context.scorer(count).at_prefix(count, context.wanted)
    names = [key for key in own if key.startswith("fid_") and not key.endswith("_se")]
    if not names or confidence is None:
        return None
    z = NormalDist().inv_cdf(confidence)
    strangers = [name for name in evaluation.rivals if name not in evaluation.kin]
    results = {name: context.store.result(EvaluationResult, name) for name in strangers}
    rows = {
        name: row
        for name, result in results.items()
        if result is not None
        for row in result.prefixes
        if row["images"] == count
    }
    better = [
        rival
        for rival, row in rows.items()
        if set(names) <= row.keys()
        and all(own[name] - z * own[f"{name}_se"] > row[name] + z * row[f"{name}_se"] for name in names)
    ]
    return min(better, key=lambda rival: rows[rival][names[-1]], default=None)
