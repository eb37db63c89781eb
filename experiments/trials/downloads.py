"""Downloads the published weights of a feature extractor, as a task of its own."""

from __future__ import annotations

import logging
import time
from functools import partial

from edm.metrics.weights import WeightsError, find_weights
from experiments.environment import given_weights
from experiments.errors import UserError
from experiments.store.provenance import provenance
from experiments.store.results import WeightsRecord
from experiments.store.store import Store
from experiments.sweep.preparations import WeightsDownload
from experiments.trials.context import TrialContext, write_config
from experiments.trials.progress import MIB, ProgressReporter
from experiments.trials.remedies import explain

log = logging.getLogger("edm_sweep")


def run_download(store: Store, task: WeightsDownload, context: TrialContext) -> None:
    """Download weights to this machine unless they are there; the caller holds the task's lock.

    Raises Interrupted where a stop is requested, and UserError where they cannot be had; what has come of them is kept.
    """
    folder, file = store.folder_of(task), task.file
    began, started = time.time(), time.monotonic()
    write_config(folder, task)
    reporter = ProgressReporter(store, context, folder, "MiB", round(file.bytes / MIB, 1))

    def on_progress(done: int, _total: int) -> None:
        reporter.report(round(done / MIB, 1))

    on_wait = partial(reporter.phase, "waiting for another process that downloads the same file")
    log.info("downloading %s from %s", file.file, file.url)
    try:
        path = find_weights(file, given_weights(), on_progress, on_wait)
    except WeightsError as error:
        raise UserError(explain(error)) from None
    log.info("%s is there", path)
    seconds = time.monotonic() - started
    own = {"path": str(path), "bytes": file.bytes, "sha256": file.sha256, "seconds": seconds}
    store.finish(task.signature, WeightsRecord(**own, provenance=provenance(began)))
