"""Whether a task that failed is tried again, and which mistakes several tasks share."""

from __future__ import annotations

from collections import Counter, defaultdict

from experiments.store.failures import Failure
from experiments.sweep.jobs import Task

LOST_LIMIT = 10  # workers that one task may lose before it counts as its own fault
SHARED_LIMIT = 3  # tasks that fail at the same place in the code, before no more of their kind are started


class RetryPolicy:
    """Counts failures. retries: how often a task that failed by itself is tried again."""

    def __init__(self, retries: int) -> None:
        self.retries = retries
        self._attempts: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._places: defaultdict[tuple[str, str], set[str]] = defaultdict(set)

    def allows(self, signature: str, failure: Failure) -> bool:
        """Count a failure; return whether the task may be tried again."""
        if failure.kind == "disk":
            return True  # once there is room
        if failure.is_external:
            self._losses[signature] += 1
            return self._losses[signature] < LOST_LIMIT
        self._attempts[signature] += 1
        return not failure.is_permanent and self._attempts[signature] <= self.retries

    def is_shared(self, task: Task, failure: Failure) -> bool:
        """Return whether so many tasks of a kind have failed at the same place that it is not theirs."""
        if not failure.place or failure.is_external or failure.kind in ("diverged", "disk"):
            return False
        failed = self._places[task.kind, failure.place]
        failed.add(task.signature)
        return len(failed) >= SHARED_LIMIT
