"""The truncation error of a sampler: how far its images end from the exact solution of the ODE that it integrates.

It compares samplers without the noise of an FID: image by image, with the same network, noise and labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from edm.config import EXACT_IMAGES, FieldError, SamplingConfig
from edm.generate import draw, labels_of
from edm.networks.device import full_precision
from edm.precondition import Denoiser

GREY_LEVELS = 127.5  # that make up 1, as images are drawn in [-1, 1]

OnImages = Callable[[int, int], None]  # steps done, steps in total


def exact_images(
    model: Denoiser,
    sampling: SamplingConfig,
    guide: Denoiser | None = None,
    on_progress: OnImages = lambda _done, _total: None,
) -> Float64[Tensor, "n c h w"]:
    """Return the first EXACT_IMAGES images of the stream as the exact solution has them: drawn by `sampling.exact()`.

    That takes EXACT_STEPS steps of Heun's method, 1,023 evaluations (of two networks where guidance has two branches),
    once for all samplers, step counts and schedules that begin at one noise level. Its own error is 0.002 grey levels
    on digits and 0.004 on Gaussian data, so that errors below about 0.02 mean little.

    With a guidance interval the ODE jumps where guidance begins and ends. A sampler switches at its next step, up to a
    step late, which is an error of first order whatever the sampler. The reference has it too, at other noise levels,
    and is then off by about 0.1 grey levels.

    Raises FieldError as `draw` does, and where `sampling` adds noise on the way, because its images then have no single
    solution.
    """
    if not sampling.is_deterministic:
        noisy = (
            f"{sampling.sampler} adds noise on the way, so its images have no exact solution; use a deterministic one"
        )
        raise FieldError("sampler", noisy)
    with full_precision():  # TF32, torch's default for convolutions on a GPU, would be the largest of all errors
        return final_images(model, sampling.exact(), guide, on_progress)


def final_images(
    model: Denoiser,
    sampling: SamplingConfig,
    guide: Denoiser | None = None,
    on_progress: OnImages = lambda _done, _total: None,
    batch_size: int = EXACT_IMAGES,
) -> Float64[Tensor, "n c h w"]:
    """Draw the first EXACT_IMAGES images of the stream; values are about [-1, 1], neither quantised nor clipped.

    Noise, labels and the padding of batches to `batch_size` are as in `generate`. on_progress: called at every step.
    Raises FieldError as `draw` does.
    """
    device, done = next(model.parameters()).device, itertools.count()
    starts = range(0, EXACT_IMAGES, batch_size)
    total = len(starts) * sampling.steps

    def on_step(_step: int, _sigma: float, _x: Tensor, _denoised: Tensor) -> None:
        on_progress(next(done), total)

    batches: list[Tensor] = []
    for start in starts:
        index = torch.arange(start, start + batch_size, device=device)
        labels = labels_of(index, model.config.num_classes)
        batches.append(draw(model, sampling, index, labels, guide, on_step))
    on_progress(total, total)
    return torch.cat(batches)[:EXACT_IMAGES]


def truncation_error(images: Float[Tensor, "n c h w"], exact: Float[Tensor, "n c h w"]) -> float:
    """Return the root mean square difference of `images` from `exact` over images and pixels, in grey levels.

    Both are as drawn, about [-1, 1]: quantising to uint8 alone would make a difference of 0.3 grey levels. The rounding
    of a sampler in bf16 or fp16 counts as its error, as the exact images are drawn in fp32.
    """
    away = images.double() - exact.to(images.device, torch.float64)
    return GREY_LEVELS * float(away.square().mean().sqrt())
