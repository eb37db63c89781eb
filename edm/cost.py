"""What a network costs, counted from its configuration alone, so that a plan needs no torch."""

from __future__ import annotations

from edm.config import NetworkConfig


def forward_flops(config: NetworkConfig) -> int:
    """Floating-point operations of one forward pass on one image: two per multiply-add of convolutions, linear layers and attention."""
    channels, cond = config.level_channels, config.cond_channels
    side = config.resolution
    flops = 2 * _conv(config.image_channels, channels[0], 3, side) + 2 * 2 * cond**2
    inputs = channels[0]
    for level, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
        at = side // 2**level
        width = channels[level]
        flops += _level(inputs, width, depth, heads, at, cond)  # down
        flops += _conv(2 * width, width, 3, at)  # after the nearest-neighbour up-sampling
        flops += _level(2 * width, width, depth, heads, at, cond)  # up
        inputs = width
    bridge = side // 2 ** len(config.depths)
    return flops + _level(inputs, channels[-1], config.depths[-1], config.bridge_heads, bridge, cond)


def _conv(inputs: int, outputs: int, kernel: int, side: int) -> int:
    return 2 * inputs * outputs * kernel**2 * side**2


def _level(inputs: int, width: int, depth: int, heads: int, side: int, cond: int) -> int:
    blocks = sum(_residual(inputs if i == 0 else width, width, side, cond) for i in range(depth))
    return blocks + depth * (_attention(width, side, cond) if heads else 0)


def _residual(inputs: int, width: int, side: int, cond: int) -> int:
    norms = 2 * cond * 2 * (inputs + width)
    skip = _conv(inputs, width, 1, side) if inputs != width else 0
    return norms + _conv(inputs, width, 3, side) + _conv(width, width, 3, side) + skip


def _attention(width: int, side: int, cond: int) -> int:
    pixels = side**2
    return 2 * cond * 2 * width + _conv(width, 4 * width, 1, side) + 2 * 2 * pixels**2 * width
