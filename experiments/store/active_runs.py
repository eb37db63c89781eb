"""Active runs: who they are, how far they are, and what they are asked, seen from any process that has the store.

<root>/sessions/<run id>/session.json    who runs what; a lease beside it is held for as long as the run lasts
                         progress.json   how far the run is, and how long it will take
                         stop, cancel-*  requests to it (requests.py)
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import UserError
from experiments.store import leases
from experiments.store.files import read_json, write_json
from experiments.store.layout import RUNS
from experiments.store.lease_watch import STANDARD_TIMING, LeaseTiming, silence_s
from experiments.store.leases import LeaseLost
from experiments.store.progress import RunProgressRecord
from experiments.store.provenance import command_line
from experiments.store.store import Store
from experiments.store.sweep_names import includes

RUN = "session.json"


@dataclass(frozen=True)
class ActiveRun:
    """A run that has not ended: of which sweep, where, and how far it is; progress: None while it is starting."""

    run_id: str
    sweep: str
    host: str
    pid: int
    command: str
    began: float
    progress: RunProgressRecord | None


@contextmanager
def announced(store: Store, run_id: str, sweep: str) -> Iterator[None]:
    """Let others see a run for as long as the block lasts; raises UserError where the store cannot be written."""
    folder = store.run_folder(run_id)
    mine = {"sweep": sweep, "host": platform.node(), "pid": os.getpid(), "command": command_line()}
    with ExitStack() as stack:
        stack.callback(store.end_run, run_id)
        try:
            # waits: 'gc' may take a folder that has no lease yet for a dead run's, and holds it while it removes it
            stack.enter_context(leases.waited_for(folder, timing=store.lease_timing))
            write_json(folder / RUN, {**mine, "began": time.time()})
        except OSError as error:
            raise UserError(f"{store.root}: cannot be written ({error.strerror}); make room there") from None
        yield


def publish_progress(store: Store, run_id: str, progress: RunProgressRecord) -> None:
    """Write down how far a run is."""
    with suppress(OSError, LeaseLost):  # a full disk: it is written again soon; or 'gc' took it for a dead run's
        progress.write(store.run_folder(run_id))


def active_runs(store: Store, sweep: str | None = None) -> list[ActiveRun]:
    """Return the active runs of one sweep, those of some of its cells included, or of all sweeps."""
    found = (_read(folder) for folder in _folders(store) if is_alive(folder, store.lease_timing))
    return [run for run in found if run is not None and (sweep is None or includes(sweep, run.sweep))]


def abandoned_runs(store: Store) -> list[Path]:
    """Return the folders of runs that were killed."""
    return [folder for folder in _folders(store) if not is_alive(folder, store.lease_timing)]


def request_cancellation(store: Store, runs: Iterable[ActiveRun], evaluations: Iterable[str] | None) -> None:
    """Ask runs to leave some evaluations, by their signatures, or to stop where `evaluations` is None."""
    signatures = list(evaluations) if evaluations is not None else [None]
    for run in runs:
        for signature in signatures:
            store.request_stop(run.run_id, signature)


def is_alive(folder: Path, timing: LeaseTiming = STANDARD_TIMING) -> bool:
    """Return whether the holder of a folder still runs, as far as one look tells; compares no machines' clocks."""
    if leases.holder(folder, timing) is None:
        return False
    silent_s = silence_s(folder)
    return silent_s is None or silent_s < timing.stale_s


def _folders(store: Store) -> list[Path]:
    return sorted(path for path in (store.root / RUNS).glob("[!.]*") if path.is_dir())


def _read(folder: Path) -> ActiveRun | None:
    """The run in a folder; None where that does not say all, as another version of this program may have made it."""
    content = read_json(folder / RUN) or {}
    try:
        said = {name: content[name] for name in ("sweep", "host", "pid", "command", "began")}
    except KeyError:
        return None
    return ActiveRun(folder.name, progress=RunProgressRecord.read(folder), **said)
