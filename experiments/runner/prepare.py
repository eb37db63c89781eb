"""Gets ready what tasks need, so that a problem with it is reported before any of them starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edm.config import Extension, Features
from experiments.runner.downloads import downloads
from experiments.runner.listener import RunListener
from experiments.runner.schedule import Schedule
from experiments.store.store import Store
from experiments.sweep.code_parts import parts_of
from experiments.sweep.tasks import DataSource, Evaluation, Training
from experiments.trials.code import code_now
from experiments.trials.context import Interrupted

LOOK_S = 0.5  # between looks at requests


def prepare_inputs(schedule: Schedule, store: Store, listener: RunListener, run_id: str = "") -> None:
    """Prepare small data sets and published statistics of all that is left to do, and see that files can be had.

    Data sets that may take long are tasks. One all of whose cells the run is asked to leave meanwhile is left as it is.
    Raises UserError, or KeyboardInterrupt where the run is asked to stop.
    """
    _keep_code([task for task in schedule.of("waiting") if isinstance(task, Training)], store)
    _require_files([task for task in schedule.of("waiting") if isinstance(task, DataSource)], store, listener)
    for source in schedule.plan.sources.values():
        if source.signature in schedule.tasks:
            continue
        with suppress(_NotWanted):
            prepare_data_set(store, source, listener, _wanted(schedule, store, run_id, source))
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
        from experiments.trials.extractors import require_obtainable  # heavy
    for name in sorted(features):
        with listener.phase(f"checking the weights of {name}"):
            require_obtainable(name)
    for (digest, dimension), path in published.items():
        ensure_published(store, Path(path), digest, dimension)


def _keep_code(trainings: list[Training], store: Store) -> None:
    """Keep what the code of trainings consists of: every worker would take a third of a second for it."""
    code_now(store, sorted({part for training in trainings for part in parts_of(training)}))


def _require_files(sources: list[DataSource], store: Store, listener: RunListener) -> None:
    """Raise UserError where a file that a task would fetch is not to be had."""
    missing = list(downloads(sources, store))
    if not missing:
        return
    from experiments.trials.datasets import require_obtainable

    with listener.phase("checking the files of data sets"):
        require_obtainable([(file.dataset, file.published) for file in missing], store)


def prepare_data_set(
    store: Store, source: DataSource, listener: RunListener, go_on: Callable[[], None] = lambda: None
) -> None:
    """Prepare a data set where the store does not hold it. Raises UserError, or what `go_on` raises along the way."""
    from experiments.trials.data_records import noticed
    from experiments.trials.datasets import ensure_prepared, is_prepared

    if is_prepared(store, source):
        return
    with listener.preparing(source.config.title) as on_step:

        def on_progress(step: str, done: int, total: int) -> None:
            go_on()
            on_step(step, done, total)

        record = ensure_prepared(store, source, on_progress=on_progress)
    for sentence in noticed(record):
        listener.notice(f"Warning: {sentence}")


class _NotWanted(Interrupted):
    """Raised where a run is asked to leave all cells of a data set."""


def _wanted(schedule: Schedule, store: Store, run_id: str, source: DataSource) -> Callable[[], None]:
    """Return what raises once nobody wants a data set any more; it looks twice a second."""
    cells = {e.signature for e in schedule.plan.evaluations.values() if e.training.data.signature == source.signature}
    looked = -LOOK_S

    def go_on() -> None:
        nonlocal looked
        now = time.monotonic()
        if not run_id or now - looked < LOOK_S:
            return
        looked = now
        if store.stop_requested(run_id):
            raise KeyboardInterrupt
        if cells <= store.cancelled(run_id):
            raise _NotWanted

    return go_on
