"""How a trial reports its progress."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from pathlib import Path

from experiments.store import leases
from experiments.store.leases import LeaseLost
from experiments.store.progress import TaskProgress
from experiments.store.store import Store
from experiments.trials.context import Stopped, TrialContext


class ProgressReporter:
    """Tells how far a task is, and raises Stopped where that is asked for, at most every `report_s` seconds."""

    def __init__(self, store: Store, context: TrialContext, folder: Path, unit: str, total: float) -> None:
        self.store, self.context, self.folder = store, context, folder
        self.unit, self.total = unit, total
        self.started = time.monotonic()
        self.begun_at: float | None = None
        self.last = -math.inf
        self.silent = False  # where another trial tells of the same task

    def beat(self, done: float, loss: float | None = None) -> bool:
        """Report `done` of the total; True where it is time to look whether to stop."""
        now = time.monotonic()
        if now - self.last < self.context.report_s:
            return False
        raise_if_taken_over(self.folder)
        if self.begun_at is None:
            self.begun_at = done
        self.last = now
        elapsed = now - self.started
        rate = (done - self.begun_at) / elapsed if elapsed > 1 else 0.0
        self._write(TaskProgress(done, self.total, self.unit, rate, loss))
        return True

    def report_other_work(self, what: str, done: int, total: int) -> None:
        """Report work on something else than the images that are counted; raises Stopped where that is asked for."""
        now = time.monotonic()
        if now - self.last < self.context.report_s:
            return
        self.last = now
        self.raise_if_stopped()
        self._write(TaskProgress(done, max(total, 1), what))

    def _write(self, progress: TaskProgress) -> None:
        if not self.silent:
            with suppress(OSError):  # a full disk: what matters more will meet it, too
                progress.write(self.folder)

    @property
    def stop_requested(self) -> bool:
        """Whether the run was asked to stop, or to leave this task."""
        return self.store.stop_requested(self.context.run_id, self.folder.name)

    def raise_if_stopped(self) -> None:
        """Raise Stopped where that was asked."""
        if self.stop_requested:
            raise Stopped


def raise_if_taken_over(folder: Path) -> None:
    """Raise LeaseLost where another run took over what this one is at."""
    lease = leases.own(folder)
    if lease is not None and lease.lost:
        raise LeaseLost(f"{folder}: was taken over by another run")
