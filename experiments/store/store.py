"""The store: every result in a folder under its signature, written so that a kill at any moment loses nothing finished.

    <root>/<kind>/<signature>/result.json    written last: with it the task is done

Files appear whole or not at all: written beside, synced, renamed. result.json holds the SHA-256 of the files that it
vouches for, and its own. A task whose files are not what was written counts as not done.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from edm.checksums import sha256_of
from experiments.errors import UserError
from experiments.names import is_part
from experiments.store import leases
from experiments.store.damage import Damage, DamagedFile, DamageLog
from experiments.store.fencing import require_held
from experiments.store.files import read_json, remove_abandoned, replacing_files, sync_to_disk, write_json
from experiments.store.folders import existing
from experiments.store.journal import Journal
from experiments.store.layout import (
    BEGUN_WITH,
    CHECKPOINTS,
    CONFIG,
    CURVES,
    DAMAGED,
    FAILURE,
    PROGRESS,
    RESULT,
    StoreKind,
)
from experiments.store.lease_watch import STANDARD_TIMING, LeaseTiming
from experiments.store.leases import Holder
from experiments.store.removal import remove_folder
from experiments.store.requests import RunRequests
from experiments.store.result_files import file_fault, read_result, with_checksum
from experiments.store.results import Result, ResultT

TRUSTED_S = 2.0  # after its result a file may bear a later time and still count as untouched


class StoredTask(Protocol):
    """What is kept in the folder of its kind under its signature."""

    @property
    def signature(self) -> str:
        """What identifies it."""
        ...

    @property
    def store_kind(self) -> StoreKind:
        """The folder of its kind."""
        ...


TaskT = TypeVar("TaskT", bound=StoredTask)
FindFault = Callable[[Path, str], str | None]  # what is wrong with a file that should have a checksum

log = logging.getLogger("edm_sweep")


class Store(RunRequests):
    """A folder of results. Cheap to make: it reads and writes only when asked.

    name: what to record as the store if its results were imported from another one. lease_timing: of all processes
    that use the store.
    """

    def __init__(self, root: Path, name: str | None = None, lease_timing: LeaseTiming = STANDARD_TIMING) -> None:
        self.root, self.lease_timing = root.absolute(), lease_timing
        self.name = name or str(self.root)
        self._damages = DamageLog(self.root)

    def create(self) -> Self:
        """Make the folder, and return the store; raises UserError where that or writing into it is not possible."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise UserError(
                f"{self.root}: the store cannot be written ({error.strerror}); choose another with --store"
            ) from None
        return self

    def folder(self, kind: StoreKind, signature: str) -> Path:
        """Return the folder of a task by its signature. Raises UserError where that, as it was read, is a path."""
        if not is_part(signature):
            raise UserError(f"{self.root}: {signature[:100]!r} is no signature; remove the record that has it")
        return Path(f"{self.root}/{kind}/{signature}")  # in one piece, as thousands are asked for

    def folder_of(self, task: StoredTask) -> Path:
        """Return the folder of a task."""
        return self.folder(task.store_kind, task.signature)

    def report_folder(self, sweep: str) -> Path:
        """Return the folder of a sweep's report, or of a variant's."""
        return self.root / "reports" / sweep

    def has_result(self, kind: StoreKind, signature: str) -> bool:
        """Return whether a task is done, going by its result alone."""
        return (self.folder(kind, signature) / RESULT).exists()

    def signatures(self, kind: StoreKind) -> list[str]:
        """Return the signatures of a kind's tasks of which there is anything; other files there are passed over."""
        try:
            return list(filter(is_part, os.listdir(self.root / kind)))
        except FileNotFoundError:
            return []

    def begun(self, tasks: Iterable[TaskT]) -> list[TaskT]:
        """Return those tasks of which there is anything; the folder of each kind is listed once."""
        there = cache(lambda kind: frozenset(self.signatures(kind)))
        return [task for task in tasks if task.signature in there(task.store_kind)]

    def has_begun(self, kind: StoreKind, signature: str) -> bool:
        """Return whether a task was begun, and perhaps finished."""
        return (self.folder(kind, signature) / CONFIG).exists()

    def configs(self, kind: StoreKind) -> Iterator[str]:
        """Yield the config.yaml of every task of a kind."""
        for name in self.signatures(kind):
            with suppress(OSError, ValueError):
                yield Path(f"{self.root}/{kind}/{name}/{CONFIG}").read_text()

    def free_bytes(self) -> int:
        """Return how much room is left on the disk that the store is on, or will be."""
        return shutil.disk_usage(existing(self.root)).free

    # results --------------------------------------------------------------------------------------

    def result(self, result_type: type[ResultT], signature: str) -> ResultT | None:
        """Return the result of a task; None while it is not done. A damaged result is set aside."""
        path = self.folder(result_type.kind, signature) / RESULT
        try:
            content = read_result(path)
            return None if content is None else result_type.from_json(content, path)
        except ValueError as error:
            self.set_aside(result_type.kind, signature, [], str(error))
            return None

    def peek(self, result_type: type[ResultT], signature: str) -> ResultT | None:
        """Return the result of a task without a check of its checksum and without setting anything aside."""
        path = self.folder(result_type.kind, signature) / RESULT
        content = read_json(path)
        try:
            return None if content is None else result_type.from_json(content, path)
        except ValueError:
            return None

    def finished(self, result_type: type[ResultT], signature: str) -> ResultT:
        """Return a result that other tasks depend on; raises DamagedFile where it is gone, having been damaged."""
        result = self.result(result_type, signature)
        if result is None:
            raise self._gone(result_type.kind, signature)
        return result

    def verified(self, result_type: type[ResultT], signature: str) -> ResultT | None:
        """Return the result of a task whose files are all as they were written, each read once by this process.

        None where the task is not done, or was damaged and is now set aside.
        """
        kind = result_type.kind
        return self.result(result_type, signature) if self._is_intact(kind, signature, file_fault) else None

    def finish(self, signature: str, result: Result, files: Iterable[str] = ()) -> None:
        """Make a task done: write its result, which vouches for `files` of its folder.

        Raises LeaseLost, and writes nothing, where this process held the folder and another one took it over.
        """
        kind = result.kind
        folder = self.folder(kind, signature)
        require_held(folder)
        checksums = {}
        for name in files:
            sync_to_disk(folder / name)
            checksums[name] = sha256_of(folder / name)
        require_held(folder)  # reading gigabytes takes its time
        write_json(folder / RESULT, with_checksum(replace(result, files=checksums).to_json()))
        for name in (FAILURE, PROGRESS):
            (folder / name).unlink(missing_ok=True)
        if not (folder / CHECKPOINTS).exists():  # it says with which code they were computed
            (folder / BEGUN_WITH).unlink(missing_ok=True)

    def ensure(
        self,
        result_type: type[ResultT],
        signature: str,
        build: Callable[[Path], ResultT],
        files: Iterable[str] = (),
        on_wait: Callable[[], None] = lambda: None,
    ) -> ResultT:
        """Return the result of a task, built first if it is absent or damaged: once, whoever else asks too.

        build: called with an empty folder, into which it writes `files`.
        """
        result = self.verified(result_type, signature)
        if result is not None:
            return result
        names = tuple(files)
        with self.lock(result_type.kind, signature, on_wait):
            return self.ensure_locked(result_type, signature, build, names)

    def ensure_locked(
        self,
        result_type: type[ResultT],
        signature: str,
        build: Callable[[Path], ResultT],
        files: Iterable[str] = (),
    ) -> ResultT:
        """Return the result of a task whose lock the caller holds, built first as `ensure` does it."""
        result, names = self.verified(result_type, signature), tuple(files)
        if result is None:
            with replacing_files(self.folder(result_type.kind, signature), names) as building:
                result = build(building)
            self.finish(signature, result, names)
            result = self.result(result_type, signature)
        assert result is not None
        return result

    def disown(self, kind: StoreKind, signature: str, names: Iterable[str]) -> None:
        """Let a result no longer vouch for some files, which may then be removed; the caller holds the lock."""
        content = self._content(kind, signature)
        if content is None:
            return
        files = {name: digest for name, digest in content["files"].items() if name not in set(names)}
        write_json(self.folder(kind, signature) / RESULT, with_checksum({**content, "files": files}))

    # files of results -----------------------------------------------------------------------------

    def checked(self, kind: StoreKind, signature: str, name: str) -> Path:
        """Return a file of a finished task; raises DamagedFile, and sets it aside, where its checksum is wrong."""
        path = self.folder(kind, signature) / name
        content = self._content(kind, signature)
        if content is None:
            raise self._gone(kind, signature)
        why = file_fault(path, content["files"][name])
        if why is None or self._mended(kind, signature, [name], why):
            return path
        if self._was_replaced(kind, signature, content):
            return self.checked(kind, signature, name)
        self.set_aside(kind, signature, [name], f"{name}: {why}")
        raise DamagedFile(
            f"{path}: is damaged ({why}); it was set aside in {self.root / DAMAGED}, run again to redo it"
        )

    def sound(self, kind: StoreKind, signature: str) -> bool:
        """Return whether a task is done and its files are as they were written; damaged ones are set aside.

        Reads only files that bear a later time than the result, as reading a whole store takes minutes. The others are
        checked when they are used.
        """
        path = self.folder(kind, signature) / RESULT
        try:
            trusted_ns = path.stat().st_mtime_ns + int(TRUSTED_S * 1e9)
        except OSError:
            return False
        touched = False

        def fault(file: Path, expected: str) -> str | None:
            nonlocal touched
            try:
                if file.stat().st_mtime_ns <= trusted_ns:
                    return None
            except OSError:
                return file_fault(file, expected)
            touched = True
            return file_fault(file, expected)

        if not self._is_intact(kind, signature, fault):
            return False
        if touched:
            with suppress(OSError):
                os.utime(path)  # a store that was copied is read through once, not at every start
        return True

    def _content(self, kind: StoreKind, signature: str) -> dict[str, Any] | None:
        """Return a result as it is written, keys of other versions included; a damaged one is set aside."""
        try:
            return read_result(self.folder(kind, signature) / RESULT)
        except ValueError as error:
            self.set_aside(kind, signature, [], str(error))
            return None

    def _gone(self, kind: StoreKind, signature: str) -> DamagedFile:
        folder = self.folder(kind, signature)
        return DamagedFile(f"{folder}: its {RESULT} is gone or was set aside as damaged; run again to redo it")

    def _is_intact(self, kind: StoreKind, signature: str, find_fault: FindFault) -> bool:
        """Return whether a task is done and none of its files has a fault; those that have are set aside."""
        content = self._content(kind, signature)
        if content is None:
            return False
        folder = f"{self.root}/{kind}/{signature}"
        faults = {
            name: why
            for name, expected in content.get("files", {}).items()
            if (why := find_fault(Path(f"{folder}/{name}"), expected)) is not None
        }
        if not faults:
            return True
        why = ", ".join(f"{name}: {reason}" for name, reason in faults.items())
        if self._mended(kind, signature, list(faults), why):
            return self._content(kind, signature) is not None
        if self._was_replaced(kind, signature, content):
            return self._is_intact(kind, signature, find_fault)
        if self.holder(kind, signature) is None:  # else somebody works on it, whose files come before the new result
            self.set_aside(kind, signature, list(faults), why)
        return False

    def _was_replaced(self, kind: StoreKind, signature: str, content: dict[str, Any]) -> bool:
        """Return whether another process has written a new result since `content` was read: its files are others.

        A process that still works on it does not count.
        """
        return self.holder(kind, signature) is None and self._content(kind, signature) not in (content, None)

    def _mended(self, kind: StoreKind, signature: str, names: list[str], why: str) -> bool:
        """Keep what can be read of damaged curves and vouch for that: a training is not repeated for a line of them.

        False where anything else is damaged as well.
        """
        if not set(names) <= set(CURVES):
            return False
        try:
            with self.try_lock(kind, signature) as folder:
                content = self._content(kind, signature)
                if content is None:
                    return False
                self._damages.copy(kind, signature, names, why)
                for name in names:
                    Journal(folder / name).keep_rising()
                    content["files"][name] = sha256_of(folder / name)
                write_json(folder / RESULT, with_checksum(content))
        except (leases.Held, OSError) as error:
            log.warning("%s: curves are damaged and not mended now: %s", self.folder(kind, signature), error)
        return True

    # damage ---------------------------------------------------------------------------------------

    def set_aside(self, kind: StoreKind, signature: str, names: Iterable[str], why: str) -> None:
        """Move damaged files, and the result that vouched for them, out of the way: the task has to be done again."""
        self._damages.move(kind, signature, [RESULT, *names], why)

    def damages_since(self, offset: int) -> tuple[list[Damage], int]:
        """Return what was set aside after an offset in the log of damage, and the offset after that; 0 begins it."""
        return self._damages.since(offset)

    def was_damaged(self, kind: StoreKind, signature: str) -> bool:
        """Return whether anything of a task was ever set aside."""
        return self._damages.holds(kind, signature)

    # one holder at a time -------------------------------------------------------------------------

    @contextmanager
    def lock(self, kind: StoreKind, signature: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[Path]:
        """Hold a task, so that no other process on any machine does it too; waits while another one holds it."""
        folder = self.folder(kind, signature)
        with leases.waited_for(folder, on_wait, self.lease_timing) as lease:
            remove_abandoned(lease)
            yield folder

    @contextmanager
    def try_lock(self, kind: StoreKind, signature: str, also: Path | None = None) -> Iterator[Path]:
        """Hold a task like `lock`, without waiting: raises leases.Held while another process holds it.

        also: a folder of another task, whose files are written under this lease.
        """
        folder = self.folder(kind, signature)
        with leases.held(folder, self.lease_timing, also) as lease:
            remove_abandoned(lease)
            yield folder

    def holder(self, kind: StoreKind, signature: str) -> Holder | None:
        """Return who holds a task now."""
        return leases.holder(self.folder(kind, signature), self.lease_timing)

    def forget(self, kind: StoreKind, signature: str) -> None:
        """Remove the folder of a task, unless a process holds it."""
        remove_folder(self.folder(kind, signature), self.lease_timing)
