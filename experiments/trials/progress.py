"""Reports the progress of a trial and checks whether it should stop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from edm.data.progress import CountedStep, StepMeter
from experiments.store import leases
from experiments.store.leases import LeaseLost
from experiments.store.progress import TaskProgress
from experiments.store.store import Store
from experiments.trials.context import Interrupted, TrialContext

MIB = 2**20

log = logging.getLogger("edm_sweep")


class PhaseReporter:
    """Writes down what a task does that is not counted, in its progress and its log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = ""

    def __call__(self, phase: str) -> None:
        """Report a phase, such as "loading torch"; one that is reported again and again is written once."""
        if phase == self.last:
            return
        self.last = phase
        log.info("%s", phase)
        with suppress(OSError):  # a full disk: what matters more will meet it, too
            TaskProgress.of_phase(phase).write(self.folder)


class StepReporter:
    """Writes the steps of a task into its log, and how far the present one is every `report_s` seconds.

    check: called as often, and raises where the task is to stop.
    """

    def __init__(self, folder: Path, report_s: float = 0.5, check: Callable[[], None] = lambda: None) -> None:
        self.folder, self.report_s, self.check = folder, report_s, check
        self._phase, self._meter = PhaseReporter(folder), StepMeter()
        self._reported = self._checked = -math.inf

    def report(self, step: str, done: int, total: int) -> None:
        """Report how much of a step is done; total is 0 where nobody knows."""
        is_new, now = step != self._phase.last, time.monotonic()
        if now - self._checked >= self.report_s:
            self._checked = now
            self.check()
        self._phase(step)
        rate = self._meter.rate(step, done)
        if not total or (not is_new and now - self._reported < self.report_s):
            return
        self._reported = now
        self._write(step, done, total, rate)

    def _write(self, step: str, done: int, total: int, rate: float) -> None:
        unit, scale = step.unit if isinstance(step, CountedStep) else "", 1
        if unit == "bytes":
            unit, scale = "MiB", MIB
        amounts = round(done / scale, 1), round(total / scale, 1)
        with suppress(OSError):  # a full disk: what matters more will meet it, too
            TaskProgress(*amounts, unit, rate / scale, phase=str(step)).write(self.folder)


class ProgressReporter:
    """Writes how far a task is and checks whether it should stop, at most every `report_s` seconds."""

    def __init__(self, store: Store, context: TrialContext, folder: Path, unit: str, total: float) -> None:
        self.store, self.context, self.folder = store, context, folder
        self.unit, self.total = unit, total
        self.started = time.monotonic()
        self.first_done: float | None = None
        self.last_report = -math.inf
        self.silent = False  # where another trial reports on the same task
        self._phase = PhaseReporter(folder)
        self._activity = ""  # other than the counted one

    def beat(self, done: float, loss: float | None = None) -> bool:
        """Report `done` of the total if it is time; return whether it was, so that the caller checks for a stop."""
        now = time.monotonic()
        if now - self.last_report < self.context.report_s:
            return False
        raise_if_taken_over(self.folder)
        if self.first_done is None:
            self.first_done, self.started = done, now  # so that loading and compiling do not count as slowness
        self.last_report, self._activity = now, ""
        elapsed = now - self.started
        rate = (done - self.first_done) / elapsed if elapsed > 1 else 0.0
        self._write(TaskProgress(done, self.total, self.unit, rate, loss))
        return True

    def report(self, done: float) -> None:
        """Report `done` of the total if it is time; raises Interrupted where a stop is requested."""
        if self.beat(done):
            self.raise_if_stop_requested()

    def report_other_work(self, activity: str, done: int, total: int) -> None:
        """Report what is counted beside the task's own work, such as real images; raises Interrupted if to stop."""
        if self.count_other_work(activity, done, total):
            self.raise_if_stop_requested()

    def count_other_work(self, activity: str, done: int, total: int) -> bool:
        """Report what is counted beside the task's own work if it is time; return whether it was.

        The first report of an activity is written at once, as the one before would say what is not done any more.
        """
        now = time.monotonic()
        if activity == self._activity and now - self.last_report < self.context.report_s:
            return False
        self.last_report, self._activity = now, activity
        self._write(TaskProgress(done, max(total, 1), activity))
        return True

    def phase(self, phase: str) -> None:
        """Report what the task does that is not counted; raises Interrupted where a stop is requested."""
        self.raise_if_stop_requested()
        if not self.silent:
            self._phase(phase)

    def _write(self, progress: TaskProgress) -> None:
        self._phase.last = ""  # so that a phase that comes again is written again
        if not self.silent:
            with suppress(OSError):  # a full disk: writing the results fails as well, and that is reported
                progress.write(self.folder)

    @property
    def stop_requested(self) -> bool:
        """Whether the run was asked to stop, or to stop working on this task."""
        return self.store.stop_requested(self.context.run_id, self.folder.name)

    def raise_if_stop_requested(self) -> None:
        """Raise Interrupted if a stop was requested."""
        if self.stop_requested:
            raise Interrupted


def raise_if_taken_over(folder: Path) -> None:
    """Raise LeaseLost if another run has taken over the task of `folder`."""
    lease = leases.own(folder)
    if lease is not None and lease.lost:
        raise LeaseLost(f"{folder}: was taken over by another run")
