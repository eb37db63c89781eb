"""Which process wrote a file or holds a lease, and whether it still runs."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
import socket
from pathlib import Path

WRITER = re.compile(r"\.([0-9a-f]{8})-(\d+)-(\d+)-\d+\.part$")
_numbers = itertools.count()


@functools.cache
def machine() -> str:
    """Return a digest that differs for every machine, restart of it, and namespace of process numbers."""
    parts = [socket.gethostname()]
    try:
        parts += [
            Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            str(Path("/proc/self/ns/pid").readlink()),
        ]
    except OSError:
        import psutil  # only where there is no /proc: a tenth of the start of a command

        parts.append(f"{psutil.boot_time():.0f}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def born(pid: int) -> int | None:
    """Return when a process of this machine was started, as a number without a unit; None where that is hidden.

    -1 where the process has ended and waits for its parent to notice.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ended = fields[0] in "ZX" and int(fields[17]) < 2  # a thread of it may still be writing
        return -1 if ended else int(fields[19])  # ticks since the start: they do not jump with the clock
    except OSError:
        pass
    import psutil

    try:
        return int(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def has_ended(pid: int, born_then: int | None) -> bool:
    """Return whether a process has ended; another user's may be hidden, but is known to exist."""
    import psutil

    return not psutil.pid_exists(pid) or born(pid) not in (None, born_then)


def temporary_suffix() -> str:
    """Return an ending for a temporary file's name that says who writes it.

    It is `.<machine>-<pid>-<born>-<number>.part`.
    """
    pid = os.getpid()
    return f".{machine()[:8]}-{pid}-{own_birth(pid)}-{next(_numbers)}.part"


@functools.lru_cache(maxsize=1)
def own_birth(pid: int) -> int:
    """Return `born` of this process, whose number is `pid`; a forked child has another one."""
    return born(pid) or 0


def writer_is_gone(name: str) -> bool | None:
    """Return whether the writer of a temporary file has ended; None where this machine cannot know."""
    match = WRITER.search(name)
    if match is None or match[1] != machine()[:8]:
        return None
    return has_ended(int(match[2]), int(match[3]))
