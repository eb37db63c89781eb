"""Runs an evaluation: draws its images, scores them and writes the result."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from edm.files import load_tensors, save_tensors
from edm.metrics.truncation import final_images, truncation_error
from edm.pictures import save_grid
from experiments.store.code_files import united
from experiments.store.files import replacing
from experiments.store.layout import DENOISING, INFLUENCES, PAIRS, SAMPLES, STATISTICS
from experiments.store.provenance import provenance
from experiments.store.results import DrawingOrigins, EvaluationResult
from experiments.store.store import Store
from experiments.sweep.code_parts import OWN, of_drawing, of_features, parts_of
from experiments.sweep.metrics import computable, headline, metrics_of, split_score, with_others
from experiments.sweep.preparations import ExactSolution, preparations_of
from experiments.sweep.segments import segments
from experiments.sweep.tasks import Evaluation
from experiments.trials.code import Code, begun_with, code_now, code_of
from experiments.trials.context import TrialContext, write_config
from experiments.trials.evaluation.context import IMAGES, EvaluationContext
from experiments.trials.evaluation.denoising import SIGMAS, save_denoising
from experiments.trials.evaluation.draw import Extent, draw_all, draw_and_measure
from experiments.trials.evaluation.features import FINGERPRINT, SECONDS, MeasuredFeatures
from experiments.trials.evaluation.memorisation import measure_memorisation
from experiments.trials.evaluation.scoring import Scorer, Scores, baseline_scores, class_accuracy
from experiments.trials.evaluation.solution import ensure_solution

PREVIEW_IMAGES = 100  # in the picture of samples

log = logging.getLogger("edm_sweep")


def run_evaluation(store: Store, evaluation: Evaluation, trial: TrialContext) -> None:
    """Draw whatever images of an evaluation are missing and score all of them; the caller holds its lock."""
    done = store.result(EvaluationResult, evaluation.signature)
    if done is not None and evaluation.is_covered_by(done):
        return
    folder = store.folder_of(evaluation)
    write_config(folder, evaluation)
    # scores that other sweeps asked for are computed again, too; those of their own metrics are taken over
    others = computable(done.scores, evaluation.config) if done is not None else ()
    context = EvaluationContext(store, evaluation, trial, with_others(evaluation.scores, others))
    # locked during scoring as well, as an evaluation of more images would replace a short segment
    drawn_by = code_now(store, (*of_drawing(evaluation), *of_features(evaluation.features)))
    begun_with(folder, {**drawn_by, **context.code_of_networks}, resumed=True)
    with store.lock("drawings", evaluation.drawing, context.reporter.raise_if_stop_requested):
        extent = _draw_missing(context, done)
        result = _score(context, extent, done)
        for start, _ in segments(0, extent.count):
            store.forget("segments", evaluation.segment_name(start))
    files = [file for file in (STATISTICS, INFLUENCES, SAMPLES, DENOISING, PAIRS) if (folder / file).exists()]
    store.finish(evaluation.signature, result, files)
    log.info("the evaluation is done: %s", headline(result.metrics))


def _draw_missing(context: EvaluationContext, done: EvaluationResult | None) -> Extent:
    """Draw missing images: as many as were scored before, unless that stopped for an evaluation of another sweep."""
    if done is None:
        return draw_and_measure(context)
    rival = done.stopped_by
    if done.images is None or (rival is not None and rival not in context.evaluation.rivals):
        return draw_and_measure(context)
    draw_all(context, done.images)
    return Extent(done.images, rival)


def _score(context: EvaluationContext, extent: Extent, done: EvaluationResult | None) -> EvaluationResult:
    """Compute all wanted scores of the drawn images; done: the result from before, whose notes are kept."""
    evaluation, config, wanted, count = context.evaluation, context.evaluation.config, context.wanted, extent.count
    began = time.monotonic()
    context.reporter.phase("scoring")
    scorer = context.scorer(count)
    scores = scorer.score(wanted)
    if "accuracy" in wanted:
        _score_classes(context, count, scores)
    if "memorisation" in wanted:
        measure_memorisation(context, scores)
    if "truncation" in wanted:
        scores.metrics["truncation_rms"] = _truncation_error(context)
    fingerprint = context.extractor(evaluation.features).fingerprint
    code, notes = _code_of(context, scorer.measured), () if done is None else done.notes
    taken = TakenOver.of(context, done, code, count, fingerprint)
    scores.metrics |= taken.metrics
    scores.influences |= taken.influences
    _write_files(context, scorer, scores, fingerprint)
    prefixes = (scorer.at_prefix(n, wanted) for n in config.prefixes if n < count)
    origins = _origins(scorer.measured)
    return EvaluationResult(
        metrics={**scores.metrics, **baseline_scores(context.references, config, wanted)},
        scores=(*wanted, *taken.scores),
        notes=tuple(dict.fromkeys((*evaluation.notes, *notes, *scores.notes))),
        prefixes=(*prefixes, _last_prefix(scores, count)),
        label=evaluation.features.label,
        images=count,
        stopped_at=count if extent.stopped_by else None,
        stopped_by=extent.stopped_by,
        seconds=_seconds(scorer.measured),
        scoring_seconds=time.monotonic() - began,
        flops=evaluation.flops * count / config.images,
        device=", ".join(origins.device),
        drawn=origins,
        threads=context.trial.threads,
        fingerprint=fingerprint,
        code={**taken.code, **code},
        provenance=provenance(context.began, evaluation),
    )


@dataclass(frozen=True)
class TakenOver:
    """Scores of other sweeps' own metrics, which this evaluation has no code for, with all that belongs to them."""

    scores: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    influences: dict[str, Tensor] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, context: EvaluationContext, done: EvaluationResult | None, code: Code, count: int, fingerprint: str
    ) -> TakenOver:
        """Return what an earlier result has of them, if it is of the same images, measured by the same code.

        code: of the new result. count: its images. Raises DamagedFile if the earlier result's file is damaged.
        """
        if done is None or (done.images, done.fingerprint) != (count, fingerprint):
            return cls()
        evaluation, recorded = context.evaluation, done.code or {}
        measuring = (*of_drawing(evaluation), *of_features(evaluation.features))
        if any(recorded.get(part) != code.get(part) for part in measuring):
            return cls()
        known = {split_score(score) for score in context.wanted}
        scores = tuple(score for score in done.scores if split_score(score) not in known)
        names = [name for score in scores for name in metrics_of(score)]
        file = context.store.checked("evaluations", evaluation.signature, INFLUENCES) if scores else None
        influences = load_tensors(file) if file is not None else {}
        return cls(
            scores,
            {name: done.metrics[name] for name in names if name in done.metrics},
            {name: influences[name] for name in names if name in influences},
            {part: digest for part, digest in recorded.items() if scores and part.startswith(OWN)},
        )


def _origins(measured: MeasuredFeatures) -> DrawingOrigins:
    device, git_commit, host = (tuple(measured.origins(key)) for key in ("device", "git_commit", "host"))
    return DrawingOrigins(device, git_commit, host)


def _code_of(context: EvaluationContext, measured: MeasuredFeatures) -> Code:
    """Return the code that scored images, and the code that drew and measured them, which may be other."""
    store, evaluation = context.store, context.evaluation
    drawn_by = {*of_drawing(evaluation), *of_features(evaluation.features)}
    own = code_now(store, [part for part in parts_of(evaluation, context.wanted) if part not in drawn_by])
    return united(own, measured.code or {}, code_of(store, *preparations_of(evaluation)))


def _last_prefix(scores: Scores, count: int) -> dict[str, float]:
    """Return the FIDs of all images and their standard errors, as Scorer.at_prefix does for fewer."""
    metrics = [metric for metric in scores.influences if metric.startswith("fid_")]
    return {"images": float(count)} | {key: scores.metrics[key] for m in metrics for key in (m, f"{m}_se")}


def _seconds(measured: MeasuredFeatures) -> float:
    """Return the seconds that drawing and measuring took."""
    return sum(float(MeasuredFeatures.whole(SECONDS, part)) for part in measured.parts)


def _write_files(context: EvaluationContext, scorer: Scorer, scores: Scores, fingerprint: str) -> None:
    """Write statistics, influences and pictures to the folder of the evaluation."""
    with replacing(context.folder / STATISTICS) as temporary:
        save_tensors(scorer.statistics.tensors(), temporary, {FINGERPRINT: fingerprint})
    with replacing(context.folder / INFLUENCES) as temporary:
        save_tensors(scores.influences, temporary)
    kept = context.kept_of_first()
    with replacing(context.folder / SAMPLES) as temporary:
        save_grid(kept[IMAGES][:PREVIEW_IMAGES], temporary)
    if SIGMAS in kept:
        with replacing(context.folder / DENOISING) as temporary:
            save_denoising(kept, kept[IMAGES], temporary)


def _score_classes(context: EvaluationContext, count: int, scores: Scores) -> None:
    """Add the class accuracy, or a note where the images were drawn without a class."""
    evaluation = context.evaluation
    if not evaluation.training.network.num_classes or evaluation.sampling.guidance == 0:
        scores.note("no class accuracy of images that were asked for no class")
        return
    class_accuracy(context.feature_cache(evaluation.judge).measured(0, count), scores)


def _truncation_error(context: EvaluationContext) -> float:
    """Return the sampler's error in grey levels, against the exact solution that all samplers of a training share."""
    evaluation, (model, guide) = context.evaluation, context.models
    task = ExactSolution.of(evaluation)
    assert task is not None, "the truncation error is wanted"
    on_steps = partial(context.reporter.report_other_work, "the exact solution, steps")
    on_wait = partial(context.reporter.phase, "waiting for the exact solution")
    solution = ensure_solution(context.store, task, context.device, on_steps, on_wait)
    return truncation_error(final_images(model, evaluation.sampling, guide), solution)
