"""What a run reports as it goes: the command line shows it, Python may listen to it."""

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

    name: what people call it. state: its state now. reason: why it was pruned, or left to another run. failure: why it
    failed; where its state is "waiting", it is tried again.
    """

    task: Task
    name: str
    state: State
    reason: str = ""
    failure: Failure | None = None


class RunListener:
    """Hears what a run reports. Every method does nothing; a subclass overrides those it wants.

    Methods are called from the thread that runs the sweep, except `tick`, which another thread calls once a second.
    """

    def phase(self, title: str) -> AbstractContextManager[Any]:
        """Surround a part of the run that takes seconds, such as "starting Ray"."""
        del title
        return nullcontext()

    def preparing(self, data_set: str) -> AbstractContextManager[OnStep]:
        """Surround the preparation of a data set; what it returns is called with (step, done, total)."""
        del data_set
        return nullcontext(lambda step, done, total: None)

    def counting(self, title: str, unit: str) -> AbstractContextManager[OnCount]:
        """Surround work that is counted, such as a download; what it returns is called with (done, total)."""
        del title, unit
        return nullcontext(lambda done, total: None)

    def live(self, progress: RunProgress) -> AbstractContextManager[Any]:
        """Surround the part of the run in which tasks run; `progress` answers how far they are."""
        del progress
        return nullcontext()

    def started(self, change: TaskChange) -> None:
        """A task was handed to a worker."""

    def ended(self, change: TaskChange) -> None:
        """A task has ended, or is to be tried again."""

    def notice(self, text: str) -> None:
        """A sentence that a person should read."""

    def tick(self) -> None:
        """About a second has passed."""
