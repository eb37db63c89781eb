"""The store: every result in a folder under its signature, written so that a kill at any moment loses nothing finished.

    <root>/<kind>/<signature>/result.json    written last; it is what makes work done

Files appear whole or not at all: written beside, synced, renamed. result.json holds the SHA-256 of the files
it vouches for.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from experiments.errors import UserError

StoreKind = Literal["data", "classifiers", "references", "scales", "trainings", "drawings", "exact", "evaluations"]

KIND_OF_PIECE: dict[str, StoreKind] = {"training": "trainings", "evaluation": "evaluations"}

RESULT = "result.json"
CONFIG = "config.yaml"
JOURNAL = "journal.jsonl"
VALIDATION = "validation.jsonl"
STATISTICS = "statistics.safetensors"
INFLUENCES = "influences.safetensors"  # of every image on every metric that has an error
SAMPLES = "samples.png"
PAIRS = "closest.png"  # images and their nearest training images
GRIDS = "samples"  # folder of a training: pictures from the same noise as it went on
PROGRESS = "progress.json"
FAILURE = "failure.json"
LOG = "log.txt"
STOP = "stop"


class DamagedFile(UserError):
    """A file of the store is not what was written."""


class Store:
    """A folder of results. Cheap to make: it reads and writes only when asked."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

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

    def result(self, kind: StoreKind, signature: str) -> dict[str, Any] | None:
        """What was recorded when the work was finished; None while it is not."""
        return read_json(self.folder(kind, signature) / RESULT)

    def finish(self, kind: StoreKind, signature: str, result: dict[str, Any], files: Iterable[str] = ()) -> None:
        """Make work done: vouch for `files` of its folder and write result.json."""
        folder = self.folder(kind, signature)
        checksums = {}
        for name in files:
            _sync(folder / name)
            checksums[name] = sha256_file(folder / name)
        write_json(folder / RESULT, {**result, "files": checksums})
        for name in (FAILURE, PROGRESS):
            (folder / name).unlink(missing_ok=True)

    def checked(self, kind: StoreKind, signature: str, name: str) -> Path:
        """A file of finished work, its checksum compared; raises DamagedFile where it differs."""
        path = self.folder(kind, signature) / name
        result = self.result(kind, signature)
        assert result is not None, f"{path} of unfinished work"
        try:
            found = checksum(path)
        except OSError as error:
            found = f"unreadable ({error.strerror})"
        if found != result["files"][name]:
            raise DamagedFile(
                f"{path}: is damaged (sha256 {found[:16]}, recorded {result['files'][name][:16]}); "
                f"delete the folder {path.parent} and run again to redo it"
            )
        return path

    @contextmanager
    def lock(self, kind: StoreKind, signature: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[Path]:
        """Hold a piece of work, so that no other process on this machine does it too."""
        folder = self.folder(kind, signature)
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        while True:
            try:
                lock.acquire(timeout=1)
                break
            except Timeout:
                on_wait()
        try:
            for torn in folder.rglob(".*.part"):  # of a writer that was killed: whoever writes here holds the lock
                torn.unlink(missing_ok=True)
            yield folder
        finally:
            lock.release()

    def ensure(
        self,
        kind: StoreKind,
        signature: str,
        build: Callable[[Path], dict[str, Any]],
        files: Iterable[str] = (),
        on_wait: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """The result of a piece of work, built first if it is not there: once, whoever else asks at the same time."""
        result = self.result(kind, signature)
        if result is not None:
            return result
        with self.lock(kind, signature, on_wait) as folder:
            if self.result(kind, signature) is None:
                self.finish(kind, signature, build(folder), files)
        result = self.result(kind, signature)
        assert result is not None
        return result

    # a request to stop, which trials look for on whatever machine they run ------------------------

    def request_stop(self, session: str) -> None:
        """Ask every trial of a session of `run` to save its state and leave."""
        path = self.root / "sessions" / session / STOP
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def stop_requested(self, session: str) -> bool:
        """Whether that has been asked."""
        return (self.root / "sessions" / session / STOP).exists()

    def end_session(self, session: str) -> None:
        """Forget a session."""
        shutil.rmtree(self.root / "sessions" / session, ignore_errors=True)


class Journal:
    """Lines of JSON that only grow; a line torn by a kill is ignored."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: dict[str, Any]) -> None:
        """Add one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

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
        return [json.loads(line) for line in whole.splitlines()], offset + len(whole)

    def keep(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop every other line, and a torn one."""
        lines = [line for line in self.read() if keep(line)]
        write_bytes(self.path, "".join(json.dumps(line) + "\n" for line in lines).encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON file's content, or None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError) as error:
        raise DamagedFile(
            f"{path}: cannot be read ({error}); delete the folder {path.parent} and run again to redo it"
        ) from None


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its name, durably."""
    _sync(temporary)
    temporary.replace(path)
    _sync(path.parent)


def write_soon(path: Path, content: dict[str, Any]) -> None:
    """Write a small JSON file whole, without waiting for the disk: for progress, which may be lost."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksum(path: Path) -> str:
    """The same, read once for every version of the file that this process meets."""
    status = path.stat()
    return _sha256_of_version(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _sha256_of_version(path: Path, modified_ns: int, size: int) -> str:
    del modified_ns, size  # part of the key: a file that has changed is read again
    return sha256_file(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
