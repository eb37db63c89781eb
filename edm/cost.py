"""Operations and parameters of a network, counted from its configuration so that a plan needs no torch."""

from __future__ import annotations

from functools import lru_cache

from edm.config import AnyClassifierConfig, Extension, FormerClassifierConfig, NetworkConfig
from edm.config.evaluation import LARGEST_PLAIN_SIDE


@lru_cache(maxsize=1024)
def forward_flops(config: NetworkConfig) -> int:
    """Return the floating-point operations of a forward pass on one image, counting two per multiply-add."""
    if isinstance(config.architecture, Extension):
        return _flops_of(config.architecture, config.resolution)
    channels, cond = config.level_channels, config.cond_channels
    side = config.resolution
    flops = 2 * _conv(config.image_channels, channels[0], 3, side) + 2 * (2 * cond + config.augment_labels) * cond
    inputs = channels[0]
    for level, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
        at = side // 2**level
        width = channels[level]
        flops += _level(inputs, width, depth, heads, at, cond)  # down
        flops += _level(2 * width, width, depth, heads, at, cond)  # up
        if config.resample == "residual":
            flops += _residual(2 * width, width, at, cond) + _residual(width, width, at // 2, cond)
        else:
            flops += _conv(2 * width, width, 3, at)  # after the nearest-neighbour up-sampling
        inputs = width
    bridge = side // 2 ** len(config.depths)
    return flops + _level(inputs, channels[-1], config.depths[-1], config.bridge_heads, bridge, cond)


def _flops_of(network: Extension, side: int) -> int:
    """Return a count of operations that was made for images of one size, for images of `side` pixels a side."""
    return round(network.fact("flops", 0) * (side / network.fact("resolution", side)) ** 2) if side else 0


def _conv(inputs: int, outputs: int, kernel: int, side: int) -> int:
    """Return the operations of a convolution at `side` x `side` pixels."""
    return 2 * inputs * outputs * kernel**2 * side**2


def _level(inputs: int, width: int, depth: int, heads: int, side: int, cond: int) -> int:
    """Return the operations of the blocks of a level at `side` x `side` pixels."""
    blocks = sum(_residual(inputs if i == 0 else width, width, side, cond) for i in range(depth))
    return blocks + depth * (_attention(width, side, cond) if heads else 0)


def _residual(inputs: int, width: int, side: int, cond: int) -> int:
    norms = 2 * cond * 2 * (inputs + width)
    skip = _conv(inputs, width, 1, side) if inputs != width else 0
    return norms + _conv(inputs, width, 3, side) + _conv(width, width, 3, side) + skip


def _attention(width: int, side: int, cond: int) -> int:
    pixels = side**2
    return 2 * cond * 2 * width + _conv(width, 4 * width, 1, side) + 2 * 2 * pixels**2 * width


def classifier_flops(config: AnyClassifierConfig, image_channels: int, resolution: int, num_classes: int) -> int:
    """Return the floating-point operations of the small classifier on one image, counting two per multiply-add."""
    width = config.channels
    count = _former_convolutions if isinstance(config, FormerClassifierConfig) else _convolutions
    return count(image_channels, width, resolution) + 2 * config.feature_channels * (8 * width + num_classes)


def _convolutions(image_channels: int, width: int, side: int) -> int:
    side = -(-side // 2) if side > LARGEST_PLAIN_SIDE else side
    flops = _conv(image_channels, width, 3, side) + _conv(width, width, 3, side)
    side //= 2
    while side > 8:
        flops += _conv(width, width, 3, side)
        side //= 2
    flops += _conv(width, 2 * width, 3, side)
    return flops + (_conv(2 * width, 2 * width, 3, side // 2) if side > 4 else 0)


def _former_convolutions(image_channels: int, width: int, resolution: int) -> int:
    side, left = resolution, resolution
    flops = _conv(image_channels, width, 3, side) + _conv(width, width, 3, side)
    side //= 2
    while left > 8:
        flops += _conv(width, width, 3, side)
        side, left = side // 2, left // 2
    return flops + _conv(width, 2 * width, 3, side)


def num_parameters(config: NetworkConfig) -> int:
    """Return the number of trainable parameters."""
    if isinstance(config.architecture, Extension):
        return config.architecture.fact("parameters", 0)
    channels, cond = config.level_channels, config.cond_channels
    embedding = (config.num_classes + 1) * cond if config.num_classes else 0
    ends = _weights(config.image_channels, channels[0], 3) + _weights(channels[0], config.image_channels, 3)
    total = embedding + config.augment_labels * cond + 2 * _weights(cond, cond) + ends
    inputs = channels[0]
    for width, depth, heads in zip(channels, config.depths, config.heads, strict=False):
        total += _level_parameters(inputs, width, depth, heads, cond)
        total += _level_parameters(2 * width, width, depth, heads, cond)
        total += _resampling_parameters(config, width)
        inputs = width
    return total + _level_parameters(inputs, channels[-1], config.depths[-1], config.bridge_heads, cond)


def _resampling_parameters(config: NetworkConfig, width: int) -> int:
    """Return the parameters of the ways down from and up to a level of `width` channels."""
    if config.resample == "pool":
        return _weights(2 * width, width, 3)
    down = _level_parameters(width, width, 1, 0, config.cond_channels)
    return down + _level_parameters(2 * width, width, 1, 0, config.cond_channels)


def _weights(inputs: int, outputs: int, kernel: int = 1) -> int:
    """Return the parameters of a convolution or, with kernel 1, of a linear layer, biases included."""
    return inputs * outputs * kernel**2 + outputs


def _level_parameters(inputs: int, width: int, depth: int, heads: int, cond: int) -> int:
    """Return the parameters of the blocks of a level."""
    first = _weights(inputs, width) if inputs != width else 0  # the skip's 1x1 convolution
    for i in range(depth):
        entering = inputs if i == 0 else width
        first += _weights(cond, 2 * entering) + _weights(entering, width, 3)
        first += _weights(cond, 2 * width) + _weights(width, width, 3)
    attention = _weights(cond, 2 * width) + _weights(width, 3 * width) + _weights(width, width)
    return first + (depth * attention if heads else 0)
