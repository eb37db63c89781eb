"""Leases: one holder of a folder at a time, among processes of any number of machines whose clocks may differ.

    <folder>/.lease-000007    the highest number decides who holds it; a number is never used twice

A holder counts up in its file every few seconds. Another process that wants the folder watches that count by its own
clock, and takes the next number once the count has not changed for a minute; no two machines' clocks are ever compared.
A holder on the same machine whose process has ended is replaced at once.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from experiments.store import processes
from experiments.store.folders import make_inside
from experiments.store.lease_watch import (
    STANDARD_TIMING,
    LeaseTiming,
    forget,
    generations,
    is_gone,
    is_stale,
    lease_path,
    parsed,
)
from experiments.wording import process_text

LOOKS = 20  # at the leases of a folder whose newest one is listed and not there
LENGTH = 512  # bytes of a lease: it is rewritten in place, which needs no room on a full disk

log = logging.getLogger("edm_sweep")


class LeaseLost(Exception):
    """Another process took a folder over: this one may no longer write there."""


@dataclass(frozen=True)
class Holder:
    """Who holds a folder."""

    host: str
    pid: int

    @property
    def text(self) -> str:
        """The holder in words."""
        return process_text(self.host, self.pid)


class Held(Exception):
    """A folder is held by another process."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(holder.text)
        self.holder = holder


@dataclass(eq=False)
class Lease:
    """A folder held by this process, until it is released or lost.

    also: a folder elsewhere whose files this process writes under the lease.
    """

    folder: Path
    generation: int
    timing: LeaseTiming = STANDARD_TIMING
    also: Path | None = None
    lost: bool = False
    released: bool = False
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    pid: int = field(default_factory=os.getpid)
    beats: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)  # no beat may follow the release

    @property
    def path(self) -> Path:
        """The file of the lease."""
        return lease_path(self.folder, self.generation)

    def beat(self) -> None:
        """Show that the holder still runs, and look whether it still holds the folder."""
        with self.guard:
            if self.lost or self.released:
                return
            self.beats += 1
            with suppress(OSError):  # a disk that cannot be reached now; others go on watching
                self.lost = not (self._is_highest() and self._rewrite())
        if self.lost:
            log.warning("%s was taken over by another run", self.folder)

    def require(self) -> None:
        """Raise LeaseLost where the folder is no longer held."""
        with suppress(FileNotFoundError):
            if not self.lost and self._is_highest() and self._is_own(self.path.read_bytes()):
                return
        self.lost = True
        raise LeaseLost(f"{self.folder}: was taken over by another run")

    def release(self) -> None:
        """Give the folder back; does nothing in a forked child, whose parent holds the folder."""
        if self.pid != os.getpid():
            return
        with self.guard:
            self.released = True
            with suppress(OSError):  # the next holder then has to wait until this one is stale
                self._rewrite()
        with _table:
            _held.pop(self.token, None)

    def withdraw(self) -> None:
        """Give the folder back and remove the file of the lease: the folder itself is about to go."""
        with self.guard:
            self.released = True
            self.path.unlink(missing_ok=True)

    def _is_highest(self) -> bool:
        return max(generations(self.folder), default=0) == self.generation

    def _is_own(self, content: bytes) -> bool:
        return self.token.encode() in content

    def _rewrite(self) -> bool:
        """Bring the file up to date; False where another process wrote it.

        In place, so that a file that was removed does not come back.
        """
        try:
            with self.path.open("r+b", buffering=0) as file:
                if not self._is_own(file.read()):
                    return False
                file.seek(0)
                file.write(self._content())
        except FileNotFoundError:
            return False
        return True

    def _content(self) -> bytes:
        content = {
            "token": self.token,
            "host": socket.gethostname()[:100],
            "pid": self.pid,
            "born": processes.own_birth(self.pid),
            "machine": processes.machine(),
            "beat": self.beats,
            "released": self.released,
        }
        return (json.dumps(content).ljust(LENGTH - 1) + "\n").encode()

    def create(self) -> bool:
        """Write the file whole under a name that is not taken; False where another process was faster."""
        temporary = self.folder / f".lease{processes.temporary_suffix()}"
        try:
            with temporary.open("xb") as file:
                file.write(self._content())
            try:
                os.link(temporary, self.path)
            except FileExistsError:
                return temporary.stat().st_nlink == 2  # NFS may repeat a call that had already succeeded
            except OSError:
                return self._create_in_place()
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _create_in_place(self) -> bool:
        """Create the file where there are no links.

        Others may see it half written, and watch it, as its holder is not known.
        """
        try:
            with self.path.open("xb", buffering=0) as file:
                file.write(self._content())
        except FileExistsError:
            return False
        except OSError:
            self.path.unlink(missing_ok=True)  # a full disk: nobody must take it for a lease
            raise
        return True


def acquire(folder: Path, timing: LeaseTiming = STANDARD_TIMING, also: Path | None = None) -> Lease:
    """Take the lease of a folder; raises Held where another process has it. also: as of a Lease."""
    while True:
        make_inside(folder.parents[1], folder)
        generation, holder = _look(folder, timing)
        if holder is not None:
            raise Held(holder)
        lease = Lease(folder, generation + 1, timing, also)
        try:
            if lease.create() and _confirmed(lease):
                return lease
        except FileNotFoundError:
            continue  # its holder removed the folder just now


def _confirmed(lease: Lease) -> bool:
    """Return whether no other process took a higher number meanwhile; then the lower ones are removed."""
    numbers = generations(lease.folder)
    if max(numbers, default=0) != lease.generation:  # or the folder was removed just now
        lease.path.unlink(missing_ok=True)
        return False
    for number in numbers:
        if number < lease.generation:
            lease_path(lease.folder, number).unlink(missing_ok=True)
    with _table:
        _held[lease.token] = lease
        _keep_beating()
    return True


@contextmanager
def held(folder: Path, timing: LeaseTiming = STANDARD_TIMING, also: Path | None = None) -> Iterator[Lease]:
    """Hold a folder while the block lasts; raises Held at once where another process has it."""
    lease = acquire(folder, timing, also)
    try:
        yield lease
    finally:
        lease.release()


@contextmanager
def waited_for(
    folder: Path, on_wait: Callable[[], None] = lambda: None, timing: LeaseTiming = STANDARD_TIMING
) -> Iterator[Lease]:
    """Wait until a folder is free and hold it while the block lasts; calls `on_wait` about once a second meanwhile."""
    lease = _acquire_when_free(folder, on_wait, timing)
    try:
        yield lease
    finally:
        lease.release()


def _acquire_when_free(folder: Path, on_wait: Callable[[], None], timing: LeaseTiming) -> Lease:
    pauses = itertools.chain((0.05, 0.1, 0.2, 0.4), itertools.repeat(1.0))
    while True:
        try:
            return acquire(folder, timing)
        except Held:
            on_wait()
            time.sleep(next(pauses))


def own(folder: Path) -> Lease | None:
    """Return the lease that this process has on a folder, even if it is lost; None where it has none."""
    with _table:
        return next((lease for lease in reversed(_held.values()) if lease.folder == folder), None)


def covering(path: Path) -> list[Lease]:
    """Return the leases that this process has on folders that a path is in, even if they are lost."""
    with _table:
        return [lease for lease in _held.values() if {lease.folder, lease.also} & {path, *path.parents}]


def holder(folder: Path, timing: LeaseTiming = STANDARD_TIMING) -> Holder | None:
    """Return who holds a folder now.

    Calling this again and again watches the folder, so that a holder that has gone silent is noticed.
    """
    return _look(folder, timing)[1]


def _look(folder: Path, timing: LeaseTiming) -> tuple[int, Holder | None]:
    """Return the highest number, and who holds the folder by it: None where that is released, stale or not there."""
    generation, content = _newest(folder)
    path, state = lease_path(folder, generation), parsed(content)
    if generation == 0:
        return 0, None
    if state.get("released") or is_gone(state):
        forget(path)
        return generation, None
    if is_stale(path, content, timing):
        return generation, None
    return generation, Holder(str(state.get("host", "unknown")), int(state.get("pid", 0)))


def _newest(folder: Path) -> tuple[int, bytes]:
    """Return the highest number, 0 without any, and the content of that lease.

    It is empty, so that the lease is watched like any other, where a name stays listed that is not there: as that of a
    link to nowhere, or one that a network file system remembers.
    """
    generation = 0
    for _ in range(LOOKS):
        generation = max(generations(folder), default=0)
        if generation == 0:
            break
        with suppress(FileNotFoundError):  # a higher number replaced it just now
            return generation, lease_path(folder, generation).read_bytes()
    return generation, b""


_held: dict[str, Lease] = {}
_table = threading.Lock()
_heart: threading.Thread | None = None


def _keep_beating() -> None:
    global _heart
    if _heart is None:
        _heart = threading.Thread(target=_beat_while_held, name="leases", daemon=True)
        _heart.start()


def _beat_while_held() -> None:
    global _heart
    while True:
        with _table:
            pause_s = min((lease.timing.beat_s for lease in _held.values()), default=STANDARD_TIMING.beat_s)
        time.sleep(pause_s)
        with _table:
            leases = list(_held.values())
            if not leases:
                _heart = None
                return
        for lease in leases:
            lease.beat()


def _forget_parents_leases() -> None:
    global _heart, _table
    _heart, _table = None, threading.Lock()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_leases)
