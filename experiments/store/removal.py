"""Removes folders of a store in such a way that no process begins to work in one while it is removed."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from experiments.store import leases
from experiments.store.layout import RESULT
from experiments.store.lease_watch import STANDARD_TIMING, LeaseTiming


def remove_folder(folder: Path, timing: LeaseTiming = STANDARD_TIMING) -> bool:
    """Remove a folder unless a process holds it; return whether it is gone.

    This process holds it meanwhile, so that a run that wants the task waits for that, and then finds nothing of it. A
    kill leaves a task that is not done: its result goes first.
    """
    if not folder.is_dir() or folder.is_symlink():
        return not folder.exists()
    try:
        lease = leases.acquire(folder, timing)
    except (leases.Held, OSError):
        return False
    try:
        _empty(folder, lease.path)
        if list(folder.iterdir()) == [lease.path]:
            lease.withdraw()
            folder.rmdir()
    except OSError:
        pass  # another account's, or another process has taken the empty folder just now
    finally:
        lease.release()
    return not folder.exists()


def _empty(folder: Path, kept: Path) -> None:
    """Remove all that is in a folder, the result first, but for one file."""
    for path in (folder / RESULT, *folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path != kept:
            with suppress(OSError):
                path.unlink(missing_ok=True)
