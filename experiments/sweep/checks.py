"""Checks of a sweep that no single field can make by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from experiments.errors import UserError
from experiments.sweep.tasks import Training


def require_even_batches(trainings: Iterable[Training], gpus: float | Literal["auto"] | None) -> None:
    """Raise UserError where several GPUs cannot share a training's batches evenly."""
    size = int(gpus) if isinstance(gpus, float | int) and gpus >= 2 else 1
    for config in (training.config for training in trainings):
        field = "batch_size" if config.micro_batch is None else "micro_batch"
        if getattr(config, field) % size:
            raise UserError(
                f"resources.gpus: {size} GPUs cannot share training.{field} {getattr(config, field)} evenly; "
                f"make it a multiple of {size}, or give another number of GPUs"
            )
