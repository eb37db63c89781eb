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
from experiments.trials.evaluation.draw import Extent, _draw_all, draw_and_measure
from experiments.trials.evaluation.features import FINGERPRINT, SECONDS, MeasuredFeatures
from experiments.trials.evaluation.memorisation import measure_memorisation
from experiments.trials.evaluation.scoring import Scorer, Scores, class_accuracy, scale

PREVIEW_IMAGES = 100
log = logging.getLogger("edm_sweep")


def run_evaluation(store: Store, evaluation: Evaluation, setting: TrialContext) -> None:
    """Draw an evaluation's images, or what is missing of them, and score them; the caller holds its lock."""
    done = store.result(EvaluationResult, evaluation.signature)
    if done is not None and evaluation.is_covered_by(done):
        return
    folder = store.folder("evaluations", evaluation.signature)
    write_config(folder, evaluation)
    scores, notes = (done.scores, done.notes) if done is not None else ((), ())
    bench = EvaluationContext(store, evaluation, setting, tuple(dict.fromkeys((*evaluation.scores, *scores))))
    # held while the features are read, too: who wants more of these images replaces a segment that is cut short
    with store.lock("drawings", evaluation.drawing, bench.pulse.raise_if_stopped):
        extent = _extent(bench, done)
        result = _scored(bench, extent, notes)
        for start, _ in segments(0, extent.count):
            store.forget("segments", evaluation.segment_name(start))
    files = [name for name in (STATISTICS, INFLUENCES, SAMPLES, PAIRS) if (folder / name).exists()]
    store.finish(evaluation.signature, result, files)
    log.info("done: %s", headline(result.metrics))


def _extent(bench: EvaluationContext, done: EvaluationResult | None) -> Extent:
    """Draw what is missing; what was finished before stays what it was, unless it was stopped for a stranger."""
    if done is None:
        return draw_and_measure(bench)
    rival = done.stopped_by
    if done.images is None or (rival is not None and rival not in bench.evaluation.rivals):
        return draw_and_measure(bench)
    known = Extent(done.images, rival)
    _draw_all(bench, known.count)
    return known


def _scored(bench: EvaluationContext, extent: Extent, notes: tuple[str, ...]) -> EvaluationResult:
    """The result of an evaluation: all that is wanted, of the first images; `notes` are those of earlier scores."""
    evaluation, config, wanted, count = bench.evaluation, bench.evaluation.config, bench.wanted, extent.count
    began = time.monotonic()
    bench.pulse.other_work("scoring", count, count)
    scorer = bench.scorer(count)
    scores = scorer.score(wanted)
    if "accuracy" in wanted:
        _judge(bench, count, scores)
    if "memorisation" in wanted:
        measure_memorisation(bench, scores)
    if "truncation" in wanted:
        scores.metrics["truncation_rms"] = _truncation(bench)
    fingerprint = bench.extractor(evaluation.features).fingerprint
    _write(bench, scorer, scores, fingerprint)
    prefixes = (scorer.at_prefix(n, wanted) for n in config.prefixes if n < count)
    drawn = _origins(scorer.measured)
    return EvaluationResult(
        metrics={**scores.metrics, **scale(bench.references, config, wanted)},
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
        threads=bench.setting.threads,
        fingerprint=fingerprint,
        provenance=provenance(bench.setting.run_info, bench.began),
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


def _write(bench: EvaluationContext, scorer: Scorer, scores: Scores, fingerprint: str) -> None:
    """Leave statistics, influences and a grid of samples in the evaluation's folder."""
    with replacing(bench.folder / STATISTICS) as temporary:
        save_tensors(scorer.statistics.tensors(), temporary, {FINGERPRINT: fingerprint})
    with replacing(bench.folder / INFLUENCES) as temporary:
        save_tensors(scores.influences, temporary)
    with replacing(bench.folder / SAMPLES) as temporary:
        save_grid(bench.first_pixels()[:PREVIEW_IMAGES], temporary)


def _judge(bench: EvaluationContext, count: int, scores: Scores) -> None:
    """Class accuracy, where the images were asked to show classes at all."""
    evaluation = bench.evaluation
    if not evaluation.training.network.num_classes or evaluation.sampling.guidance == 0:
        scores.note("no class accuracy of images that were asked for no class")
        return
    class_accuracy(bench.shelf(evaluation.judge).measured(0, count), scores)


def _truncation(bench: EvaluationContext) -> float:
    """The sampler's own error, in grey levels, against the solution, which all of a training's samplers share."""
    evaluation, (model, guide) = bench.evaluation, bench.models
    name = evaluation.solution

    def build(folder: Path) -> SolutionRecord:
        def progress(done: int, steps: int) -> None:
            bench.pulse.other_work("the exact solution, steps", done, steps)

        solution = exact_images(model, evaluation.sampling, guide, progress)
        save_tensors({IMAGES: solution}, folder / EXACT)
        return SolutionRecord(provenance=provenance())

    bench.store.ensure(SolutionRecord, name, build, [EXACT], bench.pulse.raise_if_stopped)
    solution = load_tensors(bench.store.checked("exact", name, EXACT))[IMAGES]
    return truncation_error(final_images(model, evaluation.sampling, guide), solution)
