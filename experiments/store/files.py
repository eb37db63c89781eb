"""Writing files so that they appear whole or not at all, and their checksums."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from edm.checksums import sha256_of
from edm.temporary import create
from experiments.store import fencing, processes
from experiments.store.folders import listed, listed_below
from experiments.store.json_text import parse_json
from experiments.store.leases import Lease

ABANDONED_S = 3600.0  # temporary files of unknown writers that are older count as abandoned


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None where there is no such file, or it cannot be read."""
    try:
        content = parse_json(path.read_bytes())
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
    """Yield a path beside `path` to write to; it takes the place of `path` when the block ends without an error."""
    temporary = temporary_beside(path)
    try:
        yield temporary
        move_into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_files(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """Yield an empty folder to write to; its files `names` move into `folder` when the block ends without an error."""
    building = _temporary_name(folder / "building")
    building.mkdir()
    try:
        yield building
        for name in names:
            move_into_place(building / name, folder / name)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def temporary_beside(path: Path) -> Path:
    """Create an empty file to write what becomes `path`, and return it.

    Its name says which process writes it, and under which leases.
    """
    while True:
        temporary = _temporary_name(path)
        try:
            create(temporary)
        except FileExistsError:
            continue  # left by somebody, perhaps as a link to another file: the next name has another number
        return temporary


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}{fencing.token(path)}{processes.temporary_suffix()}")


def move_into_place(temporary: Path, path: Path) -> None:
    """Give a finished temporary file its name, durably; the temporary file is removed where that fails.

    Raises LeaseLost where the file belongs to a task that another process has taken over.
    """
    try:
        sync_to_disk(temporary)
        _publish(temporary, path)
        sync_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _publish(temporary: Path, path: Path) -> None:
    fencing.require_held(path)
    try:
        temporary.replace(path)
    except FileNotFoundError:
        fencing.require_held(path)  # whoever took the folder over has removed it
        raise


def remove_abandoned(lease: Lease) -> None:
    """Remove temporary files that nobody will finish from a folder that was just taken, and from those below it.

    They are those of earlier holders of the folder, and of writers that were killed. Other processes may be writing
    into it, as helpers do that draw parts of a drawing. So other files stay while their writer runs. Where that cannot
    be known, because the writer is on another machine, they stay until they are an hour older than the lease: the
    disk's clock gave both times.
    """
    is_outdated = fencing.outdated_by(lease)
    for file in [file for folder in (lease.folder, lease.also) if folder for file in listed_below(folder, ".*.part")]:
        with suppress(OSError):
            gone = processes.writer_is_gone(file.name)
            old = lease.path.stat().st_mtime - file.stat().st_mtime > ABANDONED_S
            if gone or (gone is None and old) or is_outdated(file.name):
                shutil.rmtree(file) if file.is_dir() else file.unlink()


def remove_unfinished(path: Path) -> None:
    """Remove what writers of `path` that were killed have left beside it, with what a library adds to such a file."""
    for file in listed(path.parent, f".{path.name}.*.part*"):
        writer = file.name.partition(".part")[0] + ".part"
        if processes.writer_is_gone(writer):
            file.unlink(missing_ok=True)


def write_soon(path: Path, content: dict[str, Any]) -> None:
    """Write a small JSON file whole without waiting for the disk, for progress that may be lost.

    Raises LeaseLost where it belongs to a task that another process has taken over.
    """
    temporary = temporary_beside(path)
    try:
        temporary.write_text(json.dumps(content))
        _publish(temporary, path)
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


def newest(paths: Iterable[Path], most: int) -> list[Path]:
    """Return the files or folders that were changed last, the newest first, without those that are gone by now."""
    dated = [(modified, path) for path in paths if (modified := modified_ns(path)) is not None]
    return [path for _, path in sorted(dated, reverse=True)[:most]]


def sync_to_disk(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
