"""What can be told of a lease from outside: its number, its content, and for how long it has not changed."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.store import processes
from experiments.store.json_text import parse_json

NAME = re.compile(r"\.lease-(\d{6,})")


@dataclass(frozen=True)
class LeaseTiming:
    """How often a holder counts up, and for how long others watch a count that stays the same; the same for all.

    clock: by which a process watches; it never goes back.
    """

    beat_s: float = 5.0
    stale_s: float = 60.0
    clock: Callable[[], float] = time.monotonic


STANDARD_TIMING = LeaseTiming()


def lease_path(folder: Path, generation: int) -> Path:
    """Return the file of a folder's lease with a number."""
    return folder / f".lease-{generation:06d}"


def generations(folder: Path) -> list[int]:
    """Return the numbers of all leases that lie in a folder; empty where there is no such folder."""
    try:
        return [int(match[1]) for match in map(NAME.fullmatch, os.listdir(folder)) if match]
    except (FileNotFoundError, NotADirectoryError):
        return []


def parsed(content: bytes) -> dict[str, Any]:
    """Return what a lease says; {} where it is damaged, so that it is watched like any other."""
    try:
        state = parse_json(content)
        return {**state, "pid": int(state["pid"])}
    except (ValueError, KeyError, TypeError):
        return {}


def is_gone(state: dict[str, Any]) -> bool:
    """Return whether the holder was a process of this machine, and has ended."""
    return state.get("machine") == processes.machine() and processes.has_ended(state["pid"], state.get("born"))


def silence_s(folder: Path) -> float | None:
    """Return how long ago the holder of a folder last counted up, by the clock of the disk, which wrote both times.

    None where nothing can be written there to read that clock.
    """
    numbers, probe = generations(folder), folder / f".clock{processes.temporary_suffix()}"
    try:
        beat = lease_path(folder, max(numbers, default=0)).stat().st_mtime
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
    except OSError:
        return None
    return max(0.0, now - beat)


# watching -----------------------------------------------------------------------------------------


@dataclass
class Watch:
    """For how long a lease had the same content."""

    content: bytes
    last_look: float
    seconds: float = 0.0


_watches: dict[Path, Watch] = {}
_silent: set[str] = set()


def is_stale(path: Path, content: bytes, timing: LeaseTiming) -> bool:
    """Return whether the holder of a lease has given no sign of life for too long, as far as this process has watched.

    A process that was seen to be silent need not be watched for each of its leases: there the disk's clock decides.
    """
    holder = _identity(parsed(content))
    if holder in _silent and (silence_s(path.parent) or 0.0) >= timing.stale_s:
        return True
    if _watched_s(path, content, timing) < timing.stale_s:
        return False
    if holder:
        _silent.add(holder)
    return True


def forget(path: Path) -> None:
    """Forget for how long a lease was watched, as it is known to be free."""
    _watches.pop(path, None)


def silent_processes() -> list[str]:
    """Return the processes that this one has seen to be silent for too long, to be told to another process."""
    return sorted(_silent)


def note_silent(found: Iterable[str]) -> None:
    """Take in which processes another process has seen to be silent."""
    _silent.update(found)


def _identity(state: dict[str, Any]) -> str:
    """Return what tells a holder from all other processes, "" where that is unknown."""
    return " ".join(str(state[key]) for key in ("machine", "pid", "born")) if "machine" in state else ""


def _watched_s(path: Path, content: bytes, timing: LeaseTiming) -> float:
    """Return for how long this process has seen a lease with the same content.

    A pause between two looks counts for at most a quarter of `stale_s`: a process that was itself suspended, as the
    holder beside it may have been, has watched nothing.
    """
    now, watch = timing.clock(), _watches.get(path)
    if watch is None or watch.content != content:
        _watches[path] = Watch(content, now)
        return 0.0
    watch.seconds += min(now - watch.last_look, timing.stale_s / 4)
    watch.last_look = now
    return watch.seconds
