"""The denoising loss (EDM, eq. 2 and Table 1) and its weights over noise levels."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor

from edm.config import Weighting
from edm.precondition import Denoiser, Scalings


def denoising_loss(
    denoiser: Denoiser,
    images: Float[Tensor, "b c h w"],
    label: Int64[Tensor, " b"] | None,
    sigma: Float[Tensor, " b"],
    noise: Float[Tensor, "b c h w"],
    augment_labels: Float[Tensor, "b a"] | None = None,
    weighting: Weighting = "edm",
    min_snr_gamma: float = 5.0,
) -> Float[Tensor, " b"]:
    """Return the weighted mean squared error of D(y + sigma n) for each image y, n being `noise`.

    With EDM's weights a network that returns zeros scores about 1 at every noise level. With `uncertainty` that loss L
    becomes L / exp(u) + u, whose least is at u(sigma) = ln L (EDM2, eq. 21).
    """
    noisy = images + sigma[:, None, None, None] * noise
    error = (denoiser(noisy, sigma, label, augment_labels) - images) ** 2
    loss = loss_weight(sigma, denoiser.sigma_data, weighting, min_snr_gamma) * error.mean(dim=(1, 2, 3))
    if weighting != "uncertainty":
        return loss
    u = denoiser.log_uncertainty(sigma)
    return loss / u.exp() + u


def loss_weight(
    sigma: Float[Tensor, " b"], sigma_data: float, weighting: Weighting, min_snr_gamma: float
) -> Float[Tensor, " b"]:
    """Return the weight of the error of D at each noise level.

    EDM's is (SNR + 1) / sigma_data**2 with SNR = (sigma_data / sigma)**2; min-SNR's is min(SNR, gamma) / sigma_data**2
    (Hang et al. 2023, eq. 5, for networks that predict the image); that of VP, VE and iDDPM is 1 / sigma**2 (EDM,
    Table 1).
    """
    if weighting == "inverse_variance":
        return 1 / sigma**2
    if weighting in ("edm", "uncertainty"):
        return Scalings.of(sigma, sigma_data).weight
    return (sigma_data / sigma).square().clip(max=min_snr_gamma) / sigma_data**2
