"""Sentences on what a sweep file asks for in vain: fields that change nothing, and metrics that no cell will have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from edm.config import SamplingConfig
from experiments.sweep.metrics import metrics_of
from experiments.sweep.spec import ReportConfig
from experiments.sweep.tasks import Evaluation, Training
from reports.metrics import stand_in


def fields_without_effect(samplings: Iterable[SamplingConfig], trainings: Iterable[Training]) -> Iterator[str]:
    """Say which fields of the samplings and trainings of a sweep change nothing."""
    distinct = list({id(sampling): sampling for sampling in samplings}.values())
    for name in ("guidance_interval", "guide"):
        given = [sampling for sampling in distinct if getattr(sampling, name) is not None]
        if given and all(sampling.guidance == 1 for sampling in given):
            yield f"sampling.{name} has no effect at sampling.guidance 1; set another guidance scale"
    unused = {s.guidance_interval for s in distinct if s.guidance != 1 and not any(map(s.guides, s.sigmas[:-1]))}
    for low, high in sorted(interval for interval in unused if interval is not None):
        yield (
            f"sampling.guidance_interval [{low:g}, {high:g}] contains none of the sampler's noise levels, "
            "so that no step is guided; widen it"
        )
    if any(training.config.warmup_kimg > training.config.kimg for training in trainings):
        yield "training.warmup_kimg exceeds training.kimg, so that the learning rate never reaches training.lr"


def metrics_without_scores(tables: Sequence[ReportConfig], evaluations: Iterable[Evaluation]) -> Iterator[str]:
    """Say which metrics that tables name no evaluation computes."""
    scores = {score for evaluation in evaluations for score in evaluation.scores}
    computed = {metric for score in scores for metric in metrics_of(score)}
    named = dict.fromkeys(metric for table in tables for metric in table.metrics or ())
    missing = [metric for metric in named if not computed & {metric, stand_in(metric)}]
    if missing:
        remedy = f"ask for {'them' if len(missing) > 1 else 'it'} in evaluation.metrics and evaluation.splits"
        yield f"report.metrics: no cell will have {', '.join(missing)}; {remedy}"
