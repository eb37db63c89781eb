"""Folders for what Ray writes while a run lasts: removed when it ends, and after a kill by the next run."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from experiments.errors import UserError

PREFIX = "edm-"
LOCK = "lock"  # held as long as the process that made the folder runs
INNER = "r"  # Ray lets every account write to the folder that it is given; the one around it is its owner's alone
LONGEST = 22  # characters of a place: with INNER, 84 follow for Ray's sockets, whose paths may have 107 (103 on macOS)


@contextmanager
def scratch_folder() -> Generator[Path]:
    """Provide an empty folder that other accounts cannot reach, and whose path is short enough for Ray.

    Raises UserError where there is room for none.
    """
    place = next(places(), None)
    if place is None:
        raise UserError(
            "no folder for Ray's temporary files: /tmp cannot be written; set RAY_TMPDIR to one that can, "
            f"of at most {LONGEST} characters"
        )
    remove_abandoned(place)
    folder, lock = _locked_folder(place)
    (folder / INNER).mkdir()
    try:
        yield folder / INNER
    finally:
        with suppress(OSError):
            _remove(folder)
        os.close(lock)


def places() -> Iterator[Path]:
    """Yield folders that can be written and have short paths: those of the environment first."""
    names = [os.environ.get("RAY_TMPDIR"), os.environ.get("TMPDIR"), "/tmp", "/var/tmp", "/dev/shm"]
    for name in names:
        if name and len(str(Path(name).absolute())) <= LONGEST and os.access(name, os.W_OK | os.X_OK):
            yield Path(name).absolute()


def live_folders() -> Iterator[Path]:
    """Yield the folders of processes of this account that still run, this one's included."""
    for lock in (lock for place in dict.fromkeys(places()) for lock in place.glob(f"{PREFIX}*/{LOCK}")):
        with suppress(OSError):  # of another account, or just being removed
            descriptor = os.open(lock, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                yield lock.parent
            finally:
                os.close(descriptor)


def remove_abandoned(place: Path) -> None:
    """Remove the folders of processes that no longer run."""
    for lock in place.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError):  # a live one, one of another user, or one that is just being removed
            descriptor = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(lock.parent)
            finally:
                os.close(descriptor)


def _remove(folder: Path) -> None:
    """Remove a folder, its lock last: what a process of Ray adds as it ends, the next run finds by the lock."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink(missing_ok=True)
    if os.listdir(folder) != [LOCK]:
        return
    (folder / LOCK).unlink()
    try:
        folder.rmdir()
    except OSError:  # something was added just now
        (folder / LOCK).touch(0o600)


def _locked_folder(place: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / LOCK).exists():
            return folder, lock
        os.close(lock)  # another process took it for abandoned before it was locked
