"""Reproducible random numbers for training and sampling, and the noise levels of training.

The generator is counter-based: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). Every
number is a pure function of (seed, stream, index, step, position). So it is the same for any batch size, shard, worker,
GPU count or device, and a resumed training needs no saved generator state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from edm.config import TrainingConfig
from edm.kernels.available import have_kernels
from edm.registry import Registry, as_it_is
from edm.scalings import BETA_D, BETA_MIN, M, iddpm_levels_on
from edm.typed_torch import normal_cdf

# constants of Philox4x32-10
MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10

# ranges of the noise levels that earlier models were trained on (EDM, Table 1)
VP_LEAST_TIME = 1e-5
VE_SIGMA_MIN, VE_SIGMA_MAX = 0.02, 100.0

Words = tuple[Tensor, Tensor, Tensor, Tensor]


class Stream(IntEnum):
    """The purpose of random numbers: one stream each, so that no use changes the numbers of another."""

    SAMPLING = 0  # step 0: initial noise; step i + 1: churn noise of sampling step i
    TRAINING_NOISE = 1
    TRAINING_SIGMA = 2
    LABEL_DROPOUT = 3
    DATA_ORDER = 4
    WEIGHTS = 5
    CLASSIFIER = 6
    BASELINE = 7  # images of pure noise, whose scores show how bad a score can be
    AUGMENTATION = 8  # position k: the k-th random number of an image's augmentation
    FLIP = 9
    DROPOUT = 10
    VALIDATION = 11
    PREFIXES = 12  # the order of images in which the FID is extrapolated to infinitely many


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Return four random 32-bit words, held in int64 tensors, for every counter of four 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        # the 64-bit product may wrap below zero, but masking after the arithmetic shift leaves the right bits
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> 32 & MASK) ^ c1 ^ k0, p1 & MASK, (p0 >> 32 & MASK) ^ c3 ^ k1, p0 & MASK
        k0, k1 = k0 + KEY_STEPS[0] & MASK, k1 + KEY_STEPS[1] & MASK
    return c0, c1, c2, c3


def _key(seed: int, stream: Stream) -> tuple[int, int]:
    return seed & MASK, int(stream)


def _words(seed: int, stream: Stream, index: Int64[Tensor, " b"], step: int, num: int) -> Int64[Tensor, "b num"]:
    """Return `num` random 32-bit words for each index."""
    blocks = torch.arange(math.ceil(num / 4), device=index.device)[None]
    low, high = (index & MASK)[:, None], (index >> 32)[:, None]
    zero = torch.zeros_like(low + blocks)
    words = philox((zero + blocks, zero + step, zero + low, zero + high), _key(seed, stream))
    return torch.stack(words, dim=-1).flatten(1)[:, :num]


def uniforms(seed: int, stream: Stream, index: Int64[Tensor, " b"], step: int = 0) -> Float64[Tensor, " b"]:
    """Return one float64 per index, uniform on the open interval (0, 1)."""
    if have_kernels(index.device):
        from edm.kernels import philox as fused  # imports Triton, which is not on every machine

        return fused.uniforms(_key(seed, stream), index, step)
    return (_words(seed, stream, index, step, 1)[:, 0].double() + 0.5) / 2**32


def normals(
    seed: int, stream: Stream, index: Int64[Tensor, " b"], shape: tuple[int, ...] = (), step: int = 0
) -> Float[Tensor, "b ..."]:
    """Return standard normal float32 numbers of shape (b, *shape), by Box-Muller in float64."""
    if have_kernels(index.device):
        from edm.kernels import philox as fused

        return fused.normals(_key(seed, stream), index, shape, step)
    num = math.prod(shape)
    words = _words(seed, stream, index, step, num + num % 2)
    unit = (words.double() + 0.5) / 2**32
    radius = (-2 * unit[:, 0::2].log()).sqrt()
    angle = 2 * math.pi * unit[:, 1::2]
    # rounding to float32 last hides the last-bit differences between the logarithms and cosines of devices
    pairs = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    return pairs.flatten(1)[:, :num].float().reshape(len(index), *shape)


def permutation(seed: int, epoch: int, num: int) -> Int64[Tensor, " num"]:
    """Return the order in which an epoch visits `num` training images."""
    words = _words(seed, Stream.DATA_ORDER, torch.arange(num), epoch, 2)
    return torch.argsort(words[:, 0] << 31 ^ words[:, 1], stable=True)


def generator(seed: int, stream: Stream) -> torch.Generator:
    """Return a CPU generator for functions of torch that need one, such as those that initialise weights."""
    state = torch.Generator()
    return state.manual_seed(int(uniforms(seed, stream, torch.zeros(1, dtype=torch.int64))[0] * 2**32))


def training_sigmas(z: Float[Tensor, " b"], p_mean: float, p_std: float) -> Float[Tensor, " b"]:
    """Return noise levels with ln(sigma) = p_mean + p_std z (EDM, Table 1), clipped to [0.002, 80].

    z: standard normal numbers.
    """
    return (p_mean + p_std * z).exp().clip(0.002, 80)


def vp_sigmas(z: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return the noise levels of the variance-preserving SDE at uniform times from 1e-5 to 1 (EDM, Table 1, VP).

    z: standard normal numbers, as in the functions below.
    """
    t = VP_LEAST_TIME + (1 - VP_LEAST_TIME) * _uniform(z)
    return (BETA_D * t**2 / 2 + BETA_MIN * t).expm1().sqrt().to(z.dtype)


def ve_sigmas(z: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return noise levels with ln(sigma) uniform between those of 0.02 and 100 (EDM, Table 1, VE)."""
    return (VE_SIGMA_MIN * (VE_SIGMA_MAX / VE_SIGMA_MIN) ** _uniform(z)).to(z.dtype)


def iddpm_sigmas(z: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return noise levels of improved DDPM, all of its 1,000 equally likely (EDM, Table 1, iDDPM)."""
    levels = iddpm_levels_on(z.device, torch.float64)[:-1].flip(0)  # rising, without 0
    return levels[(M * _uniform(z)).long().clip(max=M - 1)].to(z.dtype)


def _uniform(z: Float[Tensor, " b"]) -> Float64[Tensor, " b"]:
    """Return numbers uniform on (0, 1) that rise with the standard normal numbers `z`."""
    return normal_cdf(z.double())


OWN_DISTRIBUTIONS: dict[str, Callable[[TrainingConfig], Callable[[Tensor], Tensor]]] = {
    "lognormal": lambda config: lambda z: training_sigmas(z, config.p_mean, config.p_std),
    "vp": lambda config: vp_sigmas,
    "ve": lambda config: ve_sigmas,
    "iddpm": lambda config: iddpm_sigmas,
}
DISTRIBUTIONS = Registry(OWN_DISTRIBUTIONS, as_it_is)
