"""What to start next. Pure bookkeeping over a plan, whoever does the work; every answer takes logarithmic time."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol

from experiments.sweep.jobs import Job, Outcome, Task
from experiments.sweep.plan import Plan
from experiments.sweep.probes import Probe
from experiments.sweep.tasks import Evaluation, Training

# elsewhere: another run on the same store is at it. blocked: what it stands on failed. withheld: not to be started.
# cancelled: a person asked this run to leave it. skipped: this run was not asked for it
State = Literal[
    "waiting",
    "running",
    "elsewhere",
    "done",
    "failed",
    "stopped",
    "pruned",
    "blocked",
    "withheld",
    "cancelled",
    "skipped",
]
JOINED_S = 60.0  # evaluations are joined into trials of about this length: ten times what a cold worker takes to start
HELP_S = 5.0  # each worker's part of an evaluation that is cut up ought to be longer than this
LOST_LIMIT = 10  # workers that one task may lose before it counts as its own fault
SAME_PLACE = 3  # tasks that fail at the same place in the code, before no more of their kind are started
# what becomes of a task once one that it stands on has come to nothing
ENDS: dict[State, State] = {
    "failed": "blocked",
    "blocked": "blocked",
    "withheld": "withheld",
    "pruned": "pruned",
    "cancelled": "cancelled",
}
UNWANTED: tuple[State, ...] = ("done", "cancelled", "skipped")  # states of what nothing need be done for
FREE = ("lost", "device", "damaged")  # faults that say nothing about the work itself
NEVER = ("input", "diverged")  # faults that come again however often it is tried
Entry = tuple[float, int, str]  # what orders a queue: longest first, then the plan's order


class Costs(Protocol):
    """How long work takes by itself; corrected by what has been done."""

    def seconds(self, task: Task) -> float:
        """What one task takes."""
        ...

    def measured(self, task: Task) -> bool:
        """Whether that rests on a measurement."""
        ...

    def learn(self, task: Task, seconds: float) -> None:
        """Take in what a task took."""
        ...


class Operations:
    """Operations in place of seconds: enough for an order."""

    def seconds(self, task: Task) -> float:
        """A task's floating-point operations."""
        return task.flops

    def measured(self, task: Task) -> bool:
        """No."""
        return False

    def learn(self, task: Task, seconds: float) -> None:
        """Nothing: operations are counted, not measured."""


class Schedule:
    """Probes, then trainings, longest first; an evaluation as soon as what it stands on is done.

    present: signatures of work that the store already holds. probes: what is to be measured first, and which trainings
    wait for it. retries: how often work that failed is tried again. wanted: what is done even if nothing stands on it.
    skipped: evaluations that this run leaves out, and with them what only they stand on.
    """

    def __init__(
        self,
        plan: Plan,
        present: frozenset[str],
        costs: Costs | None = None,
        probes: Mapping[str, tuple[Task, tuple[str, ...]]] | None = None,
        retries: int = 1,
        wanted: frozenset[str] = frozenset(),
        skipped: frozenset[str] = frozenset(),
    ) -> None:
        self.wanted = wanted
        self.plan, self.present, self.costs, self.retries = plan, present, costs or Operations(), retries
        probes = probes or {}
        self.tasks: dict[str, Task] = {
            **{name: probe for name, (probe, _) in probes.items()},
            **plan.trainings,
            **plan.evaluations,
        }
        self.order = {name: place for place, name in enumerate(self.tasks)}
        self.needs: dict[str, tuple[str, ...]] = {
            name: tuple(t.signature for t in e.depends_on) for name, e in plan.evaluations.items()
        }
        for name, (_, waiting) in probes.items():
            for training in waiting:
                self.needs[training] = (name,)
        self.dependents: dict[str, list[str]] = defaultdict(list)
        for name, needed in self.needs.items():
            for other in needed:
                self.dependents[other].append(name)
        self.states: dict[str, State] = {name: "done" if name in present else "waiting" for name in self.tasks}
        self.states |= dict.fromkeys(skipped - present, "skipped")
        self._drop_needless()
        self.counts = Counter(self.states.values())
        self.messages: dict[str, str] = {}
        self.notices: list[str] = []  # what a person should be told, once each
        self.stopping = False
        self.abandoned = False  # nobody can do any of it: no person's wish
        self.paused: str | None = None
        self.slots = 1
        self.helpers: Counter[str] = Counter()
        self.unhelpful: set[str] = set()  # evaluations that a helper failed at: left to their own trials
        self.left: Callable[[Evaluation], int] = lambda _: 0  # parts of an evaluation that nobody has begun
        self._cancelled: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._places: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._first: list[Entry] = []  # probes and trainings that could be started
        self._groups: dict[str, list[Entry]] = defaultdict(list)  # evaluations that could be started, by training
        self._longest: list[Entry] = []  # the same, of all trainings
        self._ready_s: dict[str, float] = {}
        self._ready_total_s = 0.0
        self._drawn: Counter[str] = Counter()  # drawings that somebody is at
        self._parked: dict[str, list[str]] = defaultdict(list)  # evaluations that wait for one of the same drawing
        self._running: Counter[str] = Counter()  # by kind
        self._evaluating: dict[str, None] = {}  # evaluations that are at work, here or elsewhere
        for name in self.tasks:
            self._offer(name)

    def _drop_needless(self) -> None:
        """What nothing unfinished stands on need not be done, even if its files were deleted."""
        for name in reversed([name for name, task in self.tasks.items() if not isinstance(task, Evaluation)]):
            above = {self.states[other] for other in self.dependents[name]}
            if name not in self.wanted and self.states[name] == "waiting" and above <= {"done", "skipped"}:
                self.states[name] = "skipped" if "skipped" in above else "done"

    # looking --------------------------------------------------------------------------------------

    def of(self, *states: State) -> list[Task]:
        """The tasks in any of these states, in the plan's order."""
        if not any(self.counts[state] for state in states):
            return []
        return [task for name, task in self.tasks.items() if self.states[name] in states]

    def name(self, task: Task) -> str:
        """What to call a task."""
        return self.plan.names.get(task.signature, task.signature)

    @property
    def finished(self) -> bool:
        """Whether nothing runs, and nothing is left to start or, unless this is to stop, to wait for."""
        if self.counts["running"]:
            return False
        return self.stopping or not (self.counts["waiting"] + self.counts["elsewhere"])

    # starting -------------------------------------------------------------------------------------

    def take(self) -> Job | None:
        """What to start now, marked as running; None while there is nothing."""
        if self.stopping or self.paused:
            return None
        name = self._pop(self._first)
        names = [name] if name is not None else self._take_evaluations()
        if names:
            for name in names:
                self._set(name, "running")
            return Job(tuple(self.tasks[name] for name in names))
        return self._help()

    def _pop(self, heap: list[Entry]) -> str | None:
        while heap:
            _, _, name = heapq.heappop(heap)
            if self._is_ready(name):
                return name
        return None

    def _is_ready(self, name: str) -> bool:
        return self.states[name] == "waiting" and all(map(self._is_there, self.needs.get(name, ())))

    def _is_there(self, name: str) -> bool:
        """Whether what stands on a task may begin; where a probe failed, without what it would have told."""
        return self.states[name] == "done" or (self.states[name] == "failed" and isinstance(self.tasks[name], Probe))

    def _offer(self, name: str) -> None:
        """Queue a task if it could be started now."""
        if not self._is_ready(name):
            return
        task, seconds = self.tasks[name], self.costs.seconds(self.tasks[name])
        entry = (-seconds, self.order[name], name)
        if not isinstance(task, Evaluation):
            # what is measured is needed to share out the rest
            heapq.heappush(self._first, entry if isinstance(task, Training) else (-float("inf"), *entry[1:]))
            return
        heapq.heappush(self._groups[task.training.signature], entry)
        heapq.heappush(self._longest, entry)
        self._ready_total_s += seconds - self._ready_s.get(name, 0.0)
        self._ready_s[name] = seconds

    def _take_evaluations(self) -> list[str]:
        """The longest evaluation there is, joined by others of its training as long as that leaves enough for all."""
        limit = min(JOINED_S, self._ready_total_s / (2 * max(1, self.slots - self._running["training"])))
        taken: list[str] = []
        while not taken:
            first = self._pop(self._longest)
            if first is None:
                return []
            self._claim(first, taken)
        first = self.tasks[taken[0]]
        assert isinstance(first, Evaluation)
        ready, spent = self._groups[first.training.signature], self.costs.seconds(first)
        while ready and (not self._is_free(ready[0][2], taken) or spent - ready[0][0] <= limit):
            seconds, _, name = heapq.heappop(ready)
            if self._is_free(name, taken) and self._claim(name, taken):
                spent -= seconds
        return taken

    def _is_free(self, name: str, taken: list[str]) -> bool:
        return name not in taken and self._is_ready(name)

    def _claim(self, name: str, taken: list[str]) -> bool:
        """Take an evaluation, unless another trial draws the very images: then it waits for them."""
        evaluation = self.tasks[name]
        assert isinstance(evaluation, Evaluation)
        own = any(self.tasks[other].drawing == evaluation.drawing for other in taken)  # pyright: ignore[reportAttributeAccessIssue]
        if self._drawn[evaluation.drawing] and not own:
            self._parked[evaluation.drawing].append(name)
            return False
        self._drawn[evaluation.drawing] += 1
        self._ready_total_s -= self._ready_s.pop(name, 0.0)
        taken.append(name)
        return True

    def _help(self) -> Job | None:
        """A part of the evaluation that would last longest, where that is worth a trial's start."""
        best, longest = None, HELP_S
        for name in self._evaluating:
            evaluation = self.tasks[name]
            assert isinstance(evaluation, Evaluation)
            if evaluation.rivals or name in self.unhelpful:  # that may stop early is not drawn ahead
                continue
            most_s = self.costs.seconds(evaluation) / (2 + self.helpers[name])
            if most_s <= longest:
                continue  # without looking
            share_s = self.left(evaluation) * most_s / evaluation.num_segments
            if share_s > longest:
                best, longest = evaluation, share_s
        if best is None:
            return None
        self.helpers[best.signature] += 1
        return Job((best,), helps=True)

    # ending ---------------------------------------------------------------------------------------

    def helped(self, name: str) -> None:
        """A trial that helped with an evaluation has ended."""
        self.helpers[name] -= 1

    def ended(self, name: str, outcome: Outcome) -> None:
        """Take note of how a task ended, and decide what becomes of it and of what stands on it."""
        if outcome.state != "done" and name in self._cancelled:
            self._set(name, "cancelled")
            self._pass_on(name)
        elif outcome.state == "failed":
            self._failed(name, outcome)
        else:
            self._set(name, outcome.state)
            self._say(name, outcome.message)
            if outcome.state == "pruned":
                self._settle(self._dependents_of(name), "pruned", f"its training was {outcome.message}")
        if outcome.state == "done":
            for other in self.dependents[name]:
                self._offer(other)

    def _failed(self, name: str, outcome: Outcome) -> None:
        self.messages[name] = outcome.message
        if self._may_try_again(name, outcome):
            self._again(name)
        else:
            self._set(name, "failed")
            self._pass_on(name)
        self._count_place(name, outcome)

    def _pass_on(self, name: str) -> None:
        """What stands on a failed task cannot be done; but for a probe, without which it is only less well known."""
        if not isinstance(self.tasks[name], Probe):
            self._settle(self._dependents_of(name), ENDS[self.states[name]])
        for other in self.dependents[name]:
            self._offer(other)

    def _may_try_again(self, name: str, outcome: Outcome) -> bool:
        if outcome.fault == "disk":
            return True
        if outcome.fault in FREE:
            self._losses[name] += 1
            return self._losses[name] < LOST_LIMIT
        self._failures[name] += 1
        return outcome.fault not in NEVER and self._failures[name] <= self.retries

    def _count_place(self, name: str, outcome: Outcome) -> None:
        """The same mistake in several tasks is not theirs: start no more of their kind."""
        if not outcome.place or outcome.fault in (*FREE, "diverged", "disk"):
            return
        kind = self.tasks[name].kind
        met = self._places[kind, outcome.place]
        met.add(name)
        if len(met) < SAME_PLACE:
            return
        alike = [task.signature for task in self.of("waiting") if task.kind == kind]
        if alike:
            reason = f"{SAME_PLACE} {kind}s failed at the same place: {outcome.message}"
            self.notices.append(f"No more {kind}s are started: {reason}")
            self.withhold(alike, reason)

    def withhold(self, names: Iterable[str], reason: str) -> None:
        """Do not start these, nor what stands on them."""
        for name in [name for name in names if self.states[name] == "waiting"]:
            self._set(name, "withheld")
            self.messages[name] = reason
            self._settle(self._dependents_of(name), "withheld", reason)

    def cancel(self, name: str) -> list[str]:
        """Leave an evaluation, and what was done for it alone; returns those of them that are at work now."""
        running: list[str] = []
        for own in (name, *self.needs.get(name, ())):
            if own not in self.tasks or own in self._cancelled:
                continue
            if own != name and not all(self._is_given_up(other) for other in self.dependents[own]):
                continue
            if self.states[own] in ("waiting", "elsewhere", "running"):
                self._cancelled.add(own)
            if self.states[own] == "running":
                running.append(own)
            elif own in self._cancelled:
                self._ready_total_s -= self._ready_s.pop(own, 0.0)
                self._set(own, "cancelled")
        return running

    def _is_given_up(self, name: str) -> bool:
        return name in self._cancelled or self.states[name] in UNWANTED

    def undo(self, name: str) -> None:
        """Something finished has turned out to be damaged: it is to be done again."""
        if self.states[name] == "done":
            self._again(name)

    def free(self, name: str) -> None:
        """What was taken, or what another run was at, may be started after all."""
        if self.states[name] in ("elsewhere", "running"):
            self._again(name)

    def _again(self, name: str) -> None:
        """A task waits once more, unless what it stands on has come to nothing meanwhile."""
        needed = [self.states[other] for other in self.needs.get(name, ()) if not self._is_there(other)]
        outcomes: list[State] = [ENDS[state] for state in needed if state in ENDS]
        outcomes.append("cancelled" if name in self._cancelled else "waiting")
        self._set(name, "stopped" if self.stopping else outcomes[0])
        self._offer(name)

    def follow(self, name: str, state: State, message: str) -> None:
        """Take over what another schedule of the same plan has decided."""
        self._set(name, state)
        self._say(name, message)

    def _say(self, name: str, message: str) -> None:
        """What there is to say of a task now, in place of what was said before."""
        self.messages.pop(name, None)
        if message:
            self.messages[name] = message

    def _dependents_of(self, name: str) -> list[str]:
        names = list(self.dependents[name])
        return names + [below for other in names for below in self._dependents_of(other)]

    def _settle(self, names: Iterable[str], state: State, message: str = "") -> None:
        for name in names:
            if self.states[name] == "waiting":
                self._set(name, state)
                self._say(name, message)

    def stop(self) -> None:
        """Start nothing more."""
        self.stopping = True

    def _set(self, name: str, state: State) -> None:
        before, task = self.states[name], self.tasks[name]
        self.counts[before] -= 1
        self.counts[state] += 1
        self.states[name] = state
        self._running[task.kind] += (state == "running") - (before == "running")
        if isinstance(task, Evaluation):
            self._evaluating.pop(name, None)
            if state in ("running", "elsewhere"):
                self._evaluating[name] = None
        if before == "running" and isinstance(task, Evaluation):
            self._drawn[task.drawing] -= 1
            for waiting in [] if self._drawn[task.drawing] else self._parked.pop(task.drawing, []):
                self._offer(waiting)
