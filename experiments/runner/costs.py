"""How long tasks take, as far as the order of a schedule needs to know."""

from __future__ import annotations

from typing import Protocol

from experiments.sweep.jobs import Task


class Costs(Protocol):
    """How long tasks take by themselves, corrected by those that have finished."""

    def seconds(self, task: Task) -> float:
        """Return how long the rest of a task takes."""
        ...

    def saved_share(self, task: Task) -> float:
        """Return which part of a task it need not do, from 0 to below 1; its seconds are of the rest.

        An earlier run has saved it, or a shorter training does it.
        """
        ...

    def measured(self, task: Task) -> bool:
        """Return whether that rests on a measurement."""
        ...

    def learn(self, task: Task, seconds: float) -> None:
        """Note how long a task took."""
        ...


class Operations:
    """Counts operations in place of seconds, which is enough for an order."""

    def seconds(self, task: Task) -> float:
        """Return the task's floating-point operations."""
        return task.flops

    def saved_share(self, task: Task) -> float:
        """Return 0: the operations are those of the whole task."""
        return 0.0

    def measured(self, task: Task) -> bool:
        """Return False: nothing is measured."""
        return False

    def learn(self, task: Task, seconds: float) -> None:
        """Do nothing: operations are counted, not measured."""
