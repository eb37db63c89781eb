"""Waits for room on a full disk."""

from __future__ import annotations

import time
from collections.abc import Iterable

from experiments.runner.disk import disk_bytes
from experiments.runner.timing import Timing
from experiments.store.store import Store
from experiments.sweep.jobs import Task
from experiments.wording import size

SPARE_BYTES = 2**23  # beside what a task needs: journals, logs, pictures
MARGIN = 1.2


class DiskPause:
    """Starts nothing new until a task like the one that met the full disk would fit."""

    def __init__(self, store: Store, timing: Timing) -> None:
        self.store, self.timing = store, timing
        self._until = self._needs = self._length_s = 0.0

    def begin(self, task: Task) -> None:
        """Begin a pause; it lasts longer than the one before where that did not help although the disk had room."""
        self._needs = MARGIN * disk_bytes(task) + SPARE_BYTES
        longer = self._length_s and self.store.free_bytes() >= self._needs
        self._length_s = (
            min(2 * self._length_s, self.timing.longest_disk_pause_s) if longer else self.timing.disk_pause_s
        )
        self._until = time.monotonic() + self._length_s

    @property
    def is_over(self) -> bool:
        """Whether there is room again, and it was waited long enough."""
        return time.monotonic() >= self._until and self.store.free_bytes() >= self._needs

    def sentence(self, left: Iterable[Task]) -> str:
        """Return what is waited for, for people."""
        all_of_it = sum(map(disk_bytes, left)) + SPARE_BYTES
        return (
            f"{self.store.root}: the disk is full ({size(self.store.free_bytes())} free). No new task starts until "
            f"{size(self._needs)} is free; the remaining tasks need about {size(all_of_it)}. Free some space; the run "
            "then continues by itself"
        )
