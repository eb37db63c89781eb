"""How work on data sets tells how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable

OnProgress = Callable[[str, int, int], None]  # what is being done, how much of it is done, how much there is, or 0


class CountedStep(str):
    """What is being done, as `OnProgress` is called with it, and the unit in which it is counted."""

    unit: str

    def __new__(cls, title: str, unit: str = "") -> CountedStep:
        """Return the step of that title."""
        step = super().__new__(cls, title)
        step.unit = unit
        return step


class StepMeter:
    """Measures how fast a step goes."""

    def __init__(self) -> None:
        self._step, self._began, self._first = "", 0.0, 0

    def rate(self, step: str, done: int) -> float:
        """Take in how much of a step is done; return how much that is a second, 0 in its first second."""
        now = time.monotonic()
        if step != self._step:
            self._step, self._began, self._first = step, now, done
        elapsed = now - self._began
        return (done - self._first) / elapsed if elapsed > 1 else 0.0


def ignore_progress(_step: str, _done: int, _total: int) -> None:
    """Do nothing with the progress of some work."""
