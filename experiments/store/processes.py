"""Which process wrote a file or holds a lease, and whether it still runs."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
import socket
from pathlib import Path

import psutil

WRITER = re.compile(r"\.([0-9a-f]{8})-(\d+)-(\d+)-\d+\.part$")
_numbers = itertools.count()


@functools.cache
def machine() -> str:
    """What tells this machine, since it was started, and its process numbers from all others."""
    parts = [socket.gethostname()]
    try:
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    except OSError:
        parts.append(f"{psutil.boot_time():.0f}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def born(pid: int) -> int | None:
    """When a process of this machine was started, as a number of its own; None where that cannot be seen.

    -1 of a process that has ended and waits for its parent to notice.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ended = fields[0] in "ZX" and int(fields[17]) < 2  # a thread of it may still be writing
        return -1 if ended else int(fields[19])  # ticks since the start: they do not jump with the clock
    except OSError:
        pass
    try:
        return int(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def has_ended(pid: int, born_then: int | None) -> bool:
    """Whether a process is no more; another user's may be hidden, but is known to exist."""
    return not psutil.pid_exists(pid) or born(pid) not in (None, born_then)


def temporary_suffix() -> str:
    """An ending for a temporary file's name that says who writes it: `.<machine>-<pid>-<born>-<number>.part`."""
    pid = os.getpid()
    return f".{machine()[:8]}-{pid}-{own_birth(pid)}-{next(_numbers)}.part"


@functools.lru_cache(maxsize=1)
def own_birth(pid: int) -> int:
    return born(pid) or 0


def writer_is_gone(name: str) -> bool | None:
    """Whether who wrote a temporary file is gone; None where this machine cannot know."""
    match = WRITER.search(name)
    if match is None or match[1] != machine()[:8]:
        return None
    return has_ended(int(match[2]), int(match[3]))
