"""Diffusion in discrete time, as the schedulers of diffusers describe it; without torch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

Prediction = Literal["epsilon", "v_prediction", "sample"]
BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
MOST_BETA, COSINE_OFFSET = 0.999, 0.008  # Nichol and Dhariwal (2021)


@dataclass(frozen=True)
class DiscreteProcess:
    """The steps in which a model adds noise, and what it predicts.

    betas: the variance that each step adds: from start to end `linear`ly, or with a linear square root
    (`scaled_linear`), or such that the share of the image falls as a cosine (`squaredcos_cap_v2`).
    """

    prediction: Prediction = "epsilon"
    betas: BetaSchedule = "linear"
    beta_start: float = 0.0001
    beta_end: float = 0.02
    steps: int = 1000

    def __post_init__(self) -> None:
        if self.steps < 2 or not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError(f"{self.steps} steps from {self.beta_start} to {self.beta_end} are no schedule of noise")

    @classmethod
    def of(cls, settings: str) -> DiscreteProcess:
        """Return the process that the settings of a network describe (NetworkConfig.settings)."""
        return cls(**json.loads(settings)["process"])

    def sigmas(self) -> list[float]:
        """Return the noise level at each time, rising: sqrt((1 - a) / a) with a the product of all 1 - beta so far."""
        levels: list[float] = []
        kept = 1.0
        for beta in BETAS[self.betas](self):
            kept *= 1 - beta
            levels.append(math.sqrt((1 - kept) / kept))
        return levels


def _linear(process: DiscreteProcess) -> list[float]:
    start, end, last = process.beta_start, process.beta_end, process.steps - 1
    return [start + (end - start) * t / last for t in range(process.steps)]


def _scaled_linear(process: DiscreteProcess) -> list[float]:
    start, end, last = math.sqrt(process.beta_start), math.sqrt(process.beta_end), process.steps - 1
    return [(start + (end - start) * t / last) ** 2 for t in range(process.steps)]


def _cosine(process: DiscreteProcess) -> list[float]:
    def kept(t: float) -> float:
        return math.cos((t + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2) ** 2

    steps = process.steps
    return [min(1 - kept((t + 1) / steps) / kept(t / steps), MOST_BETA) for t in range(steps)]


BETAS: dict[BetaSchedule, Callable[[DiscreteProcess], list[float]]] = {
    "linear": _linear,
    "scaled_linear": _scaled_linear,
    "squaredcos_cap_v2": _cosine,
}


def measured(settings: str, resolution: int) -> tuple[int, int]:
    """Return parameters, and operations on an image of `resolution` pixels a side, as counted when it was read."""
    content = json.loads(settings)
    flops = content["flops"] * (resolution / content["resolution"]) ** 2
    return cast(int, content["parameters"]), round(flops)
