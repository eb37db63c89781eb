"""The preconditioned denoiser D(x; sigma) = c_skip x + c_out F(c_in x; c_noise) (EDM, eq. 7 and Table 1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from edm.config import NetworkConfig
from edm.networks.build import build_network


@dataclass(frozen=True)
class Scalings:
    """The coefficients of the preconditioning and the loss weight at some noise levels (EDM, Table 1)."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor
    weight: Tensor

    @classmethod
    def of(cls, sigma: Float[Tensor, " b"], sigma_data: float) -> Scalings:
        """Return the scalings at `sigma` for data of standard deviation `sigma_data`.

        The weight is 1 / c_out**2, so that an untrained network has a loss of about 1 at every noise level.
        """
        variance = sigma**2 + sigma_data**2
        return cls(
            c_skip=sigma_data**2 / variance,
            c_out=sigma * sigma_data / variance.sqrt(),
            c_in=1 / variance.sqrt(),
            c_noise=sigma.log() / 4,
            weight=variance / (sigma * sigma_data) ** 2,
        )


class Denoiser(nn.Module):
    """A network with its preconditioning: maps (x, sigma, label) to the expected clean image, in [-1, 1].

    config: of the network. sigma_data: standard deviation of the training data. network: by default a new one.
    Scalings are computed in the precision of `x`, the network in float32.
    """

    def __init__(self, config: NetworkConfig, sigma_data: float, network: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.sigma_data = sigma_data
        self.network = build_network(config) if network is None else network

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
        s = Scalings.of(torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x)), self.sigma_data)
        scaled = (_spread(s.c_in) * x).to(torch.float32, memory_format=torch.channels_last)
        output = self.network(scaled, s.c_noise.to(torch.float32), label, augment_labels)
        return _spread(s.c_skip) * x + _spread(s.c_out) * output.to(x.dtype)


def _spread(values: Float[Tensor, " b"]) -> Float[Tensor, "b 1 1 1"]:
    return values[:, None, None, None]
