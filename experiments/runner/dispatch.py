"""Between a schedule and whoever does the work: what other runs hold, what a fault calls for, when to wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from experiments.runner.budget import Budget
from experiments.runner.disk import disk_bytes
from experiments.runner.schedule import LOST_LIMIT, NEVER, Schedule
from experiments.store.damage import Damage
from experiments.store.files import read_json
from experiments.store.layout import FAILURE
from experiments.store.progress import TaskProgress
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.store.training_records import Pruning
from experiments.sweep.jobs import Job, Outcome, Task
from experiments.sweep.segments import segment_starts
from experiments.sweep.tasks import Evaluation

LOOK_S = 2.0  # between looks at what other runs are at
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0  # for a full disk that seems to have room: a quota, a limit
SPARE_BYTES = 2**23  # beside what a task needs: journals, logs, pictures


@dataclass
class Started:
    """A job that runs: what it has told of, and what it occupies."""

    job: Job
    heard: float  # when it was started, or when it told of a task last
    devices: float
    told: set[str] = field(default_factory=set)


@dataclass
class _Pause:
    until: float
    needs: int
    length: float


def is_done(store: Store, task: Task) -> bool:
    """Whether the store has all that a task is to give."""
    if isinstance(task, Evaluation):
        result = store.result(EvaluationResult, task.signature)
        return result is not None and task.is_covered_by(result)
    return store.result(task.result_type, task.signature) is not None


def tell_damage(damage: Damage) -> str:
    """A line of the store's log of damage, for people."""
    files = ", ".join(f"{damage.kind}/{damage.signature}/{name}" for name in damage.files)
    return f"Damaged and set aside, to be redone: {files} ({damage.why})"


def parts_left(store: Store, evaluation: Evaluation) -> int:
    """How many segments of an evaluation are neither drawn nor being drawn."""
    shelf = store.folder("drawings", evaluation.drawing) / evaluation.features.signature
    drawn = {path.name[:8] for path in shelf.glob("*.safetensors")}
    open_ = [start for start in segment_starts(evaluation.config.images) if f"{start:08d}" not in drawn]
    return sum(store.holder("segments", evaluation.segment_name(start)) is None for start in open_)


class Dispatcher:
    """Hands out jobs and takes in outcomes; not for several threads at once.

    on_change is told of every task that was started or has ended, notify of what a person should know. session: of a
    run, which may be asked to stop. asha: whether what was pruned stays so.
    """

    def __init__(
        self,
        schedule: Schedule,
        store: Store,
        on_change: Callable[[Task], None] = lambda _: None,
        notify: Callable[[str], None] = lambda _: None,
        budget: Budget | None = None,
        session: str = "",
        asha: bool = False,
    ) -> None:
        self.session, self.asha = session, asha
        self.schedule, self.store, self.budget = schedule, store, budget
        self.on_change, self.notify = on_change, notify
        self.running: dict[str, Started] = {}
        self.spent_s = 0.0  # of devices
        self.worked_s = 0.0  # of workers, in the work itself
        self._lost_in_a_row = 0
        self._pause: _Pause | None = None
        self._looked = -LOOK_S
        _, self._known_damage = store.damages_since(0)
        self._left: dict[str, tuple[float, int]] = {}
        self._cancelled: set[str] = set()  # what was asked to be left, as far as it is known here
        schedule.left = self._parts_left

    # handing out ----------------------------------------------------------------------------------

    def next(self, key: str, devices: Callable[[Task], float] = lambda _: 1.0) -> Job | None:
        """The job to start now, under a key that its outcomes come back with; None while there is none."""
        self._look()
        while (job := self.schedule.take()) is not None:
            mine = job if job.helps else self._unclaimed(job)
            if not mine.tasks:
                continue
            needs = devices(mine.tasks[0])
            if self.budget is not None and not job.helps and self._too_much(mine, needs):
                continue
            self.running[key] = Started(mine, time.monotonic(), needs)
            for task in () if mine.helps else mine.tasks:
                self.on_change(task)
            return mine
        return None

    def _unclaimed(self, job: Job) -> Job:
        """The job without what another run is at, or has finished in the meantime."""
        free = []
        for task in job.tasks:
            if is_done(self.store, task):
                self._ended(task.signature, Outcome("done"))
            elif self.store.holder(task.store_kind, task.signature) is not None:
                self._ended(task.signature, Outcome("elsewhere"))
            else:
                free.append(task)
        return Job(tuple(free))

    def _too_much(self, job: Job, devices: float) -> bool:
        """Whether a job would break the budget; then nothing more is started."""
        assert self.budget is not None
        more = sum(map(self._known_s, job.tasks)) * devices
        reason = self.budget.refusal(self.spent_s + self._committed_s() + more)
        if reason is None:
            return False
        for task in job.tasks:
            self.schedule.free(task.signature)
        self._give_up(reason)
        return True

    def _committed_s(self) -> float:
        """Device-seconds that go to what runs already, to its end; what helpers do is a part of that."""
        jobs = [started for started in self.running.values() if not started.job.helps]
        return sum(
            started.devices * sum(self._known_s(p) for p in started.job.tasks if p.signature not in started.told)
            for started in jobs
        )

    def _known_s(self, task: Task) -> float:
        """How long a task takes, as far as that was ever measured: a guess stops nothing."""
        return self.schedule.costs.seconds(task) if self.schedule.costs.measured(task) else 0.0

    def _parts_left(self, evaluation: Evaluation) -> int:
        """How many parts of an evaluation nobody has begun to draw."""
        name, now = evaluation.signature, time.monotonic()
        made, left = self._left.get(name, (-LOOK_S, 0))
        if now - made >= LOOK_S:
            left = parts_left(self.store, evaluation)
            self._left[name] = (now, left)
        return left

    # taking in ------------------------------------------------------------------------------------

    def outcome(self, key: str, name: str, outcome: Outcome) -> None:
        """One of a job's tasks has ended."""
        started = self.running.get(key)
        if started is None or name in started.told:
            return
        started.told.add(name)
        started.heard = time.monotonic()
        self.worked_s += outcome.seconds
        self.spent_s += outcome.seconds * started.devices
        self._lost_in_a_row = 0
        if not started.job.helps:
            self._ended(name, outcome)
        elif outcome.state == "failed":
            self._helper_failed(name, outcome)

    def _helper_failed(self, name: str, outcome: Outcome) -> None:
        task = self.schedule.tasks[name]
        if outcome.fault == "disk":
            self._pause_for(task, outcome)
        elif name not in self.schedule.unhelpful:
            self.schedule.unhelpful.add(name)
            self.notify(
                f"Nobody helps with {self.schedule.name(task)} any more, its own trial goes on: {outcome.message}"
            )

    def closed(self, key: str, message: str = "the worker was lost") -> None:
        """A job has ended; what it has not answered for was lost with its worker."""
        started = self.running.pop(key)
        if started.job.helps:
            self.schedule.helped(started.job.tasks[0].signature)
            return
        state = "stopped" if self.schedule.stopping else "failed"
        lost = [task for task in started.job.tasks if task.signature not in started.told]
        if lost:
            self.spent_s += (time.monotonic() - started.heard) * started.devices
        for task in lost:
            self._ended(task.signature, Outcome(state, message, "lost"))
        self._lost_in_a_row += bool(lost)
        if self._lost_in_a_row >= LOST_LIMIT:
            reason = f"{LOST_LIMIT} workers in a row were lost before any of them finished a task: {message}"
            self._give_up(reason)

    def abandon(self, reason: str) -> None:
        """Nobody does any of it any more: what runs is lost, and nothing more is started."""
        for key in list(self.running):
            self.closed(key, reason)
        self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        """Start nothing more, and say why."""
        self.schedule.withhold([task.signature for task in self.schedule.of("waiting")], reason)
        self.notify(reason)

    def signs_of_life(self) -> str:
        """What changes as long as anything goes on: jobs, and how far their tasks are."""
        tasks = [task for started in list(self.running.values()) for task in started.job.tasks]
        told = [TaskProgress.read(self.store.folder(p.store_kind, p.signature)) for p in tasks]
        return f"{sorted(self.running)} {told}"

    def _ended(self, name: str, outcome: Outcome) -> None:
        task = self.schedule.tasks[name]
        if outcome.fault == "disk" and outcome.state == "failed":
            self._pause_for(task, outcome)
        if outcome.fault == "damaged":
            self._redo_what_it_stands_on(name)
        self.schedule.ended(name, outcome)
        if outcome.state == "done":
            self._learn(task)
        self.on_change(task)
        for notice in self.schedule.notices:
            self.notify(notice)
        self.schedule.notices.clear()

    def _learn(self, task: Task) -> None:
        """What all of a task took, whoever did parts of it and when."""
        result = self.store.result(task.result_type, task.signature)
        if result is not None:
            self.schedule.costs.learn(task, result.work_s)

    def _redo_what_it_stands_on(self, name: str) -> None:
        for needed in self.schedule.needs.get(name, ()):
            if not is_done(self.store, self.schedule.tasks[needed]):
                self.schedule.undo(needed)

    # waiting --------------------------------------------------------------------------------------

    def _look(self) -> None:
        """See what other runs have done, and whether the disk has room again."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        if self.session and self.store.stop_requested(self.session):
            self.schedule.stop()
        self._take_cancellations()
        damages, self._known_damage = self.store.damages_since(self._known_damage)
        for damage in damages:
            self.notify(tell_damage(damage))
        for task in self.schedule.of("elsewhere"):
            self._look_at(task)
        if self.schedule.paused is not None and self._has_room(now):
            self.schedule.paused = None
            self.notify(f"{self.store.root}: there is room again, work goes on")

    def _take_cancellations(self) -> None:
        """Leave what a person, in whatever process, has asked this run to leave."""
        asked = self.store.cancelled(self.session) if self.session else set()
        for name in asked - self._cancelled:
            self._cancelled.add(name)
            for running in self.schedule.cancel(name):
                self._cancelled.add(running)
                self.store.request_stop(self.session, running)
            if name in self.schedule.tasks:
                self.on_change(self.schedule.tasks[name])

    def _has_room(self, now: float) -> bool:
        assert self._pause is not None
        return now >= self._pause.until and self.store.free_bytes() >= self._pause.needs

    def _look_at(self, task: Task) -> None:
        kind, name = task.store_kind, task.signature
        if is_done(self.store, task):
            self._ended(name, Outcome("done"))
        elif self.store.holder(kind, name) is None:
            self._left_undone(task)

    def _left_undone(self, task: Task) -> None:
        """Another run no longer is at a task, and has not finished it: what failed for good there fails here.

        No clocks are compared: whoever begins a task removes what an earlier attempt has left.
        """
        folder = self.store.folder(task.store_kind, task.signature)
        failure = read_json(folder / FAILURE) or {}
        pruned = Pruning.of(folder) if self.asha else None
        if pruned is not None:
            self._ended(task.signature, Outcome("pruned", pruned.text))
        elif failure.get("fault") in NEVER:
            self._ended(task.signature, Outcome("failed", failure["message"], failure["fault"]))
        else:
            self.schedule.free(task.signature)

    def _pause_for(self, task: Task, outcome: Outcome) -> None:
        """The disk is full: start nothing more until there is room for a task like this one."""
        needs = round(1.2 * disk_bytes(task)) + SPARE_BYTES
        free, before = self.store.free_bytes(), self._pause
        length = min(2 * before.length, LONGEST_PAUSE_S) if before and free >= needs else FIRST_PAUSE_S
        self._pause = _Pause(time.monotonic() + length, needs, length)
        if self.schedule.paused is not None:
            return
        left = sum(map(disk_bytes, self.schedule.of("waiting", "running")))
        self.schedule.paused = (
            f"{self.store.root}: the disk is full ({_mib(free)} free); nothing new is started until {_mib(needs)} are "
            f"free, and all that is left needs about {_mib(left + SPARE_BYTES)}. Make room, and it goes on by itself"
        )
        self.notify(f"{self.schedule.paused} ({outcome.message})")


def _mib(number: float) -> str:
    return f"{number / 2**30:,.1f} GiB" if number >= 2**30 else f"{number / 2**20:,.1f} MiB"
