"""Writing files so that they appear whole or not at all, and their checksums."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from edm.checksums import sha256_of
from edm.temporary import create
from experiments.store import processes

ABANDONED_S = 3600.0  # temporary files of unknown writers that are older count as abandoned


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None where there is no such file, or it cannot be read."""
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def parse_json(text: bytes | str) -> Any:
    """Return the content of JSON text. Raises ValueError where it is invalid or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` when the block ends without an error."""
    temporary = temporary_beside(path)
    try:
        yield temporary
        move_into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """Create an empty file to write what becomes `path`, and return it: its name says which process writes it."""
    while True:
        temporary = path.with_name(f".{path.name}{processes.temporary_suffix()}")
        try:
            create(temporary)
        except FileExistsError:
            continue  # left by somebody, perhaps as a link to another file: the next name has another number
        return temporary


def move_into_place(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its name, durably; the temporary file is removed where that fails."""
    try:
        sync_to_disk(temporary)
        temporary.replace(path)
        sync_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def remove_abandoned(folder: Path, clock: Path) -> None:
    """Remove the temporary files of writers that were killed from a folder and those below it.

    Other processes may be writing into it, as helpers do that draw parts of a drawing. So a file stays while its writer
    runs. Where that cannot be known, because the writer is on another machine, it stays until it is an hour older than
    `clock`, a file that was written just now: the disk's clock gave both their times.
    """
    for file in list(folder.rglob(".*.part")):
        with suppress(OSError):
            gone = processes.writer_is_gone(file.name)
            old = clock.stat().st_mtime - file.stat().st_mtime > ABANDONED_S
            if gone or (gone is None and old):
                file.unlink()


def write_soon(path: Path, content: dict[str, Any]) -> None:
    """Write a small JSON file whole without waiting for the disk, for progress that may be lost."""
    temporary = temporary_beside(path)
    try:
        temporary.write_text(json.dumps(content))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file in hex, read once for each version of the file that this process meets."""
    status = path.stat()
    return _sha256_of_version(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=65536)
def _sha256_of_version(path: Path, modified_ns: int, size: int) -> str:
    del modified_ns, size  # part of the key: a file that has changed is read again
    return sha256_of(path)


def modified_ns(path: Path) -> int | None:
    """Return when a file was last changed, in nanoseconds; None where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def sync_to_disk(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
