"""How far a run is: totals, each running task, and the time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from experiments.runner.costs import Costs
from experiments.runner.durations import DurationModel
from experiments.runner.forecast import forecast
from experiments.runner.schedule import Schedule
from experiments.runner.states import State
from experiments.store.active_runs import publish_progress
from experiments.store.progress import LOADING_TORCH, RunProgressRecord, TaskProgress
from experiments.store.store import Store
from experiments.sweep.jobs import Task
from experiments.sweep.tasks import Evaluation
from experiments.wording import duration

PUBLISH_S = 2.0  # between writes of a run's progress to the store
QUEUED, STARTING = "queued", "starting worker"  # phases of tasks that no worker has begun
ESTIMATE_S, ESTIMATE_SHARE = 5.0, 0.05  # between estimates of the time left; share of the time they may take


@dataclass(frozen=True)
class RunningTask:
    """A task that was handed out, and how far it is.

    phase: what it does now; "" while `progress` counts all that it does. progress: None before a worker has begun it.
    """

    task: Task
    name: str
    phase: str
    progress: TaskProgress | None

    @property
    def left_s(self) -> float | None:
        """Seconds to its end at its present speed, where that is known."""
        return self.progress.left_s if self.progress is not None else None


class RunProgress:
    """Answers how far a run is, and publishes that to the store for other processes."""

    def __init__(self, schedule: Schedule, store: Store, run_id: str) -> None:
        self.schedule, self.store, self.run_id = schedule, store, run_id
        self.began = time.monotonic()
        self.total, self._done_before = schedule.counts["waiting"], schedule.counts["done"]
        self._estimate: tuple[float, float] = (0.0, 0.0)  # when it was made, seconds left then
        self._estimate_until = 0.0
        self._published = -PUBLISH_S

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began to start tasks."""
        return time.monotonic() - self.began

    @property
    def done(self) -> int:
        """How many tasks this run has finished."""
        return self.schedule.counts["done"] - self._done_before

    @property
    def counts(self) -> Mapping[State, int]:
        """How many tasks of the whole plan are in each state."""
        return self.schedule.counts

    def running(self) -> list[RunningTask]:
        """Return the tasks that were handed out, in the plan's order."""
        starting, running = self.schedule.starting(), self.schedule.of("running")
        return [self._running(task, STARTING if task.signature in starting else QUEUED) for task in running]

    @property
    def has_loaded_torch(self) -> bool:
        """Whether a worker has loaded torch: it does a task, or has done one."""
        if self.done or self.counts["failed"]:
            return True
        return any(own.progress is not None and own.phase != LOADING_TORCH for own in self.running())

    def _running(self, task: Task, before: str) -> RunningTask:
        progress = TaskProgress.read(self.store.folder_of(task))
        phase = before if progress is None else progress.phase or ""
        return RunningTask(task, self.schedule.name(task), phase, progress)

    def time_left(self) -> str:
        """Return in words how long the run will take, or what it waits for."""
        if self.schedule.stopping:
            return "stopping"
        if self.schedule.paused:
            return "waiting for room on the disk"
        now = time.monotonic()
        if now > self._estimate_until:
            self._estimate = (now, self._seconds_left())
            # for a large plan an estimate takes a while, in which the driver can do nothing else
            self._estimate_until = now + max(ESTIMATE_S, (time.monotonic() - now) / ESTIMATE_SHARE)
        made, seconds = self._estimate
        return f"about {duration(max(seconds - (now - made), 1))} left"

    def publish(self) -> None:
        """Write to the store how far the run is, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._published < PUBLISH_S:
            return
        self._published = now
        counts: dict[str, int] = {**self.counts}
        publish_progress(self.store, self.run_id, RunProgressRecord(self.total, self.done, self.time_left(), counts))

    def _seconds_left(self) -> float:
        """The forecast of what is left, less what running tasks have done of theirs.

        It is no less than what a running task that no other worker can help with needs at its present speed.
        """
        costs = self.schedule.costs
        left = self.schedule.of("waiting", "running", "elsewhere")
        whole = forecast(self.schedule.plan, left, self.store, costs if isinstance(costs, DurationModel) else None)
        running = self.running()
        already_s = sum(_already_s(own, costs) for own in running)
        share = max(1 - already_s / whole.work_s, 0.0) if whole.work_s else 0.0
        alone = (own.left_s or 0.0 for own in running if not _can_be_helped(own.task))
        return max([whole.wall_s * share, *alone])


def _already_s(own: RunningTask, costs: Costs) -> float:
    """How much of its forecast, which leaves out what an earlier run had saved, a running task has done."""
    if own.progress is None:
        return 0.0
    saved = costs.saved_share(own.task)
    return costs.seconds(own.task) * max(own.progress.share - saved, 0.0) / (1 - saved)


def _can_be_helped(task: Task) -> bool:
    """Whether idle workers may draw a part of a task's images."""
    return isinstance(task, Evaluation) and task.num_segments > 1
