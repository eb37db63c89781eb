"""Mixtures of Gaussians, whose denoiser is known in closed form: data on which every claim can be computed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edm.config import NetworkConfig
from edm.precondition import Denoiser

ARM, SPREAD = 5, 0.16  # components of each class, and their standard deviation


@dataclass(frozen=True)
class Mixture:
    """Equally likely Gaussians: their means [k, d], and the standard deviation of each."""

    means: Tensor
    spread: float

    def log_density(self, x: Tensor, sigma: float) -> Tensor:
        """Return ln p(x; sigma), of the data with noise of level sigma, for points [n, d]."""
        variance, (k, d) = self.spread**2 + sigma**2, self.means.shape
        squared = (x[:, None] - self.means).square().sum(dim=2)
        return (
            torch.logsumexp(-squared / (2 * variance), dim=1) - math.log(k) - d / 2 * math.log(2 * math.pi * variance)
        )

    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        """Return D(x; sigma), the expected data point behind each noisy one of [n, d]."""
        variance = self.spread**2 + sigma**2
        share = (-(x[:, None] - self.means).square().sum(dim=2) / (2 * variance)).softmax(dim=1)
        kept = self.spread**2 / variance
        return kept * x + (1 - kept) * share @ self.means

    def score(self, x: Tensor, sigma: float) -> Tensor:
        """Return the gradient of ln p(x; sigma), which is (D(x; sigma) - x) / sigma**2 (EDM, eq. 3)."""
        return (self.denoised(x, sigma) - x) / sigma**2

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise points that are held as images [n, d, 1, 1], as the samplers call a denoiser."""
        return self.denoised(x.flatten(1), float(sigma))[:, :, None, None]


def arms() -> tuple[Mixture, Mixture]:
    """Return two classes of points in the plane, each a bent arm, one the other turned by half a circle."""
    angle = torch.linspace(0.2, 2.6, ARM, dtype=torch.float64)
    radius = 0.45 + 0.45 * angle
    arm = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return Mixture(arm, SPREAD), Mixture(-arm, SPREAD)


def both(spread: float = SPREAD) -> Mixture:
    """Return the points of both classes as one mixture."""
    first, second = arms()
    return Mixture(torch.cat([first.means, second.means]), spread)


def line() -> Mixture:
    """Return two Gaussians on a line."""
    return Mixture(torch.tensor([[-1.0], [1.0]], dtype=torch.float64), 0.3)


class MixtureDenoiser(Denoiser):
    """The exact denoiser of the two arms, by class and without one, in the place of a trained network.

    widening: added to the standard deviation of every component, which makes a weaker model.
    """

    def __init__(self, widening: float = 0.0) -> None:
        nn.Module.__init__(self)  # it has no network
        self.config = NetworkConfig(1, 1, len(arms()), channels=1, depths=(), heads=(), bridge_heads=0)
        self.sigma_data = 1.0
        spread = SPREAD + widening
        self.mixtures = [*(Mixture(arm.means, spread) for arm in arms()), both(spread)]  # the last one: no class
        self.eval()

    def forward(
        self, x: Tensor, sigma: Tensor, label: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        """Return the expected points, given images [n, 2, 1, 1] with one noise level for all."""
        assert label is not None and augment_labels is None
        level = float(sigma.flatten()[0])
        each = torch.stack([mixture.denoised(x.flatten(1), level) for mixture in self.mixtures])
        return each[label, torch.arange(len(x))][:, :, None, None]


def as_images(points: Tensor) -> Tensor:
    """Return points [n, d] as images [n, d, 1, 1], which the samplers take."""
    return points[:, :, None, None]
