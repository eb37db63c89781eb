"""Features of noise levels and labels, and what else the networks of the literature share."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from edm.networks.layout import Scale

MAX_PERIOD = 10_000  # of positional features, in units of c_noise (Ho et al. 2020)
FOURIER_SCALE = 16.0  # standard deviation of the frequencies of NCSN++'s Fourier features (Song et al. 2021)


@runtime_checkable
class OwnWeights(Protocol):
    """A module that sets all of its initial weights itself, as its paper says."""

    def initialise(self, generator: torch.Generator) -> None:
        """Set every weight, drawing from `generator` and never from the global one."""
        ...


def xavier(module: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    """Draw the weights of a layer as Glorot and Bengio (2010) do, uniformly; its biases are 0."""
    nn.init.xavier_uniform_(module.weight, generator=generator)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class GroupNorm(nn.GroupNorm):
    """Group norm in float32 whose output has the type of its input: what follows computes in half the bytes on a GPU.

    Mixed precision alone would leave it in float32, and all up to the next convolution with it.
    """

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:  # named as torch has it
        """Normalise each group of channels."""
        return super().forward(input).to(input.dtype)


class PositionalFeatures(nn.Module):
    """Sines and cosines of c_noise at fixed frequencies, from 1 down to 1 / 10,000 (Ho et al. 2020).

    reaches_end: whether the lowest frequency is 1 / 10,000 itself, or one step above it. sines_first: the order.
    """

    frequencies: Tensor

    def __init__(self, channels: int, reaches_end: bool, sines_first: bool) -> None:
        super().__init__()
        half, self.sines_first = channels // 2, sines_first
        exponents = torch.arange(half, dtype=torch.float32) / (half - 1 if reaches_end else half)
        self.register_buffer("frequencies", (1 / MAX_PERIOD) ** exponents, persistent=False)

    def forward(self, c_noise: Float[Tensor, " b"]) -> Float[Tensor, "b k"]:
        """Return the features of each noise level."""
        phase = c_noise[:, None] * self.frequencies
        parts = (phase.sin(), phase.cos()) if self.sines_first else (phase.cos(), phase.sin())
        return torch.cat(parts, dim=1)


class FourierFeatures(nn.Module):
    """Sines and cosines of c_noise at random frequencies, drawn once (Tancik et al. 2020; Song et al. 2021)."""

    frequencies: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.zeros(channels // 2))

    def forward(self, c_noise: Float[Tensor, " b"]) -> Float[Tensor, "b k"]:
        """Return the features of each noise level."""
        phase = 2 * math.pi * c_noise[:, None] * self.frequencies
        return torch.cat((phase.sin(), phase.cos()), dim=1)


def one_hot(label: Int64[Tensor, " b"], num_classes: int, dtype: torch.dtype) -> Float[Tensor, "b n"]:
    """Return each label as a vector with a single 1; `num_classes`, which means no label, as zeros."""
    return F.one_hot(label, num_classes + 1)[:, :num_classes].to(dtype)


def doubled(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c u v"]:
    """Return images of twice the height and width, with every pixel four times."""
    return _repeated(x) if x.is_cuda else F.interpolate(x, scale_factor=2.0, mode="nearest")


def _repeated(x: Float[Tensor, "b c h w"]) -> Tensor:
    """Repeat every pixel four times, in channels-last layout.

    On a GPU, torch's own function computes it in float32 whatever the precision, and refuses 2**31 numbers.
    """
    b, c, h, w = x.shape
    repeated = x.permute(0, 2, 3, 1)[:, :, None, :, None].expand(b, h, 2, w, 2, c)
    return repeated.reshape(b, 2 * h, 2 * w, c).permute(0, 3, 1, 2)


class Resampling(nn.Module):
    """Halves or doubles the sides of images, or leaves them as they are.

    taps: of the separable filter that smooths them; (1, 1) averages or repeats pixels. bordered: whether the images
    already have the border of zeros that the filter needs.
    """

    kernel: Tensor

    def __init__(self, scale: Scale | None, taps: tuple[int, ...], bordered: bool = False) -> None:
        super().__init__()
        self.scale: Scale | None = scale
        self.filtered, self.padding = scale is not None and len(taps) > 2, 0 if bordered else (len(taps) - 1) // 2
        if self.filtered:
            weights = torch.tensor(taps, dtype=torch.float32) / sum(taps)
            self.register_buffer("kernel", torch.outer(weights, weights)[None, None], persistent=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c u v"]:
        """Return `x` at half or twice the resolution, or as it is."""
        if self.scale is None:
            return x
        if not self.filtered:
            return F.avg_pool2d(x, 2) if self.scale == "down" else doubled(x)
        kernel = self.kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)
        if self.scale == "down":
            return F.conv2d(x, kernel, stride=2, padding=self.padding, groups=x.shape[1])
        return F.conv_transpose2d(x, 4 * kernel, stride=2, padding=self.padding, groups=x.shape[1])
