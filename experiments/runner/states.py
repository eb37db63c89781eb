"""The states that a run's tasks are in, and how many are in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from experiments.runner.graph import TaskGraph
from experiments.sweep.jobs import Task

# elsewhere: another run on the same store works on it. blocked: what it depends on failed. withheld: not to be started.
# interrupted: the run ends first, and the next run continues it (`stopped`: an evaluation that ended early, as worse).
# cancelled: a person asked this run to leave it. skipped: this run was not asked for it
State = Literal[
    "waiting",
    "running",
    "elsewhere",
    "done",
    "failed",
    "interrupted",
    "pruned",
    "blocked",
    "withheld",
    "cancelled",
    "skipped",
]
# what becomes of a task once one that it depends on has ended in one of these
CONSEQUENCES: dict[State, State] = {
    "failed": "blocked",
    "blocked": "blocked",
    "withheld": "withheld",
    "pruned": "pruned",
    "cancelled": "cancelled",
}


class TaskStates:
    """The state of every task, by signature, and counts that are always up to date."""

    def __init__(self, tasks: Mapping[str, Task], states: dict[str, State]) -> None:
        self._tasks = tasks
        self.by_signature = states
        self.counts = Counter(states.values())
        self.running_by_kind: Counter[str] = Counter()

    def set(self, signature: str, state: State) -> State:
        """Change the state of a task; return the one before."""
        before = self.by_signature[signature]
        self.counts[before] -= 1
        self.counts[state] += 1
        self.by_signature[signature] = state
        self.running_by_kind[self._tasks[signature].kind] += (state == "running") - (before == "running")
        return before


def first_states(
    graph: TaskGraph, present: Iterable[str], skipped: Iterable[str], redo: Iterable[str]
) -> dict[str, State]:
    """Return the states that a run begins with.

    What no unfinished task depends on need not be done, even where its files were deleted, unless it is in `redo`.
    """
    present, skipped, redo = set(present), set(skipped), set(redo)
    states: dict[str, State] = {name: "done" if name in present else "waiting" for name in graph.tasks}
    states |= dict.fromkeys(skipped - present, "skipped")
    for signature in reversed(graph.with_dependents):
        above = {states[other] for other in graph.dependents[signature]}
        if signature not in redo and states[signature] == "waiting" and above <= {"done", "skipped"}:
            states[signature] = "skipped" if "skipped" in above else "done"
    return states
