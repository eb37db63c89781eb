"""DDPM++ and NCSN++ (Song et al. 2021) and ADM (Dhariwal and Nichol 2021), as EDM has them (appendix F.2, Table 7)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from edm.config import NetworkConfig
from edm.networks.attention import attend, split_heads
from edm.networks.conditioning import (
    FOURIER_SCALE,
    FourierFeatures,
    GroupNorm,
    PositionalFeatures,
    Resampling,
    one_hot,
    xavier,
)
from edm.networks.layout import NetworkBlock, Style, decoder, encoder, has_shortcut, num_groups, stem_channels, style_of

SMALL_WEIGHT = 1e-5  # of the last layer of every branch of DDPM++ and NCSN++
QUERY_WEIGHT = math.sqrt(0.2)  # of the queries, keys and values in them


class Embedding(nn.Module):
    """Embeds noise level, label and augmentation in one vector for every block."""

    def __init__(self, config: NetworkConfig, style: Style) -> None:
        super().__init__()
        noise, wide, classes = config.channels * style.noise_channels, config.cond_channels, config.num_classes
        self.num_classes, self.label_first = classes, style.label_first
        # DDPM++ orders and spaces its features as Ho et al. (2020), ADM as Dhariwal and Nichol (2021)
        self.noise = FourierFeatures(noise) if style.fourier else PositionalFeatures(noise, *2 * [style.label_first])
        self.linear0, self.linear1 = nn.Linear(noise, wide), nn.Linear(wide, wide)
        self.label = nn.Linear(classes, noise if self.label_first else wide, bias=self.label_first) if classes else None
        self.augment = nn.Linear(config.augment_labels, noise, bias=False) if config.augment_labels else None

    def forward(
        self, c_noise: Float[Tensor, " b"], label: Int64[Tensor, " b"] | None, augment_labels: Tensor | None
    ) -> Float[Tensor, "b k"]:
        """Return the embedding of each image; without `augment_labels` images count as not augmented."""
        features = self.noise(c_noise)
        if self.label_first:
            features = features + self._of_label(label, math.sqrt(self.num_classes))
        if self.augment is not None and augment_labels is not None:
            features = features + self.augment(augment_labels)
        embedding = self.linear1(F.silu(self.linear0(features)))
        return F.silu(embedding if self.label_first else embedding + self._of_label(label, 1.0))

    def _of_label(self, label: Tensor | None, scale: float) -> Tensor | float:
        if self.label is None or label is None:
            return 0.0
        return self.label(scale * one_hot(label, self.num_classes, self.label.weight.dtype))


def group_norm(channels: int, style: Style) -> GroupNorm:
    """Return a group norm with at least 4 channels in each group."""
    return GroupNorm(num_groups(channels), channels, style.eps)


class ModulatedBlock(nn.Module):
    """Twice group norm, SiLU and a 3x3 convolution, plus the input, and self-attention after that where it has heads.

    The embedding shifts the activations between the convolutions; in ADM it also scales them.
    """

    def __init__(self, block: NetworkBlock, config: NetworkConfig, style: Style) -> None:
        super().__init__()
        width = block.outputs
        self.block, self.style, self.dropout = block, style, config.dropout
        self.resampled = Resampling(block.scale, style.resampling)
        self.norm0, self.norm1 = group_norm(block.inputs, style), group_norm(width, style)
        self.conv0 = nn.Conv2d(block.inputs, width, 3, padding=1)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.affine = nn.Linear(config.cond_channels, (2 if style.adaptive_scale else 1) * width)
        self.skip = nn.Conv2d(block.inputs, width, 1) if has_shortcut(block, config) else None
        self.attention = Attention(width, block.heads, style) if block.heads else None

    def forward(self, x: Float[Tensor, "b i h w"], embedding: Float[Tensor, "b k"]) -> Float[Tensor, "b o u v"]:
        """Return `outputs` channels, at half or twice the resolution where the block resamples."""
        h = self.conv0(self.resampled(F.silu(self.norm0(x))))
        h = F.dropout(F.silu(self._modulated(h, embedding)), self.dropout, self.training)
        x = self.resampled(x)
        x = (self.conv1(h) + (x if self.skip is None else self.skip(x))) * self.style.shortcut_scale
        return x if self.attention is None else self.attention(x)

    def _modulated(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Normalise, and shift, and in ADM scale, by the embedding."""
        values = self.affine(embedding)[:, :, None, None]
        if not self.style.adaptive_scale:
            return self.norm1(h + values)
        scale, shift = values.chunk(2, dim=1)
        return torch.addcmul(shift, self.norm1(h), scale + 1)


class Attention(nn.Module):
    """Multi-head self-attention over pixels, plus the input."""

    def __init__(self, channels: int, heads: int, style: Style) -> None:
        super().__init__()
        self.heads, self.shortcut_scale = heads, style.shortcut_scale
        self.norm = group_norm(channels, style)
        self.qkv, self.proj = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return a tensor of the shape of `x`."""
        qkv = split_heads(self.qkv(self.norm(x)), self.heads)
        return (x + self.proj(attend(qkv, x.shape[2:]))) * self.shortcut_scale


def halved_image(block: NetworkBlock, style: Style) -> nn.Sequential:
    """Return a 3x3 convolution of the image to the channels of a block, smoothed and halved (NCSN++).

    The convolution reaches over the image's border, so that the filter needs no border of its own.
    """
    border = 1 + (len(style.resampling) - 1) // 2
    conv = nn.Conv2d(block.residual_inputs, block.outputs, 3, padding=border)
    return nn.Sequential(conv, Resampling("down", style.resampling, bordered=True))


class SongUNet(nn.Module):
    """The U-Net F(c_in x; c_noise, label) of DDPM++, NCSN++ and ADM."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        style = style_of(config)
        assert style is not None
        self.config, self.style = config, style
        self.embedding = Embedding(config, style)
        self.conv_in = nn.Conv2d(config.image_channels, stem_channels(config), 3, padding=1)
        self.encoder = nn.ModuleDict({b.name: ModulatedBlock(b, config, style) for b in encoder(config)})
        self.halved = nn.ModuleDict({b.name: halved_image(b, style) for b in encoder(config) if b.residual_inputs})
        self.decoder = nn.ModuleDict({b.name: ModulatedBlock(b, config, style) for b in decoder(config)})
        self.norm_out = group_norm(config.level_channels[0], style)
        self.conv_out = nn.Conv2d(config.level_channels[0], config.output_channels, 3, padding=1)

    def forward(
        self,
        x: Float[Tensor, "b c h w"],
        c_noise: Float[Tensor, " b"],
        label: Int64[Tensor, " b"] | None = None,
        augment_labels: Float[Tensor, "b a"] | None = None,
    ) -> Float[Tensor, "b o h w"]:
        """Return F(x; c_noise, label, augment_labels); each image has its own condition."""
        embedding, image = self.embedding(c_noise, label, augment_labels), x
        x = self.conv_in(x)
        skips = [x]
        for name, block in self.encoder.items():
            x = block(x, embedding)
            if name in self.halved:
                x = image = (x + self.halved[name](image)) * self.style.shortcut_scale
            skips.append(x)
        for block in self.decoder.values():
            assert isinstance(block, ModulatedBlock)
            x = block(torch.cat((x, skips.pop()), dim=1) if block.block.joins else x, embedding)
        return self.conv_out(F.silu(self.norm_out(x)))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Set every weight as EDM does: the last layer of each branch and of the network is zero, or nearly."""
        adm = self.style.adaptive_scale
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                (_kaiming if adm else xavier)(module, generator)
            elif isinstance(module, FourierFeatures):
                nn.init.normal_(module.frequencies, std=FOURIER_SCALE, generator=generator)
        for last in self._last_layers():
            last.weight.mul_(0.0 if adm else SMALL_WEIGHT)
            if last.bias is not None:
                last.bias.zero_()
        if adm:
            self._start_labels(generator)
            return
        for module in self.modules():
            if isinstance(module, Attention):
                module.qkv.weight.mul_(QUERY_WEIGHT)

    def _start_labels(self, generator: torch.Generator) -> None:
        """Set ADM's own: augmentation has no influence at first, and labels are embedded as normal vectors."""
        if self.embedding.augment is not None:
            self.embedding.augment.weight.zero_()
        if self.embedding.label is not None:
            nn.init.normal_(self.embedding.label.weight, generator=generator)

    def _last_layers(self) -> list[nn.Conv2d]:
        """Return the last convolution of every branch, and of the network."""
        blocks = [module for module in self.modules() if isinstance(module, ModulatedBlock)]
        attentions = [module for module in self.modules() if isinstance(module, Attention)]
        return [*(block.conv1 for block in blocks), *(each.proj for each in attentions), self.conv_out]


def _kaiming(module: nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    bound = 1 / math.sqrt(module.weight[0].numel())
    nn.init.uniform_(module.weight, -bound, bound, generator=generator)
    if module.bias is not None:
        nn.init.uniform_(module.bias, -bound, bound, generator=generator)
