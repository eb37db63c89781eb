"""Prepares the data sets of a store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from edm.config import Extension
from edm.data.errors import DataError
from edm.data.progress import OnProgress, ignore_progress
from edm.data.sources import Origin
from experiments.environment import data_folder
from experiments.errors import UserError
from experiments.extensions import why_failed
from experiments.store.failures import Failure
from experiments.store.fencing import discard
from experiments.store.layout import FAILURE, LOG, PROGRESS
from experiments.store.provenance import provenance
from experiments.store.results import DatasetRecord
from experiments.store.store import Store
from experiments.sweep.code_parts import parts_of
from experiments.sweep.tasks import DataSource
from experiments.trials.code import code_now
from experiments.trials.context import write_config
from experiments.trials.extensions import require_loaded
from experiments.trials.logs import logging_to
from experiments.trials.progress import StepReporter
from experiments.trials.remedies import explain

log = logging.getLogger("edm_sweep")


def is_prepared(store: Store, source: DataSource) -> bool:
    """Return whether the store holds a data set without damage."""
    return store.sound("data", source.signature)


def ensure_prepared(
    store: Store,
    source: DataSource,
    origin: Origin | None = None,
    on_progress: OnProgress = ignore_progress,
    on_wait: Callable[[], None] | None = None,
) -> DatasetRecord:
    """Return the record of a prepared data set, preparing it first if the store does not hold it.

    Its folder has a log, and says how far it is, as that of any task. origin: where its files are; by default where
    EDM_SWEEP_DATA points, else `sources` in the store. on_wait: called again and again while another process prepares
    it; by default that is reported as progress. Raises UserError where files are missing or wrong.
    """
    from edm.data.prepare import FILES, prepare  # heavy: numpy

    place, files = store.folder("data", source.signature), origin or Origin.fetching(data_folder(store.root))

    def build(folder: Path) -> DatasetRecord:
        require_loaded(source, store)
        with _recording(place, source, on_progress) as on_step:
            try:
                record = prepare(source.config, folder, files, on_step)
            except DataError as error:  # whose `folder` is a temporary one
                raise UserError(explain(error).replace(str(folder), str(place))) from None
            except Exception as error:
                own = source.config.name
                if not isinstance(own, Extension):
                    raise
                raise UserError(f"data set {own}: its code failed ({why_failed(own, error)}); correct it") from None
            on_step("computing checksums", 0, 0)  # of gigabytes, perhaps
        code = code_now(store, parts_of(source))
        return DatasetRecord.from_json({**record, "code": code, "provenance": provenance(of=source.config).to_json()})

    wait = on_wait or partial(on_progress, "waiting for another process that prepares it", 0, 0)
    return store.ensure(DatasetRecord, source.signature, build, FILES, wait)


@contextmanager
def _recording(folder: Path, source: DataSource, on_progress: OnProgress) -> Iterator[OnProgress]:
    """Write what is done into the log and the progress of a data set's folder, and why it failed."""
    write_config(folder, source)
    (folder / FAILURE).unlink(missing_ok=True)
    with logging_to(folder / LOG):
        reporter = StepReporter(folder)

        def on_step(step: str, done: int, total: int) -> None:
            reporter.report(step, done, total)
            on_progress(step, done, total)

        try:
            yield on_step
        except UserError as error:
            log.error("%s", error)
            with suppress(OSError):  # of a full disk; the error says the same
                Failure(str(error), "input").write(folder)
            raise
        finally:
            discard(folder / PROGRESS)
