"""Draws the images of a training segment by segment and measures their features."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

from edm.generate import generate
from edm.networks.device import is_out_of_memory
from experiments.store.checksummed import load_checksummed, write_checksummed
from experiments.store.drawings import drawn_segments
from experiments.store.leases import Held
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.sweep.segments import segments
from experiments.sweep.tasks import Evaluation
from experiments.trials.context import TrialContext
from experiments.trials.evaluation.context import IMAGES, EvaluationContext
from experiments.trials.evaluation.denoising import record_denoising

log = logging.getLogger("edm_sweep")


@dataclass(frozen=True)
class Extent:
    """How many images are scored.

    stopped_by: signature of the clearly better evaluation, if drawing stopped early because of it.
    """

    count: int
    stopped_by: str | None = None


def help_draw(store: Store, evaluation: Evaluation, trial: TrialContext) -> None:
    """Draw segments that nobody has begun, from the last one on; another trial holds the evaluation and scores it."""
    done = store.result(EvaluationResult, evaluation.signature)
    if done is not None and evaluation.is_covered_by(done):
        return
    context = EvaluationContext(store, evaluation, trial)
    context.reporter.silent = True
    for start, stop in reversed(list(segments(0, evaluation.config.images))):
        # leave existing segments alone, even short ones: the trial that holds the drawing may be reading them
        if start not in drawn_segments(store, evaluation.drawing, evaluation.features.signature):
            _try_segment(context, start, stop)
            store.forget("segments", evaluation.segment_name(start))


def draw_and_measure(context: EvaluationContext) -> Extent:
    """Draw whatever images of an evaluation are missing, segment by segment; the caller holds the drawing's lock.

    Stops early if the evaluation may do so and is clearly worse than another one. It never stops before images that
    have already been drawn, so that none are thrown away.
    """
    evaluation, total = context.evaluation, context.evaluation.config.images
    if not evaluation.rivals:
        draw_all(context, total)
        return Extent(total)
    for start, stop in segments(0, total):
        draw_segment(context, start, stop)
        may_stop = stop in evaluation.config.prefixes[:-1]
        if may_stop and context.feature_cache(evaluation.features).find(stop, 1) is None:
            rival = _clearly_better(context, stop)
            if rival is not None:
                log.info("drawing stops at %d images, as evaluation %s is clearly better", stop, rival)
                return Extent(stop, rival)
    return Extent(total)


def draw_all(context: EvaluationContext, count: int) -> None:
    """Draw all segments; wait for those that helpers are drawing."""
    left = list(segments(0, count))
    while True:
        left = [span for span in left if not _try_segment(context, *span)]
        if not left:
            return
        time.sleep(context.trial.wait_s)
        context.reporter.phase("waiting for segments that other trials draw")


def _try_segment(context: EvaluationContext, start: int, stop: int) -> bool:
    """Draw a segment unless it exists; return False if another trial is drawing it."""
    try:
        name = context.evaluation.segment_name(start)
        with context.store.try_lock("segments", name, also=context.drawing_folder):
            draw_segment(context, start, stop)
    except Held:
        return False
    return True


def draw_segment(context: EvaluationContext, start: int, stop: int) -> None:
    """Draw a segment and measure it in every feature space that lacks it; do nothing if none does."""
    spaces = [space for space, images in context.spaces.items() if start < images]
    missing = [space for space in spaces if context.feature_cache(space).find(start, stop - start) is None]
    keeps_pixels = start == 0 and not _has_pixels(context, stop)
    context.reporter.beat(start)
    if not missing and not keeps_pixels:
        return
    context.reporter.raise_if_stop_requested()
    began = time.monotonic()
    images = _generate(context, start, stop)
    if keeps_pixels:
        recorded = record_denoising(context.models, context.evaluation.sampling)
        write_checksummed(context.drawing_folder, IMAGES, {IMAGES: images, **recorded})

    def lap() -> float:  # the first space counts the drawing as well
        nonlocal began
        since, began = began, time.monotonic()
        return began - since

    def on_batch(done: int) -> None:  # whatever is requested, images that are drawn are measured, and so kept
        context.reporter.count_other_work("images measured", start + done, context.evaluation.config.images)

    for space in missing:
        on_batch(0)
        context.feature_cache(space).measure(start, images, context.device, lap, on_batch)


def _has_pixels(context: EvaluationContext, count: int) -> bool:
    tensors = load_checksummed(context.drawing_folder, IMAGES)
    return tensors is not None and len(tensors[IMAGES]) >= count


def _generate(context: EvaluationContext, start: int, stop: int) -> Tensor:
    """Draw images start to stop - 1, halving the batch where memory runs out."""
    model, guide = context.drawing_models
    images, done = [], start
    while done < stop:
        try:
            for drawn in generate(model, context.evaluation.sampling, done, stop, context.batch, guide=guide):
                images.append(drawn.images.cpu())
                done += len(drawn.images)
                context.reporter.report(done)
        except RuntimeError as error:
            if not is_out_of_memory(error) or context.batch == 1:
                raise
            context.batch = -(-context.batch // 2)  # changes no image: each depends on its index alone
            log.warning("out of memory: from now on, %d images are drawn at a time", context.batch)
    return torch.cat(images)


def _clearly_better(context: EvaluationContext, count: int) -> str | None:
    """Return the best of the rivals whose FIDs of the first `count` images are clearly lower on every split."""
    confidence = context.evaluation.config.stop_when
    own = context.scorer(count).at_prefix(count, context.wanted)
    metrics = [key for key in own if key.startswith("fid_") and not key.endswith("_se")]
    if not metrics or confidence is None:
        return None
    z = NormalDist().inv_cdf(confidence)
    rows = dict(_rows_of_rivals(context, count))
    better = [
        rival
        for rival, row in rows.items()
        if set(metrics) <= row.keys()
        and all(own[metric] - z * own[f"{metric}_se"] > row[metric] + z * row[f"{metric}_se"] for metric in metrics)
    ]
    return min(better, key=lambda rival: rows[rival][metrics[-1]], default=None)


def _rows_of_rivals(context: EvaluationContext, count: int) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Yield the signature of each rival that has scored its first `count` images, and those scores."""
    for signature in context.evaluation.rivals:
        result = None if signature in context.evaluation.kin else context.store.result(EvaluationResult, signature)
        for row in () if result is None else result.prefixes:
            if row["images"] == count:
                yield signature, row
