"""The store: every result in a folder under its signature, written so that a kill at any moment loses nothing finished.

    <root>/<kind>/<signature>/result.json    written last; it is what makes work done
    <root>/damaged/<kind>/<signature>/<n>/   what was found damaged and set aside; log.jsonl beside the kinds says why

Files appear whole or not at all: written beside, synced, renamed. result.json holds the SHA-256 of the files
it vouches for, and its own. Work whose files are not what was written counts as not done.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast, get_args

from experiments.errors import UserError
from experiments.store import leases, processes
from experiments.store.files import sha256_file, sync_to_disk, write_json
from experiments.store.journal import Journal
from experiments.store.layout import CANCEL, CURVES, DAMAGED, FAILURE, PROGRESS, RESULT, RUNS, STOP, StoreKind
from experiments.store.leases import Holder, Lease
from experiments.store.result_files import file_fault, read_result, with_checksum

TRUSTED_S = 2.0  # after its result a file may bear a later time and still count as untouched
ABANDONED_S = 3600.0  # age at which a temporary file of an unknown writer is no longer being written
log = logging.getLogger("edm_sweep")


class DamagedFile(UserError):
    """A file of the store is not what was written. It has been set aside, and what it belongs to is undone."""

    def __init__(
        self, message: str, kind: StoreKind | None = None, signature: str | None = None, path: Path | None = None
    ) -> None:
        super().__init__(message)
        self.kind, self.signature, self.path = kind, signature, path


class Store:
    """A folder of results. Cheap to make: it reads and writes only when asked.

    name: what to call it for the record, where what it holds comes from another one.
    """

    def __init__(self, root: Path, name: str | None = None) -> None:
        self.root = root.absolute()
        self.name = name or str(self.root)

    def create(self) -> None:
        """Make the folder; raises UserError where that or writing into it is not possible."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise UserError(
                f"{self.root}: the store cannot be written ({error}); choose another with --store"
            ) from None

    def folder(self, kind: StoreKind, signature: str) -> Path:
        """Where a task has its files."""
        return self.root / kind / signature

    def free_bytes(self) -> int:
        """How much room is left where the store is, or will be."""
        place = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
        return shutil.disk_usage(place).free

    # results --------------------------------------------------------------------------------------

    def result(self, kind: StoreKind, signature: str) -> dict[str, Any] | None:
        """What was recorded when the work was finished; None while it is not. A damaged one is set aside."""
        path = self.folder(kind, signature) / RESULT
        try:
            return read_result(path)
        except ValueError as error:
            self.set_aside(kind, signature, [], str(error))
            return None

    def finish(self, kind: StoreKind, signature: str, result: dict[str, Any], files: Iterable[str] = ()) -> None:
        """Make work done: vouch for `files` of its folder and write result.json.

        Raises LeaseLost, and writes nothing, where this process held the folder and somebody else took it over.
        """
        folder = self.folder(kind, signature)
        self.require_lease(kind, signature)
        checksums = {}
        for name in files:
            sync_to_disk(folder / name)
            checksums[name] = sha256_file(folder / name)
        self.require_lease(kind, signature)  # reading gigabytes takes its time
        write_json(folder / RESULT, with_checksum({**result, "files": checksums}))
        for name in (FAILURE, PROGRESS):
            (folder / name).unlink(missing_ok=True)

    def disown(self, kind: StoreKind, signature: str, names: Iterable[str]) -> None:
        """Let a result no longer vouch for some of its files, which may then go; the caller holds the lock."""
        result = self.result(kind, signature)
        if result is None:
            return
        files = {name: digest for name, digest in result["files"].items() if name not in set(names)}
        write_json(self.folder(kind, signature) / RESULT, with_checksum({**result, "files": files}))

    def finished(self, kind: StoreKind, signature: str) -> dict[str, Any]:
        """The result of work that other work stands on; raises DamagedFile where it is undone, having been damaged."""
        result = self.result(kind, signature)
        if result is None:
            folder = self.folder(kind, signature)
            raise DamagedFile(
                f"{folder}: its {RESULT} is gone or was set aside as damaged; run again to redo it",
                *(kind, signature, folder / RESULT),
            )
        return result

    def checked(self, kind: StoreKind, signature: str, name: str) -> Path:
        """A file of finished work, its checksum compared; where it differs it is set aside and DamagedFile raised."""
        path = self.folder(kind, signature) / name
        why = file_fault(path, self.finished(kind, signature)["files"][name])
        if why is None or self._mended(kind, signature, [name], why):
            return path
        self.set_aside(kind, signature, [name], f"{name}: {why}")
        raise DamagedFile(
            f"{path}: is damaged ({why}); it was set aside in {self.root / DAMAGED}, run again to redo it",
            *(kind, signature, path),
        )

    def verified(self, kind: StoreKind, signature: str) -> dict[str, Any] | None:
        """The result of work whose files are all as they were written, each read once by this process.

        None where it is not finished, or was damaged and is now set aside.
        """
        return self._inspected(kind, signature, file_fault)

    def sound(self, kind: StoreKind, signature: str) -> bool:
        """Whether work is finished and its files are as they were written; where not, it is set aside.

        Only files that bear a later time than the result are read: to read a whole store takes minutes. Every other is
        read when it is used.
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

        if self._inspected(kind, signature, fault) is None:
            return False
        if touched:
            with suppress(OSError):
                os.utime(path)  # a store that was copied is read through once, not at every start
        return True

    def _inspected(
        self, kind: StoreKind, signature: str, fault: Callable[[Path, str], str | None]
    ) -> dict[str, Any] | None:
        result = self.result(kind, signature)
        if result is None:
            return None
        folder = f"{self.root}/{kind}/{signature}"
        faults = {
            name: why
            for name, expected in result.get("files", {}).items()
            if (why := fault(Path(f"{folder}/{name}"), expected)) is not None
        }
        if not faults:
            return result
        why = ", ".join(f"{name}: {reason}" for name, reason in faults.items())
        if self._mended(kind, signature, list(faults), why):
            return self.result(kind, signature)
        if self.holder(kind, signature) is None:  # else it is being worked on: its files come before its new result
            self.set_aside(kind, signature, list(faults), why)
        return None

    # damage ---------------------------------------------------------------------------------------

    def set_aside(self, kind: StoreKind, signature: str, names: Iterable[str], why: str) -> None:
        """Move damaged files and the result that vouched for them out of the way: the work is then to be redone."""
        self._move_aside(kind, signature, [RESULT, *names], why)

    def damages_since(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """What was set aside after a place in the log of damage, and the place after that. 0 is its beginning."""
        return self._damages.read_from(offset)

    def was_damaged(self, kind: StoreKind, signature: str) -> bool:
        """Whether anything of a task was ever set aside."""
        return (self.root / DAMAGED / kind / signature).exists()

    @property
    def _damages(self) -> Journal:
        return Journal(self.root / DAMAGED / "log.jsonl")

    def _move_aside(self, kind: StoreKind, signature: str, names: list[str], why: str) -> None:
        folder = self.folder(kind, signature)
        try:
            present = [name for name in names if (folder / name).exists()]
            if not present:
                return  # another process was faster
            place = self._place_aside(kind, signature)
            for name in present:
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileNotFoundError):
                    (folder / name).rename(place / name)
        except OSError as error:
            log.warning("%s is damaged (%s) and cannot be set aside: %s", folder, why, error)
            return
        self._note_damage(kind, signature, present, why)

    def _place_aside(self, kind: StoreKind, signature: str) -> Path:
        parent, number = self.root / DAMAGED / kind / signature, 1
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                (parent / str(number)).mkdir()
                return parent / str(number)
            except FileExistsError:
                number += 1

    def _note_damage(self, kind: StoreKind, signature: str, files: list[str], why: str) -> None:
        paths = ", ".join(str(self.folder(kind, signature) / name) for name in files)
        log.warning("%s: damaged (%s), set aside to be redone", paths, why)
        line = {"kind": kind, "signature": signature, "files": files, "why": why, "time": time.time()}
        with suppress(OSError):  # of a full disk: the log file of the work has it
            self._damages.append(line)

    def _mended(self, kind: StoreKind, signature: str, names: list[str], why: str) -> bool:
        """Keep what can be read of damaged curves, and vouch for that: a training is not repeated for a line of them.

        False where anything else is damaged as well.
        """
        if not set(names) <= set(CURVES):
            return False
        try:
            with self.try_lock(kind, signature) as folder:
                result = self.result(kind, signature)
                if result is None:
                    return False
                self._copy_aside(folder, kind, signature, names, why)
                for name in names:
                    Journal(folder / name).keep(lambda _line: True)
                    result["files"][name] = sha256_file(folder / name)
                write_json(folder / RESULT, with_checksum(result))
        except (leases.Held, OSError) as error:
            log.warning("%s: curves are damaged and not mended now: %s", self.folder(kind, signature), error)
        return True

    def _copy_aside(self, folder: Path, kind: StoreKind, signature: str, names: list[str], why: str) -> None:
        place = self._place_aside(kind, signature)
        for name in names:
            with suppress(FileNotFoundError):
                shutil.copy2(folder / name, place / name)
        self._note_damage(kind, signature, names, why)

    # one holder at a time -------------------------------------------------------------------------

    @contextmanager
    def lock(self, kind: StoreKind, signature: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[Path]:
        """Hold a task, so that no other process on any machine does it too; waits where another has it."""
        folder = self.folder(kind, signature)
        with leases.waited_for(folder, on_wait) as lease:
            _clear_torn(lease)
            yield folder

    @contextmanager
    def try_lock(self, kind: StoreKind, signature: str) -> Iterator[Path]:
        """The same without waiting: raises leases.Held where another has it."""
        folder = self.folder(kind, signature)
        with leases.held(folder) as lease:
            _clear_torn(lease)
            yield folder

    def holder(self, kind: StoreKind, signature: str) -> Holder | None:
        """Who holds a task now."""
        return leases.holder(self.folder(kind, signature))

    def require_lease(self, kind: StoreKind, signature: str) -> None:
        """Raise LeaseLost where this process held a task and somebody else took it over."""
        lease = leases.own(self.folder(kind, signature))
        if lease is not None:
            lease.require()

    def forget(self, kind: StoreKind, signature: str) -> None:
        """Remove a folder that nobody holds."""
        if self.holder(kind, signature) is None:
            shutil.rmtree(self.folder(kind, signature), ignore_errors=True)

    def ensure(
        self,
        kind: StoreKind,
        signature: str,
        build: Callable[[Path], dict[str, Any]],
        files: Iterable[str] = (),
        on_wait: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """The result of a task, built first if it is not there or damaged: once, whoever else asks too."""
        result = self.verified(kind, signature)
        if result is not None:
            return result
        names = tuple(files)
        with self.lock(kind, signature, on_wait) as folder:
            result = self.verified(kind, signature)
            if result is None:
                for name in names:  # removed, not written over: others may have them mapped
                    (folder / name).unlink(missing_ok=True)
                self.finish(kind, signature, build(folder), names)
                result = self.result(kind, signature)
        assert result is not None
        return result

    # requests to a run, which it and its trials look for on whatever machine they are ---------------

    def session_folder(self, session: str) -> Path:
        """Where a run is told what is asked of it."""
        return self.root / RUNS / session

    def request_stop(self, session: str, signature: str | None = None) -> None:
        """Ask every trial of a run to save its state and leave, or those alone that are at one task."""
        path = self.session_folder(session) / (STOP if signature is None else CANCEL + signature)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def stop_requested(self, session: str, signature: str | None = None) -> bool:
        """Whether a run has been asked to stop, or to leave this task."""
        asked = self._asked(session)
        return STOP in asked or (signature is not None and CANCEL + signature in asked)

    def cancelled(self, session: str) -> set[str]:
        """The tasks that a run has been asked to leave."""
        return {name.removeprefix(CANCEL) for name in self._asked(session) if name.startswith(CANCEL)}

    def _asked(self, session: str) -> list[str]:
        try:
            return os.listdir(self.session_folder(session))  # a network file system would remember an absence
        except FileNotFoundError:
            return []

    def end_session(self, session: str) -> None:
        """Forget a run."""
        shutil.rmtree(self.session_folder(session), ignore_errors=True)


def set_aside_file(path: Path, why: str) -> None:
    """Move one damaged file, which vouched for itself, to where its store keeps such; elsewhere it is removed."""
    owner = _owner(path)
    if owner is None:
        log.warning("%s is damaged (%s) and will be redone", path, why)
        path.unlink(missing_ok=True)
        return
    store, kind, signature, name = owner
    store._move_aside(kind, signature, [name], why)


def copy_aside_file(path: Path, why: str) -> None:
    """The same where what can be read of a file goes on to be used: a copy is kept of it as it was."""
    owner = _owner(path)
    if owner is not None:
        store, kind, signature, name = owner
        store._copy_aside(store.folder(kind, signature), kind, signature, [name], why)


def _owner(path: Path) -> tuple[Store, StoreKind, str, str] | None:
    """The store that a file is in, and whose it is there."""
    for folder in path.parents:
        if folder.name in get_args(StoreKind):
            signature, *rest = path.relative_to(folder).parts
            return Store(folder.parent), cast(StoreKind, folder.name), signature, "/".join(rest)
    return None


def _clear_torn(lease: Lease) -> None:
    """Remove the temporary files of writers that were killed.

    Others may be writing into a folder whose lease is held here, as helpers do that draw parts of a drawing. So a file
    stays while its writer lives, and where that cannot be known, being another machine's, until it is an hour old by
    the clock of the disk, which wrote the lease's time as well.
    """
    files = list(lease.folder.rglob(".*.part"))
    if not files:
        return
    for file in files:
        with suppress(OSError):
            gone = processes.writer_is_gone(file.name)
            old = lease.path.stat().st_mtime - file.stat().st_mtime > ABANDONED_S
            if gone or (gone is None and old):
                file.unlink()
