"""Between a schedule and whoever does the work: what other runs hold, what a failure calls for, when to wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from experiments.runner.budget import Budget
from experiments.runner.disk_pause import DiskPause
from experiments.runner.options import Options
from experiments.runner.retries import LOST_LIMIT
from experiments.runner.schedule import Schedule
from experiments.runner.stored import damage_notice, is_done, parts_left
from experiments.store.failures import Failure
from experiments.store.layout import LOG
from experiments.store.progress import TaskProgress
from experiments.store.store import Store
from experiments.store.training_records import Pruning
from experiments.sweep.jobs import Job, Outcome, Task
from experiments.sweep.tasks import DataSource, Evaluation


@dataclass
class RunningJob:
    """A job that was started, the devices it occupies, and which of its tasks it has reported on.

    last_report: when it was started, or last reported on a task.
    """

    job: Job
    last_report: float
    devices: float
    reported: set[str] = field(default_factory=set)

    @property
    def unreported(self) -> list[Task]:
        """Its tasks of which it has not reported how they ended."""
        return [task for task in self.job.tasks if task.signature not in self.reported]


class Dispatcher:
    """Hands out jobs and takes in outcomes; to be called from one thread.

    on_change: called with every task that was started or has ended. notify: called with sentences for people. run_id:
    of the run, which may be asked to stop. options: the run's budget, whether it accepts prunings by other runs, and
    how long it waits.
    """

    def __init__(
        self,
        schedule: Schedule,
        store: Store,
        on_change: Callable[[Task], None] = lambda _: None,
        notify: Callable[[str], None] = lambda _: None,
        run_id: str = "",
        options: Options = Options(),
    ) -> None:
        self.schedule, self.store = schedule, store
        self.on_change, self.notify = on_change, notify
        self.run_id, self.asha, self.timing = run_id, options.asha, options.timing
        self.budget = Budget(options.budget_s) if options.budget_s is not None else None
        self.running: dict[str, RunningJob] = {}
        self.spent_s = options.spent_s  # of devices
        self.worked_s = 0.0  # of workers, in the tasks themselves
        self._lost_in_a_row = 0
        self._pause = DiskPause(store, self.timing)
        self._looked = -self.timing.look_s
        _, self._known_damage = store.damages_since(0)
        self._parts_left: dict[str, tuple[float, int]] = {}  # when it was looked up, and how many
        self._cancelled: set[str] = set()  # requests to leave a task that are known here
        self._told: set[str] = set()  # tasks of which it was said that another run works on them
        schedule.helpers.parts_left = self._recent_parts_left

    # handing out ----------------------------------------------------------------------------------

    def next(self, key: str, devices: Callable[[Task], float] = lambda _: 1.0) -> Job | None:
        """Return the job to start now, whose outcomes come back under a key; None while there is none."""
        self._look()
        while (taken := self.schedule.take()) is not None:
            job = taken if taken.helps else self._unclaimed(taken)
            if not job.tasks:
                continue
            occupied = devices(job.tasks[0])
            if not job.helps and self._breaks_budget(job, occupied):
                continue
            self.running[key] = RunningJob(job, time.monotonic(), occupied)
            for task in () if job.helps else job.tasks:
                self.on_change(task)
            return job
        return None

    def _unclaimed(self, job: Job) -> Job:
        """The job without what another run works on, or has finished in the meantime."""
        free = []
        for task in job.tasks:
            if is_done(self.store, task):
                self._ended(task, Outcome("done"))
            elif self.store.holder(task.store_kind, task.signature) is not None:
                self._ended(task, Outcome("elsewhere"))
            else:
                free.append(task)
        return Job(tuple(free))

    def _breaks_budget(self, job: Job, devices: float) -> bool:
        """Return whether a job would break the budget; then nothing more is started."""
        if self.budget is None:
            return False
        more_s = sum(map(self._measured_s, job.tasks)) * devices
        reason = self.budget.refusal(self.spent_s + self._committed_s() + more_s)
        if reason is None:
            return False
        for task in job.tasks:
            self.schedule.release(task.signature)
        self._give_up(reason)
        return True

    def _committed_s(self) -> float:
        """Device-seconds that running jobs still need; what helpers do is a part of that."""
        jobs = [running for running in self.running.values() if not running.job.helps]
        return sum(running.devices * sum(map(self._measured_s, running.unreported)) for running in jobs)

    def _measured_s(self, task: Task) -> float:
        """How long a task takes, 0 where that was never measured: a guess stops nothing."""
        return self.schedule.costs.seconds(task) if self.schedule.costs.measured(task) else 0.0

    def _recent_parts_left(self, evaluation: Evaluation) -> int:
        """How many parts of an evaluation nobody has begun, looked up every few seconds."""
        signature, now = evaluation.signature, time.monotonic()
        looked, left = self._parts_left.get(signature, (-self.timing.look_s, 0))
        if now - looked >= self.timing.look_s:
            left = parts_left(self.store, evaluation)
            self._parts_left[signature] = (now, left)
        return left

    # taking in ------------------------------------------------------------------------------------

    def outcome(self, key: str, signature: str, outcome: Outcome) -> None:
        """Take in how one of a job's tasks ended; what was reported before is passed over."""
        running = self.running.get(key)
        if running is None or signature in running.reported:
            return
        running.reported.add(signature)
        running.last_report = time.monotonic()
        self.worked_s += outcome.seconds
        self.spent_s += outcome.seconds * running.devices
        self._lost_in_a_row = 0
        task = self.schedule.tasks[signature]
        if not running.job.helps:
            self._ended(task, outcome)
        elif outcome.failure is not None:
            self._helper_failed(task, outcome.failure)

    def _helper_failed(self, task: Task, failure: Failure) -> None:
        if failure.kind == "disk":
            self._pause_for(task, failure)
        elif self.schedule.helpers.refuse(task.signature):
            name = self.schedule.name(task)
            told = "a worker that helped failed, so the evaluation continues without help"
            self.notify(f"{name}: {told} ({failure.message})")

    def closed(self, key: str, message: str = "the worker was lost") -> None:
        """Take in that a job has ended; tasks it has not reported on were lost with its worker."""
        running = self.running.pop(key, None)
        if running is None:  # Ray was lost, and the thread that gives up the run was faster than Tune's
            return
        if running.job.helps:
            self.schedule.helpers.left(running.job.tasks[0].signature)
            return
        lost = running.unreported
        if lost:
            self.spent_s += (time.monotonic() - running.last_report) * running.devices
        for task in lost:
            self._ended(task, self._lost(task, message))
        self._lost_in_a_row += bool(lost)
        if self._lost_in_a_row >= LOST_LIMIT:
            self._give_up(f"{LOST_LIMIT} workers in a row were lost before any of them finished a task: {message}")

    def _lost(self, task: Task, message: str) -> Outcome:
        if self.schedule.stopping:
            return Outcome("interrupted")
        log = self.store.folder_of(task) / LOG
        return Outcome.failed(Failure(message, "lost", log=str(log)))

    def require_store(self) -> None:
        """Raise UserError where the store is no longer where it was when the run began."""
        if self.run_id:
            self.store.require_run(self.run_id)

    def spent_until_now_s(self) -> float:
        """Return the device-seconds used so far, with those of running jobs."""
        now, jobs = time.monotonic(), list(self.running.values())  # a copy, as Tune's thread may still change it
        return self.spent_s + sum((now - job.last_report) * job.devices for job in jobs if not job.job.helps)

    def abandon(self, reason: str) -> None:
        """Give up a run whose workers are all gone: what runs is lost, and nothing more is started."""
        for key in list(self.running):
            self.closed(key, reason)
        self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        """Start nothing more, and say why."""
        self.schedule.withhold([task.signature for task in self.schedule.of("waiting")], reason)
        self.notify(reason)

    def signs_of_life(self) -> str:
        """Return a text that changes whenever a job starts or ends, or a task makes progress."""
        tasks = [task for running in list(self.running.values()) for task in running.job.tasks]
        progress = [TaskProgress.read(self.store.folder_of(task)) for task in tasks]
        return f"{sorted(self.running)} {progress}"

    def _ended(self, task: Task, outcome: Outcome) -> None:
        failure = outcome.failure
        if failure is not None and failure.kind == "disk":
            self._pause_for(task, failure)
        if failure is not None and failure.kind == "damaged":
            self._redo_dependencies(task)
        self.schedule.ended(task.signature, outcome)
        if outcome.state == "done":
            self._learn(task)
        if outcome.state != "elsewhere" or task.signature not in self._told:
            self.on_change(task)
        if outcome.state == "elsewhere":
            self._told.add(task.signature)
        for notice in self.schedule.notices:
            self.notify(notice)
        self.schedule.notices.clear()

    def _learn(self, task: Task) -> None:
        """Let the costs know what all of a task took, whoever did parts of it and when."""
        if isinstance(task, DataSource):
            return  # nothing else is estimated by it
        result = self.store.result(task.result_type, task.signature)
        if result is not None:
            self.schedule.costs.learn(task, result.work_s)

    def _redo_dependencies(self, task: Task) -> None:
        """Let what a task depends on be done again where the store has lost it."""
        for needed in self.schedule.graph.dependencies(task.signature):
            if not is_done(self.store, self.schedule.tasks[needed]):
                self.schedule.redo(needed)

    # waiting --------------------------------------------------------------------------------------

    def _look(self) -> None:
        """See what other runs have done, what people ask for, and whether the disk has room again."""
        now = time.monotonic()
        if now - self._looked < self.timing.look_s:
            return
        self._looked = now
        if self.run_id and self.store.stop_requested(self.run_id):
            self.schedule.stop()
        self._take_cancellations()
        damages, self._known_damage = self.store.damages_since(self._known_damage)
        for damage in damages:
            self.notify(damage_notice(damage))
        for task in self.schedule.of("elsewhere"):
            self._look_at(task)
        if self.schedule.paused is not None and self._pause.is_over:
            self.schedule.paused = None
            self.notify(f"{self.store.root}: there is room on the disk again, the run continues")

    def _take_cancellations(self) -> None:
        """Leave the tasks that a person, in whatever process, has asked this run to leave."""
        asked = self.store.cancelled(self.run_id) if self.run_id else set()
        for signature in asked - self._cancelled:
            self._cancelled.add(signature)
            for running in self.schedule.cancel(signature):
                self._cancelled.add(running)
                self.store.request_stop(self.run_id, running)
            if self.schedule.states.get(signature) == "cancelled":  # it may have been done already
                self.on_change(self.schedule.tasks[signature])

    def _look_at(self, task: Task) -> None:
        if is_done(self.store, task):
            self._ended(task, Outcome("done"))
        elif self.store.holder(task.store_kind, task.signature) is None:
            self._left_undone(task)

    def _left_undone(self, task: Task) -> None:
        """Take over a task that another run has left unfinished; what failed for good there has failed here.

        No clocks are compared: whoever begins a task removes what an earlier attempt has left.
        """
        folder = self.store.folder_of(task)
        failure = Failure.read(folder)
        pruning = Pruning.of(folder) if self.asha else None
        if pruning is not None:
            self._ended(task, Outcome("pruned", pruning.text))
        elif failure is not None and failure.is_permanent:
            self._ended(task, Outcome.failed(failure))
        else:
            self.schedule.release(task.signature)

    def _pause_for(self, task: Task, failure: Failure) -> None:
        """Start nothing more until the disk has room for a task like this one."""
        self._pause.begin(task)
        if self.schedule.paused is None:
            self.schedule.paused = self._pause.sentence(self.schedule.of("waiting", "running"))
            self.notify(f"{self.schedule.paused} ({failure.message})")
