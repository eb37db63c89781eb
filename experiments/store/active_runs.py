"""Runs that go on: who they are, how far they are, and what they are asked, seen from any process that has the store.

<root>/sessions/<session>/session.json    who runs what; a lease beside it is held for as long as the run lasts
                          progress.json   how far it is, and how long it will take
                          stop, cancel-*  what it is asked (store.py)
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.store import leases
from experiments.store.files import read_json, write_json, write_soon
from experiments.store.layout import PROGRESS, RUNS
from experiments.store.provenance import command_line
from experiments.store.store import Store

RUN = "session.json"


@dataclass(frozen=True)
class ActiveRun:
    """A run that goes on: of which sweep, where, and how far it is, by its own account."""

    name: str
    sweep: str
    host: str
    pid: int
    command: str
    began: float
    progress: dict[str, Any]


@contextmanager
def announced(store: Store, session: str, sweep: str) -> Iterator[None]:
    """Let others see a run for as long as the block lasts; raises UserError where the store cannot be written."""
    folder = store.session_folder(session)
    mine = {"sweep": sweep, "host": platform.node(), "pid": os.getpid(), "command": command_line()}
    with ExitStack() as stack:
        stack.callback(store.end_session, session)
        try:
            stack.enter_context(leases.held(folder))
            write_json(folder / RUN, {**mine, "began": time.time()})
        except OSError as error:
            raise UserError(f"{store.root}: cannot be written ({error.strerror}); make room there") from None
        yield


def publish_progress(store: Store, session: str, progress: dict[str, Any]) -> None:
    """Tell how far a run is."""
    with suppress(OSError):  # of a full disk: it is told again
        write_soon(store.session_folder(session) / PROGRESS, {**progress, "time": time.time()})


def active_runs(store: Store, sweep: str | None = None) -> list[ActiveRun]:
    """The runs that go on now, of one sweep or of all."""
    found = (_read(folder) for folder in _folders(store) if is_alive(folder))
    return [session for session in found if session is not None and sweep in (None, session.sweep)]


def abandoned_runs(store: Store) -> list[Path]:
    """The folders of runs that were killed."""
    return [folder for folder in _folders(store) if not is_alive(folder)]


def request_cancellation(store: Store, runs: Iterable[ActiveRun], evaluations: Iterable[str] | None) -> None:
    """Ask runs to leave some evaluations, or, where none are named, to stop."""
    names = list(evaluations) if evaluations is not None else [None]
    for session in runs:
        for name in names:
            store.request_stop(session.name, name)


def is_alive(folder: Path) -> bool:
    """Whether the holder of a folder still lives, as far as one look tells; no clocks of machines are compared."""
    if leases.holder(folder) is None:
        return False
    silent_s = leases.silence_s(folder)
    return silent_s is None or silent_s < leases.STALE_S


def _folders(store: Store) -> list[Path]:
    return sorted(path for path in (store.root / RUNS).glob("[!.]*") if path.is_dir())


def _read(folder: Path) -> ActiveRun | None:
    known = read_json(folder / RUN)
    if known is None:
        return None
    return ActiveRun(folder.name, progress=read_json(folder / PROGRESS) or {}, **known)
