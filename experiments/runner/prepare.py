"""Gets ready what tasks need in the end, so that a problem with it is reported before any of them starts."""

from __future__ import annotations

from pathlib import Path

from edm.config import Extension, Features
from experiments.runner.listener import RunListener
from experiments.runner.schedule import Schedule
from experiments.store.store import Store
from experiments.sweep.tasks import DataSource, Evaluation


def prepare_inputs(schedule: Schedule, store: Store, listener: RunListener) -> None:
    """Prepare the data sets, weights and published statistics of all that is left to do. Raises UserError."""
    for source in schedule.plan.sources.values():
        prepare_data_set(store, source, listener)
    evaluations = [task for task in schedule.of("waiting") if isinstance(task, Evaluation)]
    spaces = [space for evaluation in evaluations for space, _ in evaluation.spaces]
    features: set[Features] = {  # whose weights are published; an extension has its own
        space.name for space in spaces if not isinstance(space.name, Extension)
    }
    features.discard("classifier")  # which is trained here
    published = {
        (e.statistics, e.features.dimension): e.config.statistics
        for e in evaluations
        if e.config.statistics and e.statistics
    }
    if not features and not published:
        return
    with listener.phase("loading torch"):
        from experiments.trials.assets import ensure_published  # heavy
        from experiments.trials.extractors import ensure_weights  # heavy
    for name in sorted(features):
        with listener.counting(f"fetching the weights of {name}", "MB") as on_count:
            ensure_weights(name, lambda done, total: on_count(done // 2**20, total // 2**20))
    for (digest, dimension), path in published.items():
        ensure_published(store, Path(path), digest, dimension)


def prepare_data_set(store: Store, source: DataSource, listener: RunListener) -> None:
    """Prepare a data set where the store does not hold it. Raises UserError."""
    from experiments.trials.datasets import ensure_prepared, is_prepared

    if is_prepared(store, source):
        return
    with listener.preparing(str(source.config.name)) as on_step:
        ensure_prepared(store, source, on_progress=on_step)
