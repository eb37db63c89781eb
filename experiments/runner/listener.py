"""The events of a run: the command line shows them, and Python code can receive them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.runner.states import State
from experiments.store.failures import Failure
from experiments.sweep.jobs import Task

if TYPE_CHECKING:
    from experiments.runner.progress import RunProgress

OnCount = Callable[[int, int], None]  # (done, total)
OnStep = Callable[[str, int, int], None]  # (step, done, total)


@dataclass(frozen=True)
class TaskChange:
    """A task that was started or has ended.

    name: its readable name. state: its new state. reason: why it was pruned, or left to another run. failure: why it
    failed; if its state is "waiting", it is tried again.
    """

    task: Task
    name: str
    state: State
    reason: str = ""
    failure: Failure | None = None


class RunListener:
    """Receives the events of a run. Its methods do nothing; a subclass overrides those that it needs.

    Methods are called from the thread that runs the sweep, except `tick`, which another thread calls once a second.
    """

    def phase(self, title: str) -> AbstractContextManager[Any]:
        """Return a context in which the run does something that takes seconds, such as "starting Ray"."""
        del title
        return nullcontext()

    def preparing(self, data_set: str) -> AbstractContextManager[OnStep]:
        """Return a context in which a data set is prepared; its value is called with (step, done, total)."""
        del data_set
        return nullcontext(lambda step, done, total: None)

    def counting(self, title: str, unit: str) -> AbstractContextManager[OnCount]:
        """Return a context in which work is counted, such as a download; its value is called with (done, total)."""
        del title, unit
        return nullcontext(lambda done, total: None)

    def live(self, progress: RunProgress) -> AbstractContextManager[Any]:
        """Return a context in which the run performs its tasks; `progress` says how far they are."""
        del progress
        return nullcontext()

    def started(self, change: TaskChange) -> None:
        """Called when a task is given to a worker."""

    def ended(self, change: TaskChange) -> None:
        """Called when a task has ended, or is to be tried again."""

    def notice(self, text: str) -> None:
        """Called with a sentence for the person who runs the sweep."""

    def tick(self) -> None:
        """Called about once a second."""
