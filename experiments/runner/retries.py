"""Whether a task that failed is tried again, and which mistakes several tasks share."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from edm.config import Extension, extensions_in
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
        self._places: defaultdict[tuple[str, str], dict[str, Task]] = defaultdict(dict)

    def allows(self, signature: str, failure: Failure) -> bool:
        """Count a failure; return whether the task may be tried again."""
        if failure.kind == "disk":
            return True  # once there is room
        if failure.is_external:
            self._losses[signature] += 1
            return self._losses[signature] < LOST_LIMIT
        self._attempts[signature] += 1
        return not failure.is_permanent and self._attempts[signature] <= self.retries

    def sharing(self, task: Task, failure: Failure) -> Sequence[Task]:
        """Return the tasks of a kind that have failed at the same place, once they are too many for it to be theirs."""
        if not failure.place or failure.is_external or failure.kind in ("diverged", "disk"):
            return ()
        failed = self._places[task.kind, failure.place]
        failed[task.signature] = task
        return tuple(failed.values()) if len(failed) >= SHARED_LIMIT else ()


def extensions_of_all(tasks: Sequence[Task]) -> dict[str, Extension]:
    """Return the extensions that all of some tasks use, whatever their options, by the digest of their code."""
    used = [{extension.code: extension for extension in extensions_in(task)} for task in tasks]
    return {code: extension for code, extension in used[0].items() if all(code in other for other in used)}
