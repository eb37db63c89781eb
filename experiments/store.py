"""The store: every result in a folder under its signature, written so that a kill at any moment loses nothing finished.

    <root>/<kind>/<signature>/result.json    written last; it is what makes work done
    <root>/damaged/<kind>/<signature>/<n>/   what was found damaged and set aside; log.jsonl beside the kinds says why

Files appear whole or not at all: written beside, synced, renamed. result.json holds the SHA-256 of the files
it vouches for, and its own. Work whose files are not what was written counts as not done.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

from experiments import leases
from experiments.errors import UserError
from experiments.leases import Holder, Lease

StoreKind = Literal[
    "data",
    "classifiers",
    "references",
    "scales",
    "trainings",
    "drawings",
    "segments",
    "exact",
    "evaluations",
    "probes",
]

KIND_OF_PIECE: dict[str, StoreKind] = {"training": "trainings", "evaluation": "evaluations", "probe": "probes"}

RESULT = "result.json"
CONFIG = "config.yaml"
JOURNAL = "journal.jsonl"
VALIDATION = "validation.jsonl"
STATISTICS = "statistics.safetensors"
INFLUENCES = "influences.safetensors"  # of every image on every metric that has an error
SAMPLES = "samples.png"
PAIRS = "closest.png"  # images and their nearest training images
CHECKPOINTS, KEPT, SNAPSHOTS = "checkpoints", "kept", "snapshots"  # folders of a training
GRIDS = "samples"  # folder of a training: pictures from the same noise as it went on
PROGRESS = "progress.json"
FAILURE = "failure.json"
LOG = "log.txt"
SESSIONS = "sessions"  # folder of runs that go on
STOP, CANCEL = "stop", "cancel-"  # ask a run to stop; to leave the piece of work whose signature follows
PRUNE = "prune"  # asks a training to end early
PRUNED = "pruned.json"  # where it did

DAMAGED = "damaged"  # folder of what was set aside
CURVES = (JOURNAL, VALIDATION)  # a training that lost lines of these is not trained again
SHA256_DIGITS = 64
OWN_CHECKSUM = "result_sha256"  # of a result: over all the rest of it
LINE_CHECKSUM = re.compile(rb', ".{5}": \d+}$', re.DOTALL)  # of a journal, whatever it is called
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
        """Where a piece of work has its files."""
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
            return _read_result(path)
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
            _sync(folder / name)
            checksums[name] = sha256_file(folder / name)
        self.require_lease(kind, signature)  # reading gigabytes takes its time
        write_json(folder / RESULT, _with_checksum({**result, "files": checksums}))
        for name in (FAILURE, PROGRESS):
            (folder / name).unlink(missing_ok=True)

    def disown(self, kind: StoreKind, signature: str, names: Iterable[str]) -> None:
        """Let a result no longer vouch for some of its files, which may then go; the caller holds the lock."""
        result = self.result(kind, signature)
        if result is None:
            return
        files = {name: digest for name, digest in result["files"].items() if name not in set(names)}
        write_json(self.folder(kind, signature) / RESULT, _with_checksum({**result, "files": files}))

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
        why = _fault(path, self.finished(kind, signature)["files"][name])
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
        return self._inspected(kind, signature, _fault)

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
                return _fault(file, expected)
            touched = True
            return _fault(file, expected)

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
        """Whether anything of a piece of work was ever set aside."""
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
                write_json(folder / RESULT, _with_checksum(result))
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
        """Hold a piece of work, so that no other process on any machine does it too; waits where another has it."""
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
        """Who holds a piece of work now."""
        return leases.holder(self.folder(kind, signature))

    def require_lease(self, kind: StoreKind, signature: str) -> None:
        """Raise LeaseLost where this process held a piece of work and somebody else took it over."""
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
        """The result of a piece of work, built first if it is not there or damaged: once, whoever else asks too."""
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
        return self.root / SESSIONS / session

    def request_stop(self, session: str, signature: str | None = None) -> None:
        """Ask every trial of a run to save its state and leave, or those alone that are at one piece of work."""
        path = self.session_folder(session) / (STOP if signature is None else CANCEL + signature)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def stop_requested(self, session: str, signature: str | None = None) -> bool:
        """Whether a run has been asked to stop, or to leave this piece of work."""
        asked = self._asked(session)
        return STOP in asked or (signature is not None and CANCEL + signature in asked)

    def cancelled(self, session: str) -> set[str]:
        """The pieces of work that a run has been asked to leave."""
        return {name.removeprefix(CANCEL) for name in self._asked(session) if name.startswith(CANCEL)}

    def _asked(self, session: str) -> list[str]:
        try:
            return os.listdir(self.session_folder(session))  # a network file system would remember an absence
        except FileNotFoundError:
            return []

    def end_session(self, session: str) -> None:
        """Forget a run."""
        shutil.rmtree(self.session_folder(session), ignore_errors=True)


class Journal:
    """Lines of JSON that only grow, each with its checksum; one that is torn or damaged is ignored."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: dict[str, Any]) -> None:
        """Add one line, or nothing where there is no room for all of it."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            try:
                _write_all(descriptor, b"\n" * torn + _line(line))
            except OSError as error:
                os.ftruncate(descriptor, size)
                raise OSError(error.errno, error.strerror, str(self.path)) from None
        finally:
            os.close(descriptor)

    def read(self) -> list[dict[str, Any]]:
        """All whole lines."""
        return self.read_from(0)[0]

    def read_from(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """The whole lines from a byte offset on, and the offset after them."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                content = file.read()
        except FileNotFoundError:
            return [], offset
        whole = content[: content.rfind(b"\n") + 1]
        lines = map(_parsed_line, whole.split(b"\n"))
        return [line for line in lines if line is not None], offset + len(whole)

    @property
    def is_damaged(self) -> bool:
        """Whether a whole line is not as it was written; a last one that a kill has torn does not count."""
        if not self.path.exists():
            return False
        whole = self.path.read_bytes().split(b"\n")[:-1]
        return any(text and _parsed_line(text) is None for text in whole)

    def keep(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop every other line, and those that are torn or damaged."""
        lines = [line for line in self.read() if keep(line)]
        write_bytes(self.path, b"".join(map(_line, lines)))


def _line(content: dict[str, Any]) -> bytes:
    text = json.dumps(content)
    return f'{text[:-1]}, "crc32": {zlib.crc32(text.encode())}}}\n'.encode()


def _parsed_line(text: bytes) -> dict[str, Any] | None:
    """A line's content, None where it is damaged; lines from before there were checksums are taken as they are."""
    try:
        content = json.loads(text)
        crc = content.pop("crc32", None)
    except (ValueError, AttributeError):
        return None
    if crc is None:
        return None if LINE_CHECKSUM.search(text) else content  # whose name is what was damaged
    return content if crc == zlib.crc32(json.dumps(content).encode()) else None


# results ------------------------------------------------------------------------------------------


def _read_result(path: Path) -> dict[str, Any] | None:
    """A result; None where there is none. Raises ValueError where it is damaged."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.EIO:
            raise ValueError(f"{RESULT}: unreadable ({error.strerror})") from None
        raise UserError(f"{path}: cannot be read ({error.strerror}); give yourself access to the store") from None
    result = json.loads(content)
    if not isinstance(result, dict):
        raise ValueError(f"{RESULT}: holds no result")
    own = result.pop(OWN_CHECKSUM, None) or _misnamed_checksum(result)
    if own is not None and own != _digest(result):
        raise ValueError(f"{RESULT}: its checksum is wrong")
    return result


def _misnamed_checksum(result: dict[str, Any]) -> str | None:
    """What ends a result and can only be its checksum; None in results from before there was one."""
    last = next(reversed(result.values()), None)
    return last if isinstance(last, str) and len(last) == SHA256_DIGITS else None


def _with_checksum(result: dict[str, Any]) -> dict[str, Any]:
    """A result with its own checksum."""
    return {**result, OWN_CHECKSUM: _digest(json.loads(json.dumps(result)))}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _fault(path: Path, expected: str) -> str | None:
    """What is wrong with a file of which the checksum is known; None where it is what was written."""
    try:
        found = _checksum_of_present(path)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        if error.errno != errno.EIO:  # anything else, as a missing permission, is no damage
            raise
        return "unreadable"
    return None if found == expected else f"sha256 {found[:16]}, recorded {expected[:16]}"


def _checksum_of_present(path: Path) -> str:
    try:
        return checksum(path)
    except FileNotFoundError:
        with suppress(OSError):
            os.listdir(path.parent)  # a network file system may remember that there was none, until it is asked
        return checksum(path)


# files --------------------------------------------------------------------------------------------


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


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file's content, or None where there is no such file, or one that cannot be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` when the block ends well."""
    temporary = temporary_beside(path)
    try:
        yield temporary
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """Where to write what becomes `path`: a name of this process's own, which says so."""
    return path.with_name(f".{path.name}{leases.temporary_suffix()}")


def publish(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its name, durably; where that fails there is no temporary file any more."""
    try:
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_soon(path: Path, content: dict[str, Any]) -> None:
    """Write a small JSON file whole, without waiting for the disk: for progress, which may be lost."""
    temporary = temporary_beside(path)
    try:
        temporary.write_text(json.dumps(content))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
            gone = leases.writer_is_gone(file.name)
            old = lease.path.stat().st_mtime - file.stat().st_mtime > ABANDONED_S
            if gone or (gone is None and old):
                file.unlink()


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(path: Path) -> str:
    """The same, read once for every version of the file that this process meets."""
    status = path.stat()
    return _sha256_of_version(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=65536)
def _sha256_of_version(path: Path, modified_ns: int, size: int) -> str:
    del modified_ns, size  # part of the key: a file that has changed is read again
    return sha256_file(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
