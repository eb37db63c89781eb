"""The U-Net F(c_in x; c_noise, label) of the 2023 study: batch norm conditioned on noise level and label."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from edm.config import NetworkConfig


class Conditioning(nn.Module):
    """Noise level and label -> one vector."""

    frequencies: Tensor

    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.zeros(channels // 2))
        # one more than the classes: the last means "no label"
        self.label = nn.Embedding(num_classes + 1, channels) if num_classes else None
        self.mix = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels))

    def forward(self, c_noise: Float[Tensor, " b"], label: Int64[Tensor, " b"] | None) -> Float[Tensor, "b k"]:
        phase = 2 * math.pi * c_noise[:, None] * self.frequencies
        embedding = torch.cat([phase.cos(), phase.sin()], dim=1)
        if self.label is not None and label is not None:
            embedding = embedding + self.label(label)
        return self.mix(embedding)


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose scale and shift are linear in the conditioning vector."""

    def __init__(self, channels: int, cond_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale_shift = nn.Linear(cond_channels, 2 * channels)

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k"]) -> Float[Tensor, "b c h w"]:
        gamma, beta = self.scale_shift(cond)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(beta, gamma, self.norm(x))


class ResidualBlock(nn.Module):
    """Norm, ReLU, 3x3, twice, plus the input."""

    def __init__(self, inputs: int, outputs: int, cond_channels: int) -> None:
        super().__init__()
        self.norm1 = ConditionalBatchNorm(inputs, cond_channels)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = ConditionalBatchNorm(outputs, cond_channels)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Float[Tensor, "b i h w"], cond: Float[Tensor, "b k"]) -> Float[Tensor, "b o h w"]:
        h = self.conv1(F.relu(self.norm1(x, cond)))
        h = self.conv2(F.relu(self.norm2(h, cond)))
        return self.skip(x) + h


class AttentionBlock(nn.Module):
    """Self-attention over pixels, plus the input."""

    def __init__(self, channels: int, heads: int, cond_channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = ConditionalBatchNorm(channels, cond_channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k"]) -> Float[Tensor, "b c h w"]:
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x, cond)).reshape(b, 3, self.heads, c // self.heads, h * w)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        attended = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(attended.transpose(-1, -2).reshape(b, c, h, w))


class Level(nn.ModuleList):
    """Residual blocks of one resolution, each followed by attention where `heads` is above 0."""

    def __init__(self, inputs: int, outputs: int, depth: int, heads: int, cond_channels: int) -> None:
        blocks: list[nn.Module] = []
        for i in range(depth):
            blocks.append(ResidualBlock(outputs if i else inputs, outputs, cond_channels))
            if heads:
                blocks.append(AttentionBlock(outputs, heads, cond_channels))
        super().__init__(blocks)

    def forward(self, x: Float[Tensor, "b i h w"], cond: Float[Tensor, "b k"]) -> Float[Tensor, "b o h w"]:
        for block in self:
            x = block(x, cond)
        return x


class UNet(nn.Module):
    """F(x; c_noise, label): images to images of the same shape; weights follow `seed` through `initialise`."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels, cond = config.level_channels, config.cond_channels
        shape = list(zip(channels, config.depths, config.heads, strict=False))
        self.conditioning = Conditioning(config.num_classes, cond)
        self.conv_in = nn.Conv2d(config.image_channels, channels[0], 3, padding=1)
        self.down = nn.ModuleList(
            Level(channels[max(i - 1, 0)], width, depth, heads, cond) for i, (width, depth, heads) in enumerate(shape)
        )
        self.bridge = Level(channels[-2], channels[-1], config.depths[-1], config.bridge_heads, cond)
        self.halve = nn.ModuleList(nn.Conv2d(2 * width, width, 3, padding=1) for width in channels[:-1])
        self.up = nn.ModuleList(Level(2 * width, width, depth, heads, cond) for width, depth, heads in shape)
        self.conv_out = nn.Conv2d(channels[0], config.image_channels, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "b c h w"], c_noise: Float[Tensor, " b"], label: Int64[Tensor, " b"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        cond = self.conditioning(c_noise, label)
        x = self.conv_in(x)
        skips: list[Tensor] = []
        for i, level in enumerate(self.down):
            x = level(F.avg_pool2d(x, 2) if i else x, cond)
            skips.append(x)
        x = self.bridge(F.avg_pool2d(x, 2), cond)
        for halve, level, skip in zip(reversed(self.halve), reversed(self.up), reversed(skips), strict=True):
            x = torch.cat([halve(F.interpolate(x, scale_factor=2.0, mode="nearest")), skip], dim=1)
            x = level(x, cond)
        return self.conv_out(x)


M = TypeVar("M", bound=nn.Module)


def on_device(module: M, device: torch.device | str) -> M:
    """Move a module to `device`, its convolutions laid out channels-last, in which they are faster."""
    return module.to(torch.device(device), memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Set every weight as torch does by default, drawing from `generator` and leaving the global one alone."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            bound = 1 / math.sqrt(module.weight[0].numel())
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, generator=generator)
        elif isinstance(module, Conditioning):
            nn.init.normal_(module.frequencies, generator=generator)
