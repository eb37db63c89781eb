"""Prepares the data sets of a store."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from edm.config import Extension
from edm.data.catalogue import CATALOGUE, SourceFile
from edm.data.errors import MOST_NAMED, DataError, FilesError
from edm.data.progress import OnProgress, ignore_progress
from edm.data.sources import MissingFilesError, Origin
from edm.download import require_reachable
from experiments.environment import data_folder
from experiments.errors import UserError
from experiments.extensions import what_to_do, why_failed
from experiments.store.failures import Failure
from experiments.store.fencing import discard
from experiments.store.layout import DECODED, FAILURE, LOG, PROGRESS
from experiments.store.leases import LeaseLost
from experiments.store.provenance import provenance
from experiments.store.results import DatasetRecord
from experiments.store.store import Store
from experiments.sweep.code_parts import parts_of
from experiments.sweep.tasks import DataSource
from experiments.trials.code import code_now
from experiments.trials.context import Interrupted, TrialContext, write_config
from experiments.trials.extensions import require_loaded
from experiments.trials.logs import logging_to
from experiments.trials.progress import StepReporter, raise_if_taken_over
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
    from edm.data.prepare import FILES  # heavy: numpy

    files = origin or Origin.fetching(data_folder(store.root))

    def build(folder: Path) -> DatasetRecord:
        require_loaded(source, store)
        with _recording(store.folder_of(source), source, on_progress) as on_step:
            return _prepare(store, source, files, folder, on_step)

    wait = on_wait or partial(on_progress, "waiting for another process that prepares it", 0, 0)
    return store.ensure(DatasetRecord, source.signature, build, FILES, wait)


def require_obtainable(files: Iterable[tuple[str, SourceFile]], store: Store) -> None:
    """Raise UserError where a server does not have a published file, given with the name of its data set.

    So no run starts that would lack it later.
    """
    for dataset, file in files:
        if file.drive_id is not None:
            continue  # Google Drive answers in pages for people
        try:
            require_reachable(file.url)
        except OSError as error:
            folder = data_folder(store.root) / CATALOGUE[dataset].layouts[0]
            raise UserError(explain(MissingFilesError(dataset, [file], folder, str(error)))) from None


def run_preparation(store: Store, source: DataSource, context: TrialContext) -> None:
    """Prepare a data set, as a task of its own; the caller holds its lock.

    Raises Interrupted where a stop is requested, and UserError where files are missing or wrong; what is decoded is
    kept.
    """
    from edm.data.prepare import FILES  # heavy: numpy

    folder, files = store.folder_of(source), Origin.fetching(data_folder(store.root))
    write_config(folder, source)

    def check() -> None:
        raise_if_taken_over(folder)
        if store.stop_requested(context.run_id, source.signature):
            raise Interrupted

    on_step = StepReporter(folder, context.report_s, check).report
    build = partial(_prepare, store, source, files, on_step=on_step)
    store.ensure_locked(DatasetRecord, source.signature, build, FILES)


def _prepare(store: Store, source: DataSource, files: Origin, folder: Path, on_step: OnProgress) -> DatasetRecord:
    """Write the files of a data set into `folder`, going on from what a process that was ended has decoded.

    Two processes that are at it, as where one was taken for dead, write the same bytes to the same places.
    """
    from edm.data.prepare import FILES, prepare  # heavy: numpy

    place, began, started = store.folder_of(source), time.time(), time.monotonic()
    parts = place / DECODED
    parts.mkdir(exist_ok=True)
    try:
        record = prepare(source.config, parts, files, on_step)
    except DataError as error:
        shutil.rmtree(parts, ignore_errors=True)
        raise UserError(explain(error).replace(str(parts), str(place)) + _more_in_log(error, place)) from None
    except (Interrupted, LeaseLost):
        raise
    except Exception as error:
        name = source.config.name
        if not isinstance(name, Extension):
            raise
        raise UserError(f"data set {name}: its code failed ({why_failed(name, error)}); {what_to_do(error)}") from None
    for name in FILES:
        (parts / name).replace(folder / name)
    parts.rmdir()
    on_step("computing checksums", 0, 0)  # of gigabytes, perhaps
    own = {
        "preparing_s": time.monotonic() - started,
        "code": code_now(store, parts_of(source)),
        "provenance": provenance(began, source.config).to_json(),
    }
    return DatasetRecord.from_json(record | own)


def _more_in_log(error: DataError, place: Path) -> str:
    """Write the problems of all files into the log of a data set, if the error does not name all; say so."""
    if not isinstance(error, FilesError) or len(error.problems) <= MOST_NAMED:
        return ""
    for problem in error.problems:
        log.error("%s: %s", problem.path, problem.text)
    return f" ({place / LOG} names all of them)"


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
