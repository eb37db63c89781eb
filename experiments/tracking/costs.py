"""What the trainings behind a results frame cost, as columns at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from edm.config import NetworkConfig
from edm.cost import num_parameters
from experiments.hardware import CPU
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.wording import HOUR_S


@dataclass(frozen=True)
class TrainingCosts:
    """What is known of a finished training. seconds: of wall clock, on `gpus` GPUs, which is None on a CPU."""

    val_loss: float | None = None
    seconds: float | None = None
    gpus: int | None = None

    @property
    def gpu_hours(self) -> float | None:
        """The hours of all GPUs together; None if it ran on a CPU or is not done."""
        if self.seconds is None or self.gpus is None:
            return None
        return self.seconds * self.gpus / HOUR_S


def costs_in_store(plan: Plan, store: Store) -> dict[str, TrainingCosts]:
    """Return what the finished trainings of a plan cost, by signature."""
    results = {signature: store.result(TrainingResult, signature) for signature in plan.trainings}
    return {
        signature: TrainingCosts(result.val_loss, result.seconds, None if result.device == CPU else result.gpus)
        for signature, result in results.items()
        if result is not None
    }


def with_costs(frame: pd.DataFrame, plan: Plan, costs: Mapping[str, TrainingCosts]) -> pd.DataFrame:
    """Return a results frame with columns on each cell's training at its end.

    Columns: training_name, parameters, val_loss, training_s, gpu_hours. Unlike all others, the last two say how fast a
    machine was, so they differ from one run of a sweep to the next.
    """
    counts: dict[NetworkConfig, int] = {}
    rows: list[dict[str, Any]] = []
    for planned in plan.cells:
        network = planned.training.network
        if network not in counts:
            counts[network] = num_parameters(network)
        known = costs.get(planned.training.signature, TrainingCosts())
        rows.append(
            {
                "training_name": plan.names[planned.training.signature],
                "parameters": counts[network],
                "val_loss": known.val_loss,
                "training_s": known.seconds,
                "gpu_hours": known.gpu_hours,
            }
        )
    return pd.concat([frame, pd.DataFrame(rows, index=frame.index)], axis="columns")
