"""The U-Net F(c_in x; c_noise, label): the 2023 study's, with EDM's norm, resampling and initialisation as options."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from edm.config import NetworkConfig
from edm.networks.blocks import Conditioning, Level, Pool, ResidualBlock, UpConvolution


class UNet(nn.Module):
    """Maps scaled images to images of the same shape; every level on the way down halves the resolution."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels, residual = config.level_channels, config.resample == "residual"
        shape = list(zip(channels, config.depths, config.heads, strict=False))
        levels = [(channels[max(i - 1, 0)], *row) for i, row in enumerate(shape)]
        self.conditioning = Conditioning(config)
        self.conv_in = nn.Conv2d(config.image_channels, channels[0], 3, padding=1)
        self.down = nn.ModuleList(Level(*level, config) for level in levels)
        self.bridge = Level(channels[-2], channels[-1], config.depths[-1], config.bridge_heads, config)
        # `halve` leads up (it halves the channels) and `shrink` down: checkpoints hold these names
        self.halve = nn.ModuleList(
            ResidualBlock(2 * width, width, config, "up") if residual else UpConvolution(width)
            for width in channels[:-1]
        )
        self.up = nn.ModuleList(Level(2 * width, width, depth, heads, config) for width, depth, heads in shape)
        self.conv_out = nn.Conv2d(channels[0], config.output_channels, 3, padding=1)
        self.shrink = nn.ModuleList(
            ResidualBlock(width, width, config, "down") if residual else Pool() for width in channels[:-1]
        )

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        c_noise: Float[Tensor, " b"],
        label: Int64[Tensor, " b"] | None = None,
        augment_labels: Float[Tensor, "b a"] | None = None,
    ) -> Float[Tensor, "b o h w"]:
        """Return F(x; c_noise, label, augment_labels); each image has its own condition."""
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
