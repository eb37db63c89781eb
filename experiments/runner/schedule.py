"""What to start next. Bookkeeping over a plan, whoever does the work; every answer takes logarithmic time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from experiments.runner.costs import Costs, Operations
from experiments.runner.graph import Probes, TaskGraph
from experiments.runner.helpers import Helpers
from experiments.runner.ready import ReadyQueue
from experiments.runner.retries import SHARED_LIMIT, RetryPolicy, extensions_of_all
from experiments.runner.states import CONSEQUENCES, State, TaskStates, first_states
from experiments.store.failures import Failure
from experiments.sweep.code_changes import CodeChange
from experiments.sweep.jobs import Job, Outcome, Task
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import Preparation
from experiments.sweep.probes import Probe
from experiments.sweep.tasks import DataSource, Evaluation

PLURALS = {"data": "data sets", "references": "reference statistics"}  # of kinds of tasks; of others it ends in s
UNFINISHED: tuple[State, ...] = ("waiting", "running", "elsewhere")
NOT_NEEDED: tuple[State, ...] = ("done", "cancelled", "skipped")  # states of tasks that need no others any more


class Schedule:
    """Probes and preparations, then trainings, longest first; an evaluation as soon as what it depends on is done.

    present: signatures of tasks that the store already holds. probes: networks to measure first. preparations: what
    evaluations share, by signature. data: data sets to prepare, by signature. shorter: by signature, the training that
    another one waits for, however it ends, to begin at its end. retries: how often a task that failed is tried again.
    redo: tasks to do even if nothing depends on them. asked: the plan of the cells that this run is asked for, by
    default of all. It leaves out the other evaluations, and what only they depend on.

    failures: of what failed, or is tried again. reasons: why a task was pruned, withheld or left to another run.
    notices: sentences for people, each to be said once. abandoned: whether the run was given up because Ray died.
    changes: results that other code than today's has made. continuing: trainings that begin at the ends of shorter
    ones, of this run or done before. paused: why nothing is started for now. slots: how many trials run side by side.
    starting: set by the executor; returns the tasks whose worker is starting.
    """

    def __init__(
        self,
        plan: Plan,
        present: frozenset[str],
        costs: Costs | None = None,
        probes: Probes | None = None,
        retries: int = 1,
        redo: frozenset[str] = frozenset(),
        asked: Plan | None = None,
        preparations: Mapping[str, Preparation] = MappingProxyType({}),
        data: Mapping[str, DataSource] = MappingProxyType({}),
        shorter: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.plan, self.present, self.costs = plan, present, costs or Operations()
        self.asked = asked or plan
        skipped = frozenset(plan.evaluations.keys() - self.asked.evaluations.keys())
        self.graph = TaskGraph(plan, probes or {}, preparations, data, shorter)
        self._states = TaskStates(self.graph.tasks, first_states(self.graph, present, skipped, redo))
        self._queue = ReadyQueue(self.graph.tasks, self.graph.order, self._is_ready)
        self._retry = RetryPolicy(retries)
        self.helpers = Helpers()
        self.failures: dict[str, Failure] = {}
        self.reasons: dict[str, str] = {}
        self.notices: list[str] = []
        self.changes: Mapping[str, CodeChange] = {}
        self.continuing: Collection[str] = ()
        self.stopping = self.abandoned = False
        self.paused: str | None = None
        self.slots = 1
        self.starting: Callable[[], Collection[str]] = tuple
        self._cancelled: set[str] = set()
        for signature in self.tasks:
            self._offer(signature)

    # looking --------------------------------------------------------------------------------------

    @property
    def tasks(self) -> Mapping[str, Task]:
        """All tasks by signature, in the plan's order."""
        return self.graph.tasks

    @property
    def states(self) -> Mapping[str, State]:
        """The state of every task, by signature."""
        return self._states.by_signature

    @property
    def counts(self) -> Mapping[State, int]:
        """How many tasks are in each state."""
        return self._states.counts

    def of(self, *states: State) -> list[Task]:
        """Return the tasks in any of these states, in the plan's order."""
        if not any(self.counts[state] for state in states):
            return []
        return [task for signature, task in self.tasks.items() if self.states[signature] in states]

    def name(self, task: Task) -> str:
        """Return what people call a task."""
        return self.plan.names.get(task.signature, task.signature)

    @property
    def finished(self) -> bool:
        """Whether nothing runs, and nothing is left to start or, unless this is to stop, to wait for."""
        if self.counts["running"]:
            return False
        return self.stopping or not (self.counts["waiting"] + self.counts["elsewhere"])

    # starting -------------------------------------------------------------------------------------

    def take(self) -> Job | None:
        """Return what to start now, marked as running; None while there is nothing."""
        if self.stopping or self.paused:
            return None
        signatures = self._queue.take(workers=max(1, self.slots - self._states.running_by_kind["training"]))
        for signature in signatures:
            self._set(signature, "running")
        if signatures:
            return Job(tuple(self.tasks[signature] for signature in signatures))
        evaluation = self.helpers.next(self.costs)
        return Job((evaluation,), helps=True) if evaluation is not None else None

    def _is_ready(self, signature: str) -> bool:
        if self.states[signature] != "waiting" or not all(map(self._is_there, self.graph.dependencies(signature))):
            return False
        shorter = self.graph.shorter.get(signature)
        return shorter is None or self.states[shorter] not in UNFINISHED

    def _is_there(self, signature: str) -> bool:
        """Whether what depends on a task may begin. A failed probe blocks nothing: it only makes estimates worse."""
        state = self.states[signature]
        return state == "done" or (state == "failed" and isinstance(self.tasks[signature], Probe))

    def _offer(self, signature: str) -> None:
        """Queue a task if it could be started now."""
        if self._is_ready(signature):
            self._queue.offer(signature, self._chain_s(signature))

    def _chain_s(self, signature: str) -> float:
        """How long a task takes, and the longest chain of trainings that wait for its end."""
        waiting = (other for other in self.graph.longer[signature] if self.states[other] == "waiting")
        return self.costs.seconds(self.tasks[signature]) + max(map(self._chain_s, waiting), default=0.0)

    # ending ---------------------------------------------------------------------------------------

    def ended(self, signature: str, outcome: Outcome) -> None:
        """Note how a task ended, and decide what becomes of it and of what depends on it."""
        if outcome.state != "done" and signature in self._cancelled:
            self._end(signature, "cancelled")
        elif outcome.failure is not None:
            self._failed(signature, outcome.failure)
        else:
            self._set(signature, outcome.state, outcome.reason)
            if outcome.state == "pruned":
                self._settle_dependents(signature, "pruned", f"its training was {outcome.reason}")
        if outcome.state == "done":
            self._offer_dependents(signature)

    def _failed(self, signature: str, failure: Failure) -> None:
        may_succeed = self._retry.allows(signature, failure)
        sharing = self._retry.sharing(self.tasks[signature], failure)
        if may_succeed and not sharing:
            self._wait_again(signature)
        else:
            self._end(signature, "failed")
        self.failures[signature] = failure
        if sharing:
            self._withhold_like(sharing, failure)

    def _end(self, signature: str, state: State) -> None:
        """End a task that did not succeed, and with it what depends on it; a probe stops nothing."""
        self._set(signature, state)
        if not isinstance(self.tasks[signature], Probe):
            self._settle_dependents(signature, CONSEQUENCES[state])
        self._offer_dependents(signature)

    def _withhold_like(self, failed: Sequence[Task], failure: Failure) -> None:
        """Start no more tasks like these, which failed at the same place, so that the rest would fail too.

        These are all of their kind, or those that use the same extensions, if the failed ones have any in common.
        """
        kind, common = failed[0].kind, extensions_of_all(failed)
        alike = [
            task.signature
            for task in self.of("waiting")
            if task.kind == kind and common.keys() <= extensions_of_all([task]).keys()
        ]
        for again in [signature for signature in alike if signature in self.failures]:
            known = self.failures[again]
            self._end(again, "failed")
            self.failures[again] = known
        if any(self.states[signature] == "waiting" for signature in alike):
            kinds = PLURALS.get(kind, f"{kind}s")
            reason = f"{SHARED_LIMIT} {kinds} failed with the same error: {failure.message}"
            using = f" that use {' and '.join(extension.name for extension in common.values())}" if common else ""
            self.notices.append(f"No more {kinds}{using} are started: {reason}")
            self.withhold(alike, reason)

    def withhold(self, signatures: Iterable[str], reason: str) -> None:
        """Do not start these tasks, nor what depends on them."""
        for signature in [signature for signature in signatures if self.states[signature] == "waiting"]:
            self._set(signature, "withheld", reason)
            self._settle_dependents(signature, "withheld", reason)

    def cancel(self, signature: str) -> list[str]:
        """Cancel an evaluation and what only it depends on; return those of these tasks that are running."""
        running: list[str] = []
        for own in (signature, *self.graph.dependencies(signature)):
            if own not in self.tasks or own in self._cancelled:
                continue
            if own != signature and not all(map(self._needs_nothing, self.graph.dependents[own])):
                continue
            if self.states[own] == "running":
                self._cancelled.add(own)
                running.append(own)
            elif self.states[own] in ("waiting", "elsewhere"):
                self._cancelled.add(own)
                self._queue.withdraw(own)
                self._set(own, "cancelled")
        return running

    def _needs_nothing(self, signature: str) -> bool:
        return signature in self._cancelled or self.states[signature] in NOT_NEEDED

    def redo(self, signature: str) -> None:
        """Do a finished task again, as its result has turned out to be damaged."""
        if self.states[signature] == "done":
            self._wait_again(signature)

    def release(self, signature: str) -> None:
        """Put a task back in the queue that was taken here, or that another run worked on."""
        if self.states[signature] in ("elsewhere", "running"):
            self._wait_again(signature)

    def _wait_again(self, signature: str) -> None:
        """Let a task wait once more, unless what it depends on has failed or was given up meanwhile."""
        needed = [self.states[other] for other in self.graph.dependencies(signature) if not self._is_there(other)]
        ends: list[State] = [CONSEQUENCES[state] for state in needed if state in CONSEQUENCES]
        ends.append("cancelled" if signature in self._cancelled else "waiting")
        self._set(signature, "interrupted" if self.stopping else ends[0])
        self._offer(signature)

    def follow(self, signature: str, state: State, reason: str, failure: Failure | None) -> None:
        """Take over what another schedule of the same plan has decided."""
        self._set(signature, state, reason)
        if failure is not None:
            self.failures[signature] = failure

    def stop(self) -> None:
        """Start nothing more."""
        self.stopping = True

    def _offer_dependents(self, signature: str) -> None:
        for other in self.graph.dependents[signature]:
            self._offer(other)

    def _settle_dependents(self, signature: str, state: State, reason: str = "") -> None:
        """End what depends on a task and still waits."""
        for other in self.graph.all_dependents(signature):
            if self.states[other] == "waiting":
                self._set(other, state, reason)

    def _set(self, signature: str, state: State, reason: str = "") -> None:
        """Change the state of a task, and with it what there is to say of it."""
        before, task = self._states.set(signature, state), self.tasks[signature]
        self.failures.pop(signature, None)
        self.reasons.pop(signature, None)
        if reason:
            self.reasons[signature] = reason
        if state not in UNFINISHED:
            for longer in self.graph.longer[signature]:
                self._offer(longer)
        if not isinstance(task, Evaluation):
            return
        if state in ("running", "elsewhere"):
            self.helpers.began(task)
        else:
            self.helpers.ended(task)
        if before == "running":
            for waiting in self._queue.ended(task):
                self._offer(waiting)
