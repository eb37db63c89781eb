"""The denoising loss on held-out images, at fixed noise and noise levels, so that curves can be compared."""

from __future__ import annotations

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from edm.data.dataset import to_unit
from edm.loss import denoising_loss, edm_weight
from edm.noise import Stream, normals
from edm.precondition import Denoiser
from edm.typed_torch import floats

# from almost clean to almost noise, whatever noise levels a training draws
VALIDATION_SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
VALIDATION_IMAGES = 100  # at most; as the noise is the same every time, a few make a smooth curve


@torch.no_grad()
def validation_losses(
    model: Denoiser, images: UInt8[Tensor, "n c h w"], labels: Int64[Tensor, " n"], sigma_data: float | None = None
) -> dict[float, float]:
    """Return EDM's weighted denoising loss at each of VALIDATION_SIGMAS; image i has the same noise in every call.

    EDM's weights are used whatever those of the training, so that a network of zeros scores about 1 at every level.
    sigma_data: of the images, by default the model's, which differs where it began with a network trained on others.
    """
    device = next(model.parameters()).device
    clean, index = to_unit(images.to(device)), torch.arange(len(images), device=device)
    losses: list[Tensor] = []

    def weight(sigma: Tensor, of_model: float) -> Tensor:
        return edm_weight(sigma, of_model if sigma_data is None else sigma_data)

    for level, sigma in enumerate(VALIDATION_SIGMAS):
        noise = normals(0, Stream.VALIDATION, index, tuple(clean.shape[1:]), step=level)
        at = clean.new_full((len(clean),), sigma)
        losses.append(denoising_loss(model, clean, labels.to(device), at, noise, weight=weight).double().mean())
    return dict(zip(VALIDATION_SIGMAS, floats(torch.stack(losses)), strict=True))


def total_loss(losses: dict[float, float]) -> float:
    """Return the mean over noise levels."""
    return sum(losses.values()) / len(losses)
