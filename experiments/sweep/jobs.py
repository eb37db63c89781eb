"""Jobs: what one trial does, and how each of its tasks ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from experiments.sweep.probes import Probe
from experiments.sweep.tasks import SweepTask

Task = SweepTask | Probe


@dataclass(frozen=True)
class Job:
    """The tasks that one trial does, one after the other; helps: whether it draws a part of another trial's images."""

    tasks: tuple[Task, ...]
    helps: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a task ended, and after how long; of a failure its class (faults.py), and the place in the code."""

    state: Literal["done", "stopped", "failed", "pruned", "elsewhere"]
    message: str = ""
    fault: str = "unknown"
    place: str = ""
    seconds: float = 0.0
