"""The options of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from experiments.runner.timing import Timing


@dataclass(frozen=True)
class Options:
    """The options of a run.

    retries: how often a failed task is tried again. budget_s: the most seconds of GPUs (without GPUs: of trials) to
    use; None is no limit. asha: whether to stop trainings whose validation loss is among the worst. address: of a Ray
    cluster; None starts Ray on this machine. only: names or patterns of the cells to run; all cells if empty. tags:
    recorded with every result. recompute: whether to do results again that other code than today's has made. missing:
    whether to train deleted networks again whose evaluations are done. check: whether to try extensions on random input
    first. timing: how long the run waits; tests wait less. restartable: whether the caller starts the run again, in a
    new process, where RayLost is raised; otherwise such a run ends. spent_s: seconds of the budget that were used
    before.
    """

    retries: int = 1
    budget_s: float | None = None
    asha: bool = False
    address: str | None = None
    only: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    recompute: bool = False
    check: bool = True
    timing: Timing = field(default_factory=Timing)
    restartable: bool = False
    spent_s: float = 0.0
    missing: bool = False
