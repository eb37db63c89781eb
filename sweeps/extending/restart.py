"""Restart sampling (Xu et al. 2023, "Restart Sampling for Improving Generative Processes"), written from the paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from edm import extend
from edm.schedules import karras

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RestartOptions:
    """Restarts between two noise levels: how often (K in the paper), and in how many steps of Heun's method."""

    num_restarts: int = 2
    restart_steps: int = 3
    sigma_min: float = 0.06
    sigma_max: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError("sigma_min is not below sigma_max; give 0 < sigma_min < sigma_max")
        if self.num_restarts < 0 or self.restart_steps < 1:
            raise ValueError("num_restarts is below 0, or restart_steps below 1; give more")


def plan(sigmas: Sequence[float], options: RestartOptions) -> Iterator[tuple[float, float]]:
    """Yield the steps of the whole solution: (from, to), where `to` above `from` adds noise."""
    low = min(sigmas[1:-1], key=lambda sigma: abs(math.log(sigma / options.sigma_min)), default=0.0)
    for sigma, to in pairwise(sigmas):
        yield sigma, to
        if to != low or not 0 < low < options.sigma_max:
            continue
        for _ in range(options.num_restarts):
            yield low, options.sigma_max
            yield from pairwise(karras(options.restart_steps + 1, low, options.sigma_max, 7.0))


def evaluations(sigmas: Sequence[float], options: RestartOptions) -> list[float]:
    """Return the noise level of each evaluation: Heun's two in each step, but one in the last, into 0."""
    return [level for step in plan(sigmas, options) if step[1] < step[0] for level in step if level > 0]


@extend.sampler("restart", options=RestartOptions, loop=True, evaluations=evaluations, adds_noise=True)
def restart(
    denoiser: Callable[[Tensor, float], Tensor],
    x: Tensor,
    sigmas: Sequence[float],
    noise: Callable[[], Tensor],
    options: RestartOptions,
) -> Tensor:
    """Solve the ODE by Heun's method; on reaching sigma_min, add noise up to sigma_max and solve on from there."""
    for sigma, to in plan(sigmas, options):
        if to > sigma:
            x = x + math.sqrt(to**2 - sigma**2) * noise()
            continue
        slope = (x - denoiser(x, sigma)) / sigma
        end = x + (to - sigma) * slope
        x = end if to == 0 else x + (to - sigma) * (slope + (end - denoiser(end, to)) / to) / 2
    return x
