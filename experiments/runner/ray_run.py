"""What Ray is given to do: one value, wherever it is driven from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.runner.options import Options
from experiments.runner.schedule import Schedule
from experiments.runner.shared_machine import MachineShare
from experiments.store.store import Store
from experiments.sweep.jobs import Task

if TYPE_CHECKING:
    from experiments.runner.cluster import LocalRay  # imports Ray
    from experiments.trials.context import TrialContext  # imports torch


@dataclass(frozen=True)
class RayRun:
    """All that is left of a schedule, to be run on Ray.

    on_change: called with every task that was started or has ended. notify: called with sentences for people. ray: on
    this machine, which is started again where it is lost. share: the part of this machine that other runs leave.
    """

    schedule: Schedule
    store: Store
    context: TrialContext
    options: Options
    on_change: Callable[[Task], None]
    notify: Callable[[str], None]
    ray: LocalRay | None = None
    share: MachineShare | None = None
