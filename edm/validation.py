"""The denoising loss on images that were not trained on: at fixed noise and fixed levels, so that curves compare."""

from __future__ import annotations

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from edm.data.dataset import to_unit
from edm.loss import denoising_loss
from edm.noise import Stream, normals
from edm.precondition import Denoiser

# from where images are all but clean to where they are all but noise, whatever levels a training draws
VALIDATION_SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
VALIDATION_IMAGES = 100  # at most: the noise is the same every time, so that few make a smooth curve


@torch.no_grad()
def validation_losses(
    model: Denoiser, images: UInt8[Tensor, "n c h w"], labels: Int64[Tensor, " n"]
) -> dict[float, float]:
    """EDM's weighted denoising loss at each of VALIDATION_SIGMAS; image i has the same noise in every call.

    Weighted as EDM does whatever the training's own weighting: a network of zeros scores about 1 at every level.
    """
    device = next(model.parameters()).device
    clean, index = to_unit(images.to(device)), torch.arange(len(images), device=device)
    losses = []
    for level, sigma in enumerate(VALIDATION_SIGMAS):
        noise = normals(0, Stream.VALIDATION, index, tuple(clean.shape[1:]), step=level)
        at = clean.new_full((len(clean),), sigma)
        losses.append(denoising_loss(model, clean, labels.to(device), at, noise).double().mean())
    return dict(zip(VALIDATION_SIGMAS, torch.stack(losses).tolist(), strict=True))


def total_loss(losses: dict[float, float]) -> float:
    """The plain mean over the levels."""
    return sum(losses.values()) / len(losses)
