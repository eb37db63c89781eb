"""Quick trials of extensions on random input: what they return has the right shape and is finite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from edm.config import SamplingConfig
from edm.noise import Stream, normals
from edm.samplers import Loop, integrate, method_of, run_loop

IMAGES = 2
SIGMA_DATA = 0.5


class TrialError(ValueError):
    """An extension does not do what it has to: a sentence that says what it did instead."""


def try_sampler(config: SamplingConfig, shape: tuple[int, int, int]) -> None:
    """Draw images of Gaussian data, whose denoiser is known, by the sampler of a configuration; raises TrialError."""
    index = torch.arange(IMAGES)
    noise_levels: list[float] = []
    drawn_noise = False

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        noise_levels.append(float(sigma))
        return x * SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)

    def noise(step: int) -> Tensor:
        nonlocal drawn_noise
        drawn_noise = True
        return normals(config.seed, Stream.SAMPLING, index, shape, step + 1)

    def checked(solve: Callable[..., Any]) -> Callable[..., Tensor]:
        return lambda *given: required(solve(*given), (IMAGES, *shape))

    method, sigmas = method_of(config), config.sigmas
    start = normals(config.seed, Stream.SAMPLING, index, shape).double() * sigmas[0]
    if isinstance(method, Loop):
        run_loop(replace(method, solve=checked(method.solve)), denoiser, start, sigmas, noise)
    else:
        integrate(denoiser, start, sigmas, replace(method, rule=checked(method.rule)), noise)
    expected = replace(config, guidance=1.0, guide=None).nfe
    if len(noise_levels) != expected:
        raise TrialError(f"calls the network {len(noise_levels)} times, and declares {expected}; correct evaluations=")
    if drawn_noise and config.is_deterministic:
        raise TrialError("draws noise without saying so; register it with adds_noise=True")


def required(value: object, shape: tuple[int, ...]) -> Tensor:
    """Return a value; raises TrialError unless it is a tensor of that shape with finite values."""
    if not isinstance(value, Tensor):
        raise TrialError(f"returns {type(value).__name__}, not a tensor; return a tensor of shape {list(shape)}")
    if tuple(value.shape) != shape:
        raise TrialError(f"returns a tensor of shape {list(value.shape)}, where {list(shape)} is needed; correct it")
    if not value.isfinite().all():
        raise TrialError("returns values that are not finite numbers; correct it")
    return value
