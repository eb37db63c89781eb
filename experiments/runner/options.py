"""How to run what is left of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from experiments.runner.timing import Timing


@dataclass(frozen=True)
class Options:
    """How to run what is left of a sweep.

    retries: how often a task that failed is tried again. budget_s: seconds of devices to spend at most. asha: whether
    to prune trainings whose loss is behind. address: of a Ray cluster; by default one is started on this machine. only:
    names or patterns of the cells to run, all of them by default. tags: recorded with every result.
    """

    retries: int = 1
    budget_s: float | None = None
    asha: bool = False
    address: str | None = None
    only: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    timing: Timing = field(default_factory=Timing)
