"""The blocks that the networks of the literature consist of, without torch.

The modules (edm/networks/song.py, edm/networks/edm2.py) are built from these lists, and edm/networks/sizes.py counts
parameters and operations from them, so that a plan needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edm.config import Architecture, Extension, NetworkConfig

Scale = Literal["down", "up"]
NO_FILTER, NCSN_FILTER = (1, 1), (1, 3, 3, 1)  # of resampling: averages or repeats pixels; Song et al. (2021), NCSN++
UNCERTAINTY_CHANNELS = 128  # Fourier features of ln(sigma) / 4 that the uncertainty is a combination of (EDM2)


@dataclass(frozen=True)
class Style:
    """What distinguishes the networks that EDM took over (Karras et al. 2022, appendix F.2 and Table 7).

    noise_channels: channels of the noise level's features, as a multiple of `channels`. fourier: whether these are
    random Fourier features, in place of positional ones. adaptive_scale: whether the embedding scales activations as
    well as shifting them. label_first: whether the label joins the noise level's features, in place of the embedding.
    projected_resampling: whether a block that resamples has a 1x1 convolution on its shortcut. residual_inputs: whether
    the image, halved again and again, is added at every level. last_attention: whether only the last block of a level
    has attention on the way up. shortcut_scale: factor of the sum of a block's two branches.
    """

    noise_channels: int
    fourier: bool
    adaptive_scale: bool
    label_first: bool
    projected_resampling: bool
    residual_inputs: bool
    last_attention: bool
    shortcut_scale: float
    eps: float
    resampling: tuple[int, ...] = NO_FILTER


STYLES: dict[Architecture | Literal["diffusers"], Style] = {
    "ddpmpp": Style(1, False, False, True, True, False, True, math.sqrt(0.5), 1e-6),
    "ncsnpp": Style(2, True, False, True, True, True, True, math.sqrt(0.5), 1e-6, NCSN_FILTER),
    "adm": Style(1, False, True, False, False, False, False, 1.0, 1e-5),
}


def style_of(config: NetworkConfig) -> Style | None:
    """Return the style of DDPM++, NCSN++ or ADM; None for other networks, of which only EDM2 has a layout."""
    return None if isinstance(config.architecture, Extension) else STYLES.get(config.architecture)


@dataclass(frozen=True)
class NetworkBlock:
    """A residual block: its name, channels, and the pixels a side of its output.

    scale: whether it halves or doubles the sides. heads: of the attention after it; 0 is none. joins: channels of the
    skip connection that are concatenated to its input, and counted in `inputs`. residual_inputs: channels of the halved
    image that is added to its output (NCSN++).
    """

    name: str
    inputs: int
    outputs: int
    side: int
    scale: Scale | None = None
    heads: int = 0
    joins: int = 0
    residual_inputs: int = 0


def stem_channels(config: NetworkConfig) -> int:
    """Return the channels of the first convolution: in DDPM++ and NCSN++ not yet those of the first level."""
    return config.channels if config.architecture in ("ddpmpp", "ncsnpp") else config.level_channels[0]


def encoder(config: NetworkConfig) -> list[NetworkBlock]:
    """Return the blocks on the way down, after the first convolution."""
    style, blocks = style_of(config), list[NetworkBlock]()
    width, image = stem_channels(config), config.image_channels
    for level, channels in enumerate(config.level_channels):
        side = config.resolution >> level
        if level:
            residual = image if style is not None and style.residual_inputs else 0
            blocks.append(NetworkBlock(f"down{level}", width, width, side, "down", residual_inputs=residual))
            image = width
        for number in range(config.depths[level]):
            name = f"level{level}_block{number}"
            blocks.append(NetworkBlock(name, width, channels, side, heads=config.heads[level]))
            width = channels
    return blocks


def decoder(config: NetworkConfig) -> list[NetworkBlock]:
    """Return the blocks on the way up, before the last convolution; those of a level join the skips of that level."""
    style, blocks = style_of(config), list[NetworkBlock]()
    skips = [stem_channels(config), *(block.outputs for block in encoder(config))]
    width, last = config.level_channels[-1], len(config.level_channels) - 1
    for level, channels in reversed(list(enumerate(config.level_channels))):
        side, depth = config.resolution >> level, config.depths[level]
        if level == last:
            blocks += [NetworkBlock("middle0", width, width, side, heads=config.bridge_heads)]
            blocks += [NetworkBlock("middle1", width, width, side)]
        else:
            blocks.append(NetworkBlock(f"up{level}", width, width, side, "up"))
        for number in range(depth + 1):
            attends = style is None or not style.last_attention or number == depth
            heads, joined = config.heads[level] if attends else 0, skips.pop()
            name = f"level{level}_block{number}"
            blocks.append(NetworkBlock(name, width + joined, channels, side, heads=heads, joins=joined))
            width = channels
    return blocks


def has_shortcut(block: NetworkBlock, config: NetworkConfig) -> bool:
    """Return whether a block has a convolution on its shortcut: where channels change, or as its style has it."""
    style = style_of(config)
    resamples = style is not None and style.projected_resampling and block.scale is not None
    return resamples or block.inputs != block.outputs


def all_blocks(config: NetworkConfig) -> Iterator[NetworkBlock]:
    """Yield the blocks of the whole network in the order in which they are applied."""
    yield from encoder(config)
    yield from decoder(config)


def num_groups(channels: int) -> int:
    """Return the groups of a group norm: at most 32, of at least 4 channels each (EDM, appendix F)."""
    most = max(1, min(32, channels // 4))
    return next(number for number in range(most, 0, -1) if channels % number == 0)
