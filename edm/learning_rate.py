"""The learning rate over a training."""

from __future__ import annotations

import math
from collections.abc import Callable

from edm.config import LrSchedule, TrainingConfig


def constant(config: TrainingConfig, kimg: float) -> float:
    """Return 1: the rate does not change."""
    return 1.0


def inverse_sqrt(config: TrainingConfig, kimg: float) -> float:
    """Return a factor that is 1 until `lr_decay_kimg`, and falls with the square root of time after (EDM2, eq. 67)."""
    return 1 / math.sqrt(max(kimg / config.lr_decay_kimg, 1.0))


SCHEDULES: dict[LrSchedule, Callable[[TrainingConfig, float], float]] = {
    "constant": constant,
    "inverse_sqrt": inverse_sqrt,
}


def learning_rate(config: TrainingConfig, kimg: float) -> float:
    """Return the learning rate after `kimg` thousand images: warmed up, and by the schedule of the configuration."""
    warmth = min(1.0, kimg / config.warmup_kimg) if config.warmup_kimg else 1.0
    return config.lr * warmth * SCHEDULES[config.lr_schedule](config, kimg)
