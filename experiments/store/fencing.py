"""Keeps a process that was suspended too long from writing into a folder that another one has taken over.

Nobody can look at a lease and write a file in one step: a process may be suspended in between. So a file is first
written under a temporary name that has the number of the lease, then the lease is looked at, and then the file gets its
name. Whoever takes a folder over shows its higher number first, and then removes the temporary files with lower ones. A
late writer then either sees the higher number, or finds that its temporary file is gone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from experiments.store import leases
from experiments.store.leases import Lease, LeaseLost

TOKEN = re.compile(r"\.([0-9a-f]{8})-(\d{6,})(?=\.)")


def token(path: Path) -> str:
    """Return the part of a temporary file's name that says under which leases of this process it is written."""
    return "".join(f".{_digest(lease)}-{lease.generation:06d}" for lease in leases.covering(path))


def require_held(path: Path) -> None:
    """Raise LeaseLost where this process held a folder that `path` is in, and another process took it over."""
    for lease in leases.covering(path):
        lease.require()


def discard(path: Path) -> None:
    """Remove a file of a task, unless another process has taken the task over."""
    try:
        require_held(path)
    except LeaseLost:
        return
    path.unlink(missing_ok=True)


def outdated_by(lease: Lease) -> Callable[[str], bool]:
    """Return what tells whether a name is that of a temporary file of an earlier holder of a folder."""
    own = _digest(lease)

    def is_outdated(name: str) -> bool:
        return any(digest == own and int(number) < lease.generation for digest, number in TOKEN.findall(name))

    return is_outdated


def _digest(lease: Lease) -> str:
    """Return what tells a folder from others, the same on every machine, wherever the store is mounted there."""
    return hashlib.sha256("/".join(lease.folder.parts[-2:]).encode()).hexdigest()[:8]
