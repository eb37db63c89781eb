"""Building blocks of the U-Net: conditioning, adaptive norms, residual and attention blocks, resampling."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from edm.config import Extension, NetworkConfig
from edm.networks.attention import attend, split_heads
from edm.networks.conditioning import GroupNorm, Resampling, doubled
from edm.networks.layout import NO_FILTER, Scale, num_groups
from edm.registry import Registration, Registry


class Conditioning(nn.Module):
    """Embeds noise level, label and augmentation parameters in one vector: Fourier features, then two linear layers."""

    frequencies: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels, num_classes = config.cond_channels, config.num_classes
        self.register_buffer("frequencies", torch.zeros(channels // 2))
        # one row more than there are classes: the last means "no label"
        self.label = nn.Embedding(num_classes + 1, channels) if num_classes else None
        self.mix = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels))
        self.augment = nn.Linear(config.augment_labels, channels, bias=False) if config.augment_labels else None

    def forward(
        self,
        c_noise: Float[Tensor, " b"],
        label: Int64[Tensor, " b"] | None,
        augment_labels: Float[Tensor, "b a"] | None = None,
    ) -> Float[Tensor, "b k"]:
        """Return the conditioning vector of each image; without `augment_labels` images count as not augmented."""
        phase = 2 * math.pi * c_noise[:, None] * self.frequencies
        embedding = torch.cat([phase.cos(), phase.sin()], dim=1)
        if self.label is not None and label is not None:
            embedding = embedding + self.label(label)
        if self.augment is not None and augment_labels is not None:
            embedding = embedding + self.augment(augment_labels)
        return self.mix(embedding)


class ConditionalBatchNorm(nn.Module):
    """Batch norm with an adaptive scale and shift: norm(x) gamma + beta, both linear in the conditioning vector."""

    def __init__(self, channels: int, cond_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale_shift = nn.Linear(cond_channels, 2 * channels)

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k"]) -> Float[Tensor, "b c h w"]:
        """Normalise `x`, and scale and shift it by `cond`."""
        gamma, beta = self.scale_shift(cond)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(beta, gamma, self.norm(x))


class ConditionalGroupNorm(nn.Module):
    """Group norm with an adaptive scale and shift: norm(x) (1 + gamma) + beta (EDM, appendix F)."""

    def __init__(self, channels: int, cond_channels: int) -> None:
        super().__init__()
        self.norm = GroupNorm(num_groups(channels), channels, affine=False)
        self.scale_shift = nn.Linear(cond_channels, 2 * channels)

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k"]) -> Float[Tensor, "b c h w"]:
        """Normalise `x`, and scale and shift it by `cond`."""
        gamma, beta = self.scale_shift(cond)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(beta, 1 + gamma, self.norm(x))


MakeNorm = Callable[[int, int], nn.Module]  # (channels, cond_channels) -> module of (x, cond)
OWN_NORMS: dict[str, MakeNorm] = {"batch": ConditionalBatchNorm, "group": ConditionalGroupNorm}
NORMS = Registry(OWN_NORMS, Registration.bound)


class ResidualBlock(nn.Module):
    """Twice norm, ReLU and a 3x3 convolution, plus the input.

    scale: halve or double the sides of both branches, as EDM does; None leaves them as they are.
    """

    def __init__(self, inputs: int, outputs: int, config: NetworkConfig, scale: Scale | None = None) -> None:
        super().__init__()
        norm, cond = NORMS[config.norm], config.cond_channels
        self.dropout, self.resampled = config.dropout, Resampling(scale, NO_FILTER)
        self.norm1 = norm(inputs, cond)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = norm(outputs, cond)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Float[Tensor, "b i h w"], cond: Float[Tensor, "b k"]) -> Float[Tensor, "b o u v"]:
        """Return `outputs` channels, at twice or half the resolution if `scale` says so."""
        h = self.conv1(self.resampled(F.relu(self.norm1(x, cond))))
        h = F.dropout(F.relu(self.norm2(h, cond)), self.dropout, self.training)
        return self.skip(self.resampled(x)) + self.conv2(h)


class AttentionBlock(nn.Module):
    """Multi-head self-attention over pixels, plus the input."""

    def __init__(self, channels: int, heads: int, config: NetworkConfig) -> None:
        super().__init__()
        self.heads = heads
        self.norm = NORMS[config.norm](channels, config.cond_channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k"]) -> Float[Tensor, "b c h w"]:
        """Return a tensor of the shape of `x`."""
        qkv = split_heads(self.qkv(self.norm(x, cond)), self.heads)
        return x + self.out(attend(qkv, x.shape[2:]))


MakeAttention = Callable[[int, int, NetworkConfig], nn.Module]  # (channels, heads, config) -> module of (x, cond)


def _attention_of_extension(registration: Registration, extension: Extension) -> MakeAttention:
    build = registration.bound(extension)
    return lambda channels, heads, config: build(channels, heads, config.cond_channels)


OWN_ATTENTIONS: dict[str, MakeAttention] = {"softmax": AttentionBlock}
ATTENTIONS = Registry(OWN_ATTENTIONS, _attention_of_extension)


class Level(nn.ModuleList):
    """The `depth` residual blocks of one resolution, each followed by attention where `heads` is above 0."""

    def __init__(self, inputs: int, outputs: int, depth: int, heads: int, config: NetworkConfig) -> None:
        blocks: list[nn.Module] = []
        for i in range(depth):
            blocks.append(ResidualBlock(outputs if i else inputs, outputs, config))
            if heads:
                blocks.append(ATTENTIONS[config.attention_block](outputs, heads, config))
        super().__init__(blocks)

    def forward(self, x: Float[Tensor, "b i h w"], cond: Float[Tensor, "b k"]) -> Float[Tensor, "b o h w"]:
        """Apply the blocks in order."""
        for block in self:
            x = block(x, cond)
        return x


class Pool(nn.Module):
    """Halve the resolution by averaging 2x2 pixels; the next block changes the channels."""

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k"]) -> Float[Tensor, "b c u v"]:
        """Return `x` at half the resolution; `cond` is unused, but other ways down take it."""
        return F.avg_pool2d(x, 2)


class UpConvolution(nn.Conv2d):
    """Double the resolution by repeating pixels, then halve the channels by a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(2 * channels, channels, 3, padding=1)  # pyright: ignore[reportUnknownMemberType] - its device

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - like the residual block, it takes cond
        self, x: Float[Tensor, "b i h w"], cond: Float[Tensor, "b k"]
    ) -> Float[Tensor, "b o u v"]:
        """Return `x` at twice the resolution; `cond` is unused, but other ways up take it."""
        return super().forward(doubled(x))
