"""Jobs: what one trial does, and how each of its tasks ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from experiments.store.failures import Failure
from experiments.sweep.preparations import ExactSolution, Preparation, WeightsDownload
from experiments.sweep.probes import Probe
from experiments.sweep.tasks import DataSource, Evaluation, SweepTask

Task = SweepTask | Probe | Preparation | DataSource


def data_of(task: Task) -> DataSource | None:
    """Return the data set that must be prepared before a task; None where it needs none."""
    if isinstance(task, Evaluation | ExactSolution):
        return task.training.data
    return None if isinstance(task, DataSource | WeightsDownload) else task.data


@dataclass(frozen=True)
class Job:
    """The tasks that one trial does, one after the other; helps: whether it draws a part of another trial's images."""

    tasks: tuple[Task, ...]
    helps: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    reason: why it was pruned, or left to another run. failure: of a failed task. seconds: how long its worker took.
    """

    state: Literal["done", "interrupted", "failed", "pruned", "elsewhere"]
    reason: str = ""
    failure: Failure | None = None
    seconds: float = 0.0

    @property
    def message(self) -> str:
        """What there is to say of it: why it failed, or the reason."""
        return self.failure.message if self.failure is not None else self.reason

    @classmethod
    def failed(cls, failure: Failure) -> Outcome:
        """Return the outcome of a task that failed."""
        return cls("failed", failure=failure)

    def as_dict(self) -> dict[str, Any]:
        """Return it as a mapping, as Ray Tune carries it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Outcome:
        """Return the outcome that `as_dict` made a mapping of."""
        failure = content["failure"]
        return cls(**{**content, "failure": Failure(**failure) if failure is not None else None})
