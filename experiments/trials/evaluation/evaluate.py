"""Draw a training's images once, measure them as they come, and score them."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from edm.files import load_tensors, save_tensors
from edm.metrics.truncation import exact_images, final_images, truncation_error
from edm.pictures import save_grid
from experiments.store.files import replacing
from experiments.store.layout import INFLUENCES, PAIRS, SAMPLES, STATISTICS
from experiments.store.provenance import provenance
from experiments.store.results import DrawingOrigins, EvaluationResult, SolutionRecord
from experiments.store.store import Store
from experiments.sweep.metrics import headline
from experiments.sweep.segments import segments
from experiments.sweep.tasks import Evaluation
from experiments.trials.context import TrialContext, write_config
from experiments.trials.evaluation.context import EXACT, IMAGES, EvaluationContext
from experiments.trials.evaluation.draw import Extent, draw_all, draw_and_measure
from experiments.trials.evaluation.features import FINGERPRINT, SECONDS, MeasuredFeatures
from experiments.trials.evaluation.memorisation import measure_memorisation
from experiments.trials.evaluation.scoring import Scorer, Scores, class_accuracy, scale

PREVIEW_IMAGES = 100
log = logging.getLogger("edm_sweep")


def run_evaluation(store: Store, evaluation: Evaluation, trial: TrialContext) -> None:
    """Draw an evaluation's images, or what is missing of them, and score them; the caller holds its lock."""
    done = store.result(EvaluationResult, evaluation.signature)
    if done is not None and evaluation.is_covered_by(done):
        return
    folder = store.folder("evaluations", evaluation.signature)
    write_config(folder, evaluation)
    scores, notes = (done.scores, done.notes) if done is not None else ((), ())
    context = EvaluationContext(store, evaluation, trial, tuple(dict.fromkeys((*evaluation.scores, *scores))))
    # held while the features are read, too: who wants more of these images replaces a segment that is cut short
    with store.lock("drawings", evaluation.drawing, context.reporter.raise_if_stopped):
        extent = _extent(context, done)
        result = _scored(context, extent, notes)
        for start, _ in segments(0, extent.count):
            store.forget("segments", evaluation.segment_name(start))
    files = [name for name in (STATISTICS, INFLUENCES, SAMPLES, PAIRS) if (folder / name).exists()]
    store.finish(evaluation.signature, result, files)
    log.info("done: %s", headline(result.metrics))


def _extent(context: EvaluationContext, done: EvaluationResult | None) -> Extent:
    """Draw what is missing; what was finished before stays what it was, unless it was stopped for a stranger."""
    if done is None:
        return draw_and_measure(context)
    rival = done.stopped_by
    if done.images is None or (rival is not None and rival not in context.evaluation.rivals):
        return draw_and_measure(context)
    known = Extent(done.images, rival)
    draw_all(context, known.count)
    return known


def _scored(context: EvaluationContext, extent: Extent, notes: tuple[str, ...]) -> EvaluationResult:
    """The result of an evaluation: all that is wanted, of the first images; `notes` are those of earlier scores."""
    evaluation, config, wanted, count = context.evaluation, context.evaluation.config, context.wanted, extent.count
    began = time.monotonic()
    context.reporter.report_other_work("scoring", count, count)
    scorer = context.scorer(count)
    scores = scorer.score(wanted)
    if "accuracy" in wanted:
        _judge(context, count, scores)
    if "memorisation" in wanted:
        measure_memorisation(context, scores)
    if "truncation" in wanted:
        scores.metrics["truncation_rms"] = _truncation(context)
    fingerprint = context.extractor(evaluation.features).fingerprint
    _write(context, scorer, scores, fingerprint)
    prefixes = (scorer.at_prefix(n, wanted) for n in config.prefixes if n < count)
    drawn = _origins(scorer.measured)
    return EvaluationResult(
        metrics={**scores.metrics, **scale(context.references, config, wanted)},
        scores=wanted,
        notes=tuple(dict.fromkeys((*evaluation.notes, *notes, *scores.notes))),
        prefixes=(*prefixes, _last_prefix(scores, count)),
        label=evaluation.features.label,
        images=count,
        stopped_at=count if extent.stopped_by else None,
        stopped_by=extent.stopped_by,
        seconds=_seconds(scorer.measured),
        scoring_seconds=time.monotonic() - began,
        flops=evaluation.flops * count / config.images,
        device=", ".join(drawn.device),
        drawn=drawn,
        threads=context.trial.threads,
        fingerprint=fingerprint,
        provenance=provenance(context.trial.run_info, context.began),
    )


def _origins(measured: MeasuredFeatures) -> DrawingOrigins:
    device, git_commit, host = (tuple(measured.origins(what)) for what in ("device", "git_commit", "host"))
    return DrawingOrigins(device, git_commit, host)


def _last_prefix(scores: Scores, count: int) -> dict[str, float]:
    """All images, in the manner of Scorer.at_prefix."""
    names = [name for name in scores.influences if name.startswith("fid_")]
    return {"images": float(count)} | {key: scores.metrics[key] for n in names for key in (n, f"{n}_se")}


def _seconds(measured: MeasuredFeatures) -> float:
    """What drawing and measuring took."""
    return sum(float(MeasuredFeatures.whole(SECONDS, part)) for part in measured.parts)


def _write(context: EvaluationContext, scorer: Scorer, scores: Scores, fingerprint: str) -> None:
    """Leave statistics, influences and a grid of samples in the evaluation's folder."""
    with replacing(context.folder / STATISTICS) as temporary:
        save_tensors(scorer.statistics.tensors(), temporary, {FINGERPRINT: fingerprint})
    with replacing(context.folder / INFLUENCES) as temporary:
        save_tensors(scores.influences, temporary)
    with replacing(context.folder / SAMPLES) as temporary:
        save_grid(context.first_pixels()[:PREVIEW_IMAGES], temporary)


def _judge(context: EvaluationContext, count: int, scores: Scores) -> None:
    """Class accuracy, where the images were asked to show classes at all."""
    evaluation = context.evaluation
    if not evaluation.training.network.num_classes or evaluation.sampling.guidance == 0:
        scores.note("no class accuracy of images that were asked for no class")
        return
    class_accuracy(context.feature_cache(evaluation.judge).measured(0, count), scores)


def _truncation(context: EvaluationContext) -> float:
    """The sampler's own error, in grey levels, against the solution, which all of a training's samplers share."""
    evaluation, (model, guide) = context.evaluation, context.models
    name = evaluation.solution

    def build(folder: Path) -> SolutionRecord:
        def progress(done: int, steps: int) -> None:
            context.reporter.report_other_work("the exact solution, steps", done, steps)

        solution = exact_images(model, evaluation.sampling, guide, progress)
        save_tensors({IMAGES: solution}, folder / EXACT)
        return SolutionRecord(provenance=provenance())

    context.store.ensure(SolutionRecord, name, build, [EXACT], context.reporter.raise_if_stopped)
    solution = load_tensors(context.store.checked("exact", name, EXACT))[IMAGES]
    return truncation_error(final_images(model, evaluation.sampling, guide), solution)
