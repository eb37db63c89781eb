"""The denoising loss (EDM, eq. 2 and Table 1) and its weights over noise levels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from jaxtyping import Float, Int64
from torch import Tensor

from edm.config import TrainingConfig
from edm.precondition import Denoiser
from edm.registry import Registry, as_it_is

LossWeight = Callable[[Tensor, float], Tensor]  # (sigma, sigma_data) -> weight, one for each image


def denoising_loss(
    denoiser: Denoiser,
    images: Float[Tensor, "b c h w"],
    label: Int64[Tensor, " b"] | None,
    sigma: Float[Tensor, " b"],
    noise: Float[Tensor, "b c h w"],
    augment_labels: Float[Tensor, "b a"] | None = None,
    weight: LossWeight | None = None,
) -> Float[Tensor, " b"]:
    """Return the weighted mean squared error of D(y + sigma n) for each image y, n being `noise`.

    weight: of the error at each noise level; by default EDM's, with which a network that returns zeros scores about 1
    at every noise level.
    """
    noisy = images + sigma[:, None, None, None] * noise
    error = (denoiser(noisy, sigma, label, augment_labels) - images) ** 2
    return (weight or edm_weight)(sigma, denoiser.sigma_data) * error.mean(dim=(1, 2, 3))


def uncertain(loss: Float[Tensor, " b"], denoiser: Denoiser, sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return L / exp(u) + u for each loss L, which is least where u(sigma) = ln L (EDM2, eq. 21)."""
    u = denoiser.log_uncertainty(sigma)
    return loss / u.exp() + u


def edm_weight(sigma: Float[Tensor, " b"], sigma_data: float) -> Float[Tensor, " b"]:
    """Return EDM's weight of the error of D at each noise level, 1 / c_out**2 (EDM, Table 1).

    It is (SNR + 1) / sigma_data**2, with SNR = (sigma_data / sigma)**2.
    """
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def inverse_variance_weight(sigma: Float[Tensor, " b"], sigma_data: float) -> Float[Tensor, " b"]:
    """Return the weight 1 / sigma**2, that of VP, VE and iDDPM (EDM, Table 1)."""
    return 1 / sigma**2


def min_snr_weight(sigma: Float[Tensor, " b"], sigma_data: float, gamma: float) -> Float[Tensor, " b"]:
    """Return the weight min(SNR, gamma) / sigma_data**2 (Hang et al. 2023, eq. 5, where networks predict the image)."""
    return (sigma_data / sigma).square().clip(max=gamma) / sigma_data**2


OWN_WEIGHTINGS: dict[str, Callable[[TrainingConfig], LossWeight]] = {
    "edm": lambda config: edm_weight,
    "min_snr": lambda config: partial(min_snr_weight, gamma=config.min_snr_gamma),
    "inverse_variance": lambda config: inverse_variance_weight,
}
WEIGHTINGS = Registry(OWN_WEIGHTINGS, as_it_is)
