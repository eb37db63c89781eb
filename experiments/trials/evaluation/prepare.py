"""Measures real images and noise, and computes the statistics that evaluations compare with, as a task of its own."""

from __future__ import annotations

import time

from edm.config import Split
from experiments.store.code_files import united
from experiments.store.provenance import provenance
from experiments.store.results import MeasuredReferences
from experiments.store.store import Store
from experiments.sweep.code_parts import of_features, parts_of
from experiments.sweep.metrics import as_split, reference_sizes
from experiments.sweep.preparations import MEMORISATION, ReferenceStatistics
from experiments.sweep.segments import segments
from experiments.trials.assets import ensure_data
from experiments.trials.code import code_now, code_of
from experiments.trials.context import TrialContext, device_name, write_config
from experiments.trials.evaluation.memorisation import baseline_memorisation, real_views
from experiments.trials.evaluation.references import References
from experiments.trials.evaluation.scoring import NEAREST_K, baseline_scores
from experiments.trials.extractors import ensure_extractor
from experiments.trials.progress import ProgressReporter


def run_references(store: Store, task: ReferenceStatistics, context: TrialContext) -> None:
    """Measure whatever images and compute whatever statistics of a task are missing; the caller holds its lock."""
    if store.result(MeasuredReferences, task.signature) is not None:
        return
    began, started, folder = time.time(), time.monotonic(), store.folder_of(task)
    write_config(folder, task)
    measuring = MeasuringReferences(store, task, context)
    measured = measuring.measure()
    measuring.compute()
    result = MeasuredReferences(
        images=task.images,
        seconds=time.monotonic() - started,
        flops=task.flops * measured / task.images,
        device=device_name(context.device),
        code={**measuring.code, **code_of(store, task.data), **code_of(store, *task.depends_on)},
        provenance=provenance(began),
    )
    store.finish(task.signature, result)


class MeasuringReferences:
    """Measures the images of one task and computes their statistics, and reports how far that is."""

    def __init__(self, store: Store, task: ReferenceStatistics, context: TrialContext) -> None:
        self.task = task
        self.reporter = ProgressReporter(store, context, store.folder_of(task), "images", task.images)
        self.before = self.count = 0  # images of the splits before this one, and of this one
        extractor = ensure_extractor(store, task.data, task.features, context.device, self.reporter.phase)
        data = ensure_data(store, task.data, self.reporter.phase)
        self.code = code_now(store, parts_of(task))
        own = (
            extractor,
            data,
            context.device,
            code_now(store, of_features(task.features)),
            self.on_measured,
            self.reporter.phase,
        )
        self.references = References(store, task.data, task.features, *own)

    def on_measured(self, _what: str, done: int, _total: int) -> None:
        """Report that so many images of a split are measured; raises Interrupted where a stop is requested.

        A segment is measured whole, even where it has more images than are needed.
        """
        self.reporter.report(self.before + min(done, self.count))

    def measure(self) -> int:
        """Measure all images, each segment once in a store; return how many were not measured before."""
        new = 0
        for subset, count in self.task.counts.items():
            self.count = count
            for first, last in segments(0, count):
                new += last - first if self.references.is_missing(subset, first, last) else 0
                measured = self.references.features(subset, first, last).code
                self.code = united(self.code, measured or {})
            self.before += count
        return new

    def compute(self) -> None:
        """Compute the statistics that the scores need, and the scores of noise and of real images."""
        sizes = reference_sizes(self.task.config, self.task.data.sizes)
        for metric, _, name in (score.partition("/") for score in self.task.scores if score != MEMORISATION):
            split = as_split(name)
            self.reporter.phase(f"computing statistics for {metric}, {split}")
            self._compute(metric, split, sizes[split])
        self.reporter.phase("scoring noise and real images")
        baseline_scores(self.references, self.task.config, self.task.scores)
        if MEMORISATION in self.task.scores:
            for view in real_views(self.references):
                baseline_memorisation(self.references, view)

    def _compute(self, metric: str, split: Split, count: int) -> None:
        if metric in ("fid", "fid_infinity"):
            self.references.reference(split, count)
        elif metric == "kid":
            self.references.kernel_mean(split, count)
        elif (of_drawn := min(count, self.task.config.images)) > NEAREST_K:
            self.references.radii(split, of_drawn, NEAREST_K)
