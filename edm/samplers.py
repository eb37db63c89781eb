"""Samplers: plain functions over a denoiser `(x, sigma) -> denoised` and decreasing sigmas that end in 0.

One loop (EDM, Algorithm 2) holds them all: churn, then a step down by Euler's or Heun's rule. Without churn it is
Algorithm 1. State and sigmas are float64, as EDM's: sigmas span 0.002 to 80.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from edm.config import SamplingConfig
from edm.guidance import DenoiserFunction

Images = Float[Tensor, "b c h w"]
StepRule = Callable[[DenoiserFunction, Tensor, Tensor, Tensor], Tensor]
StepNoise = Callable[[int], Tensor]  # step -> standard normal noise for it

MAX_GAMMA = math.sqrt(2) - 1


@dataclass(frozen=True)
class Churn:
    """How much fresh noise Algorithm 2 adds at each step, and where `noise` comes from."""

    s_churn: float
    s_min: float
    s_max: float
    s_noise: float
    noise: StepNoise

    def gamma(self, sigma: float, num_steps: int) -> float:
        """The relative rise of the noise level at `sigma`."""
        return min(self.s_churn / num_steps, MAX_GAMMA) if self.s_min <= sigma <= self.s_max else 0.0


def euler_step(denoiser: DenoiserFunction, x: Images, sigma: Float[Tensor, ""], to: Float[Tensor, ""]) -> Images:
    """Euler's rule from `sigma` down to `to`: first order."""
    slope = (x - denoiser(x, sigma)) / sigma
    return x + (to - sigma) * slope


def heun_step(denoiser: DenoiserFunction, x: Images, sigma: Float[Tensor, ""], to: Float[Tensor, ""]) -> Images:
    """Heun's rule, the trapezoid: second order; plain Euler where `to` is 0, as the slope there is not defined."""
    slope = (x - denoiser(x, sigma)) / sigma
    euler = x + (to - sigma) * slope
    if to == 0:
        return euler
    slope_there = (euler - denoiser(euler, to)) / to
    return x + (to - sigma) * (slope + slope_there) / 2


def integrate(
    denoiser: DenoiserFunction,
    x: Float64[Tensor, "b c h w"],
    sigmas: Float64[Tensor, " n"],
    step_rule: StepRule,
    churn: Churn | None = None,
) -> Float64[Tensor, "b c h w"]:
    """Carry `x`, noise of level sigmas[0], down all `sigmas` (EDM, Algorithm 2)."""
    num_steps = len(sigmas) - 1
    for i in range(num_steps):
        sigma, to = sigmas[i], sigmas[i + 1]
        gamma = churn.gamma(float(sigma), num_steps) if churn else 0.0
        if churn and gamma > 0:
            raised = sigma * (1 + gamma)
            x = x + (raised**2 - sigma**2).sqrt() * churn.s_noise * churn.noise(i).to(x)
            sigma = raised
        x = step_rule(denoiser, x, sigma, to)
    return x


def sample(
    denoiser: DenoiserFunction, x: Images, sigmas: Float64[Tensor, " n"], config: SamplingConfig, noise: StepNoise
) -> Float64[Tensor, "b c h w"]:
    """Draw images with the sampler that `config` names, from standard normal `x`; `noise` serves the stochastic one."""
    churn = Churn(config.s_churn, config.s_min, config.s_max, config.s_noise, noise)
    step_rule = euler_step if config.sampler == "euler" else heun_step
    start = x.to(torch.float64) * sigmas[0]
    return integrate(denoiser, start, sigmas, step_rule, churn if config.sampler == "stochastic_heun" else None)
