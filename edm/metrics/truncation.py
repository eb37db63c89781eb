"""A sampler's own error: how far its images end from the solution of the ODE that it integrates.

A distance between samplers without a FID's noise: same network, same noise, same labels, image by image.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from edm.config import EXACT_IMAGES, SamplingConfig
from edm.generate import draw, labels_of
from edm.precondition import Denoiser

GREY_LEVELS = 127.5  # to 1 of the [-1, 1] that images are drawn in

OnImages = Callable[[int, int], None]  # steps done, steps in all


def exact_images(
    model: Denoiser,
    sampling: SamplingConfig,
    guide: Denoiser | None = None,
    on_progress: OnImages = lambda _done, _total: None,
    batch_size: int = EXACT_IMAGES,
) -> Float64[Tensor, "n c h w"]:
    """Where the ODE takes the first EXACT_IMAGES images of the stream: `final_images` of `sampling.exact()`.

    That is EXACT_STEPS steps of Heun's method, 1,023 evaluations (of two networks where guidance has two branches),
    once for all samplers, step counts and schedules that begin at one noise level. It is itself off by 0.002 grey
    levels on digits and by 0.004 on Gaussian data, so that errors below some 0.02 say little.

    A guidance interval makes the ODE jump where guidance begins and ends, and a sampler changes over where its next
    step begins: late by up to a step, an error of first order whatever the sampler. The reference has it too, at other
    noise levels, and is off by about 0.1 grey levels then.

    Raises ValueError as `draw` does, and where `sampling` adds noise on the way, as there is no one solution then.
    """
    if not sampling.is_deterministic:
        raise ValueError(
            f"sampling.sampler: {sampling.sampler} adds noise on the way, so that its images aim at no one solution; "
            "leave evaluation.truncation out, or give a deterministic sampler"
        )
    return final_images(model, sampling.exact(), guide, on_progress, batch_size)


def final_images(
    model: Denoiser,
    sampling: SamplingConfig,
    guide: Denoiser | None = None,
    on_progress: OnImages = lambda _done, _total: None,
    batch_size: int = EXACT_IMAGES,
) -> Float64[Tensor, "n c h w"]:
    """The first EXACT_IMAGES images of the stream as the sampler leaves them, about [-1, 1], not quantised nor clipped.

    Noise and labels are those of the images that `generate` draws. Every batch is padded to `batch_size`, as there.
    on_progress: told of every step. Raises ValueError as `draw` does.
    """
    device, done = next(model.parameters()).device, itertools.count()
    starts = range(0, EXACT_IMAGES, batch_size)
    total, batches = len(starts) * sampling.steps, []
    for start in starts:
        index = torch.arange(start, start + batch_size, device=device)
        labels = labels_of(index, model.config.num_classes)
        batches.append(draw(model, sampling, index, labels, guide, lambda *_: on_progress(next(done), total)))
    on_progress(total, total)
    return torch.cat(batches)[:EXACT_IMAGES]


def truncation_error(images: Float[Tensor, "n c h w"], exact: Float[Tensor, "n c h w"]) -> float:
    """The root mean square over images and pixels of how far `images` are from `exact`, in grey levels.

    Both as drawn, about [-1, 1]: quantised to uint8 they would differ by 0.3 grey levels for that alone. What the
    sampler computes in bf16 or fp16 is part of its error: the reference is fp32.
    """
    away = images.double() - exact.to(images.device, torch.float64)
    return GREY_LEVELS * float(away.square().mean().sqrt())
