"""The denoising loss (EDM, eq. 2 and Table 1)."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor

from edm.precondition import Denoiser, Scalings


def denoising_loss(
    denoiser: Denoiser,
    images: Float[Tensor, "b c h w"],
    label: Int64[Tensor, " b"] | None,
    sigma: Float[Tensor, " b"],
    noise: Float[Tensor, "b c h w"],
) -> Float[Tensor, " b"]:
    """Mean squared error per image of D(y + sigma n), weighted so that a network of zeros scores about 1."""
    noisy = images + sigma[:, None, None, None] * noise
    error = (denoiser(noisy, sigma, label) - images) ** 2
    return Scalings.of(sigma, denoiser.sigma_data).weight * error.mean(dim=(1, 2, 3))
