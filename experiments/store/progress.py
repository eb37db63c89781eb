"""How far a task or a run is, as it writes down every now and then for all other processes to read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from experiments.store.files import read_json, write_soon
from experiments.store.layout import PROGRESS
from experiments.store.results import Record

LOADING_TORCH = "loading torch"  # the first phase of a worker's first task


@dataclass(frozen=True, kw_only=True)
class Progress(Record):
    """What is in a progress.json. time: when it was written, by the clock of the machine that did."""

    time: float | None = None

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the progress in a folder; None where there is none, or it cannot be read."""
        content = read_json(folder / PROGRESS)
        try:
            return None if content is None else cls.from_json(content)
        except ValueError:
            return None

    def write(self, folder: Path) -> None:
        """Write it into a folder; raises OSError where the disk is full."""
        write_soon(folder / PROGRESS, replace(self, time=time.time()).to_json())

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON, the time last, without what is not known."""
        content = asdict(self)
        content["time"] = content.pop("time")
        return {name: value for name, value in content.items() if value is not None}


@dataclass(frozen=True)
class TaskProgress(Progress):
    """How much of a task is done, or what it does that is not counted.

    done, total: in `unit`s. rate: units per second, 0 while it is not known. loss: of a training. phase: such as
    "loading torch"; then total is 0, or it is the phase alone of which so much is done.
    """

    done: float
    total: float
    unit: str
    rate: float = 0.0
    loss: float | None = None
    phase: str | None = None

    @classmethod
    def of_phase(cls, phase: str) -> Self:
        """Return the progress of a task that does what is not counted."""
        return cls(done=0, total=0, unit="", phase=phase)

    @property
    def share(self) -> float:
        """How much of the task is done, 0 to 1."""
        return self.done / self.total if self.total else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at the present rate; None while that is not known, and once all is counted."""
        return (self.total - self.done) / self.rate if self.rate and self.done < self.total else None


@dataclass(frozen=True)
class RunProgressRecord(Progress):
    """How far a run is.

    total, done: tasks that it began with, and those of them that are done. left: the time that is left, in words.
    counts: tasks by state.
    """

    total: int
    done: int
    left: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
