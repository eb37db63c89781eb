"""The preconditioned denoiser D(x; sigma) = c_skip x + c_out F(c_in x; c_noise) (EDM, eq. 7 and Table 1)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from edm.config import NetworkConfig
from edm.discrete import DiscreteProcess
from edm.networks.build import build_network
from edm.networks.edm2 import UncertaintyHead
from edm.scalings import Scalings, of_process


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
        self.uncertainty = UncertaintyHead() if config.uncertainty else None
        self.process = DiscreteProcess.of(config.settings) if config.settings else None

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
        if self.process is not None:
            return of_process(sigma, self.process)
        return Scalings.of(sigma, self.sigma_data, self.config.precondition)

    def log_uncertainty(self, sigma: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Return u(sigma), the logarithm of the loss to expect (EDM2, eq. 21), of a network that learns it."""
        assert self.uncertainty is not None, "the network has no head for the uncertainty"
        return self.uncertainty(self.scalings(sigma).c_noise.to(torch.float32)).to(sigma.dtype)


def _spread(values: Float[Tensor, " b"]) -> Float[Tensor, "b 1 1 1"]:
    return values[:, None, None, None]
