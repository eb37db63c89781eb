"""The U-Net F(c_in x; c_noise, label): the 2023 study's, and EDM's norm, resampling and initialisation as options."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from edm.config import Initialisation, NetworkConfig, Precision

GROUP_CHANNELS, MAX_GROUPS = 4, 32  # of group norm: EDM has at least 4 channels in each of at most 32 groups


class Conditioning(nn.Module):
    """Noise level, label and augmentation parameters -> one vector."""

    frequencies: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels, num_classes = config.cond_channels, config.num_classes
        self.register_buffer("frequencies", torch.zeros(channels // 2))
        # one more than the classes: the last means "no label"
        self.label = nn.Embedding(num_classes + 1, channels) if num_classes else None
        self.mix = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels))
        self.augment = nn.Linear(config.augment_labels, channels, bias=False) if config.augment_labels else None

    def forward(
        self,
        c_noise: Float[Tensor, " b"],
        label: Int64[Tensor, " b"] | None,
        augment_labels: Float[Tensor, "b a"] | None = None,
    ) -> Float[Tensor, "b k"]:
        phase = 2 * math.pi * c_noise[:, None] * self.frequencies
        embedding = torch.cat([phase.cos(), phase.sin()], dim=1)
        if self.label is not None and label is not None:
            embedding = embedding + self.label(label)
        if self.augment is not None and augment_labels is not None:  # none are zeros: an image as it was taken
            embedding = embedding + self.augment(augment_labels)
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


class ConditionalGroupNorm(nn.Module):
    """Group norm with an adaptive scale and shift: norm(x) (1 + gamma) + beta (EDM, appendix F)."""

    def __init__(self, channels: int, cond_channels: int) -> None:
        super().__init__()
        most = max(1, min(MAX_GROUPS, channels // GROUP_CHANNELS))
        groups = next(number for number in range(most, 0, -1) if channels % number == 0)
        self.norm = nn.GroupNorm(groups, channels, affine=False)
        self.scale_shift = nn.Linear(cond_channels, 2 * channels)

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k"]) -> Float[Tensor, "b c h w"]:
        gamma, beta = self.scale_shift(cond)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(beta, 1 + gamma, self.norm(x))


NORMS = {"batch": ConditionalBatchNorm, "group": ConditionalGroupNorm}


class ResidualBlock(nn.Module):
    """Norm, ReLU, 3x3, twice, plus the input; `scale` halves or doubles the sides on both ways, as EDM does."""

    def __init__(
        self, inputs: int, outputs: int, config: NetworkConfig, scale: Literal["down", "up"] | None = None
    ) -> None:
        super().__init__()
        norm, cond = NORMS[config.norm], config.cond_channels
        self.dropout, self.scale = config.dropout, scale
        self.norm1 = norm(inputs, cond)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = norm(outputs, cond)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Float[Tensor, "b i h w"], cond: Float[Tensor, "b k"]) -> Float[Tensor, "b o u v"]:
        h = self.conv1(self._scaled(F.relu(self.norm1(x, cond))))
        h = F.dropout(F.relu(self.norm2(h, cond)), self.dropout, self.training)
        return self.skip(self._scaled(x)) + self.conv2(h)

    def _scaled(self, x: Tensor) -> Tensor:
        if self.scale is None:
            return x
        return F.avg_pool2d(x, 2) if self.scale == "down" else _doubled(x)


def _doubled(x: Float[Tensor, "b c h w"]) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class AttentionBlock(nn.Module):
    """Self-attention over pixels, plus the input."""

    def __init__(self, channels: int, heads: int, config: NetworkConfig) -> None:
        super().__init__()
        self.heads = heads
        self.norm = NORMS[config.norm](channels, config.cond_channels)
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

    def __init__(self, inputs: int, outputs: int, depth: int, heads: int, config: NetworkConfig) -> None:
        blocks: list[nn.Module] = []
        for i in range(depth):
            blocks.append(ResidualBlock(outputs if i else inputs, outputs, config))
            if heads:
                blocks.append(AttentionBlock(outputs, heads, config))
        super().__init__(blocks)

    def forward(self, x: Float[Tensor, "b i h w"], cond: Float[Tensor, "b k"]) -> Float[Tensor, "b o h w"]:
        for block in self:
            x = block(x, cond)
        return x


class Pool(nn.Module):
    """Down by averaging 2x2 pixels; the first block after it changes the channels."""

    def forward(self, x: Float[Tensor, "b c h w"], cond: Float[Tensor, "b k"]) -> Float[Tensor, "b c u v"]:
        return F.avg_pool2d(x, 2)


class UpConvolution(nn.Conv2d):
    """Up by repeating pixels, then a 3x3 convolution that halves the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__(2 * channels, channels, 3, padding=1)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: Float[Tensor, "b i h w"], cond: Float[Tensor, "b k"]
    ) -> Float[Tensor, "b o u v"]:
        return super().forward(_doubled(x))


class UNet(nn.Module):
    """F(x; c_noise, label, augment_labels): images to images of the same shape, whose sides every level halves."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels, residual = config.level_channels, config.resample == "residual"
        shape = list(zip(channels, config.depths, config.heads, strict=False))
        levels = [(channels[max(i - 1, 0)], *row) for i, row in enumerate(shape)]
        self.conditioning = Conditioning(config)
        self.conv_in = nn.Conv2d(config.image_channels, channels[0], 3, padding=1)
        self.down = nn.ModuleList(Level(*level, config) for level in levels)
        self.bridge = Level(channels[-2], channels[-1], config.depths[-1], config.bridge_heads, config)
        self.halve = nn.ModuleList(
            ResidualBlock(2 * width, width, config, "up") if residual else UpConvolution(width)
            for width in channels[:-1]
        )
        self.up = nn.ModuleList(Level(2 * width, width, depth, heads, config) for width, depth, heads in shape)
        self.conv_out = nn.Conv2d(channels[0], config.image_channels, 3, padding=1)
        self.shrink = nn.ModuleList(
            ResidualBlock(width, width, config, "down") if residual else Pool() for width in channels[:-1]
        )

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        c_noise: Float[Tensor, " b"],
        label: Int64[Tensor, " b"] | None = None,
        augment_labels: Float[Tensor, "b a"] | None = None,
    ) -> Float[Tensor, "b c h w"]:
        cond = self.conditioning(c_noise, label, augment_labels)
        x = self.conv_in(x)
        skips: list[Tensor] = []
        for level, shrink in zip(self.down, self.shrink, strict=True):
            skips.append(level(x, cond))
            x = shrink(skips[-1], cond)
        x = self.bridge(x, cond)
        for halve, level, skip in zip(reversed(self.halve), reversed(self.up), reversed(skips), strict=True):
            x = level(torch.cat([halve(x, cond), skip], dim=1), cond)
        return self.conv_out(x)


DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def computing_in(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """While the block lasts, networks on `device` multiply in `precision`; their weights stay float32."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, DTYPES[precision])


M = TypeVar("M", bound=nn.Module)


def on_device(module: M, device: torch.device | str) -> M:
    """Move a module to `device`, its convolutions laid out channels-last, in which they are faster."""
    return module.to(torch.device(device), memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def initialise(network: nn.Module, generator: torch.Generator, scheme: Initialisation = "torch") -> None:
    """Set every weight by `scheme`, drawing from `generator` and leaving the global one alone."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            (_torch_weights if scheme == "torch" else _edm_weights)(module, generator)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, generator=generator)
        elif isinstance(module, Conditioning):
            nn.init.normal_(module.frequencies, generator=generator)
    if scheme == "edm":
        _start_as_identity(network)


def _torch_weights(module: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
    if module.bias is not None:
        bound = 1 / math.sqrt(module.weight[0].numel())
        nn.init.uniform_(module.bias, -bound, bound, generator=generator)


def _edm_weights(module: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    nn.init.xavier_uniform_(module.weight, generator=generator)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


@torch.no_grad()
def _start_as_identity(network: nn.Module) -> None:
    """Zero what ends every residual branch, and the last convolution (EDM, appendix F)."""
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            module.conv2.weight.zero_()
        elif isinstance(module, AttentionBlock):
            module.out.weight.zero_()
            module.qkv.weight.mul_(math.sqrt(0.2))
        elif isinstance(module, ConditionalBatchNorm):  # its scale is not 1 + gamma, as group norm's is
            module.scale_shift.bias[: module.norm.num_features].fill_(1)
        elif isinstance(module, UNet):
            module.conv_out.weight.zero_()
