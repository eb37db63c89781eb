"""The preconditioned denoiser D(x; sigma) = c_skip x + c_out F(c_in x; c_noise) (EDM, eq. 7 and Table 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from edm.config import NetworkConfig, Precondition
from edm.networks.build import build_network
from edm.networks.edm2 import UncertaintyHead
from edm.schedules import iddpm_levels

M = 1000  # time steps of the discrete models that VP and iDDPM preconditioning label noise levels by (EDM, Table 1)
BETA_D, BETA_MIN = 19.9, 0.1  # of the variance-preserving SDE (Song et al. 2021)


@dataclass(frozen=True)
class Scalings:
    """The coefficients of the preconditioning, and the loss weight, at some noise levels (EDM, Table 1)."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor
    weight: Tensor

    @classmethod
    def of(cls, sigma: Float[Tensor, " b"], sigma_data: float, precondition: Precondition = "edm") -> Scalings:
        """Return the scalings at `sigma` for data of standard deviation `sigma_data`, which only EDM's depend on.

        The weight is 1 / c_out**2; with EDM's, an untrained network has a loss of about 1 at every noise level.
        """
        if precondition == "edm":
            return _edm(sigma, sigma_data)
        one = torch.ones_like(sigma)
        c_in = one if precondition == "ve" else 1 / (sigma**2 + 1).sqrt()
        c_out = sigma if precondition == "ve" else -sigma
        return cls(one, c_out, c_in, NOISE_LABELS[precondition](sigma), 1 / sigma**2)


def _edm(sigma: Tensor, sigma_data: float) -> Scalings:
    variance = sigma**2 + sigma_data**2
    return Scalings(
        c_skip=sigma_data**2 / variance,
        c_out=sigma * sigma_data / variance.sqrt(),
        c_in=1 / variance.sqrt(),
        c_noise=sigma.log() / 4,
        weight=variance / (sigma * sigma_data) ** 2,
    )


def _vp_label(sigma: Tensor) -> Tensor:
    """Return (M - 1) t, where t is the time at which the variance-preserving SDE has the noise level sigma."""
    t = ((BETA_MIN**2 + 2 * BETA_D * (sigma**2).log1p()).sqrt() - BETA_MIN) / BETA_D
    return (M - 1) * t


def _ve_label(sigma: Tensor) -> Tensor:
    return (sigma / 2).log()


def _iddpm_label(sigma: Tensor) -> Tensor:
    """Return the number of the nearest of improved DDPM's noise levels, counted from the least."""
    levels = _levels_on(sigma.device)
    nearest = (sigma.detach()[:, None].to(levels) - levels).abs().argmin(dim=1)
    return (M - 1 - nearest).to(sigma.dtype)


@lru_cache
def _levels_on(device: torch.device) -> Tensor:
    return torch.tensor(iddpm_levels(), dtype=torch.float32, device=device)


NOISE_LABELS: dict[Precondition, Callable[[Tensor], Tensor]] = {
    "vp": _vp_label,
    "ve": _ve_label,
    "iddpm": _iddpm_label,
}


class Denoiser(nn.Module):
    """A network with its preconditioning: maps (x, sigma, label) to the expected clean image, in [-1, 1].

    config: of the network. sigma_data: standard deviation of the training data. Scalings are computed in the precision
    of `x`, the network in float32.
    """

    def __init__(self, config: NetworkConfig, sigma_data: float) -> None:
        super().__init__()
        self.config = config
        self.sigma_data = sigma_data
        self.network = build_network(config)
        self.uncertainty = UncertaintyHead() if config.uncertainty else None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images that the model was trained on."""
        return self.config.image_channels, self.config.resolution, self.config.resolution

    @property
    def null_label(self) -> int:
        """The class id that means "no label"."""
        return self.config.num_classes

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        sigma: Float[Tensor, " b"] | Float[Tensor, ""] | float,
        label: Int64[Tensor, " b"] | None = None,
        augment_labels: Float[Tensor, "b a"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        """Return the expected clean images, given images `x` with noise of standard deviation `sigma`.

        sigma: one for each image or one for all. label: class ids from 0; `null_label` means no class, None no class
        for any image. augment_labels: the augmentation of each image (edm/augment.py); None means not augmented.
        """
        if label is None and self.config.num_classes:
            label = torch.full((len(x),), self.null_label, device=x.device)
        s = self.scalings(torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x)))
        scaled = (_spread(s.c_in) * x).to(torch.float32, memory_format=torch.channels_last)
        output = self.network(scaled, s.c_noise.to(torch.float32), label, augment_labels)
        if output.shape[1] > x.shape[1]:
            output = output[:, : x.shape[1]]
        return _spread(s.c_skip) * x + _spread(s.c_out) * output.to(x.dtype)

    def scalings(self, sigma: Float[Tensor, " b"]) -> Scalings:
        """Return the coefficients of this model's preconditioning at `sigma`."""
        return Scalings.of(sigma, self.sigma_data, self.config.precondition)

    def log_uncertainty(self, sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Return u(sigma), the logarithm of the loss to expect (EDM2, eq. 21), of a network that learns it."""
        assert self.uncertainty is not None, "the network has no head for the uncertainty"
        return self.uncertainty(self.scalings(sigma).c_noise.to(torch.float32)).to(sigma.dtype)


def _spread(values: Float[Tensor, " b"]) -> Float[Tensor, "b 1 1 1"]:
    return values[:, None, None, None]
