"""Operations and parameters of a network, counted from its configuration so that a plan needs no torch."""

from __future__ import annotations

from functools import lru_cache

from edm.config import AnyClassifierConfig, Extension, FormerClassifierConfig, NetworkConfig
from edm.config.evaluation import LARGEST_PLAIN_SIDE
from edm.discrete import measured
from edm.networks.sizes import attention_flops, conv_flops, layout_flops, layout_parameters, uncertainty_parameters


@lru_cache(maxsize=1024)
def forward_flops(config: NetworkConfig) -> int:
    """Return the floating-point operations of a forward pass on one image, counting two per multiply-add."""
    if isinstance(config.architecture, Extension):
        return _flops_of(config.architecture, config.resolution)
    if config.settings:
        return measured(config.settings, config.resolution)[1]
    return _study_flops(config) if config.architecture == "study" else layout_flops(config)


def _study_flops(config: NetworkConfig) -> int:
    channels, cond = config.level_channels, config.cond_channels
    side = config.resolution
    flops = conv_flops(config.image_channels, channels[0], 3, side)
    flops += conv_flops(channels[0], config.output_channels, 3, side)
    flops += 2 * (2 * cond + config.augment_labels) * cond
    inputs = channels[0]
    for level, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
        at = side // 2**level
        width = channels[level]
        flops += _level(inputs, width, depth, heads, at, cond)  # down
        flops += _level(2 * width, width, depth, heads, at, cond)  # up
        if config.resample == "residual":
            flops += _residual(2 * width, width, at, cond) + _residual(width, width, at // 2, cond)
        else:
            flops += conv_flops(2 * width, width, 3, at)  # after the nearest-neighbour up-sampling
        inputs = width
    bridge = side // 2 ** len(config.depths)
    return flops + _level(inputs, channels[-1], config.depths[-1], config.bridge_heads, bridge, cond)


def _flops_of(network: Extension, side: int) -> int:
    """Return a count of operations that was made for images of one size, for images of `side` pixels a side."""
    return round(network.fact("flops", 0) * (side / network.fact("resolution", side)) ** 2) if side else 0


def _level(inputs: int, width: int, depth: int, heads: int, side: int, cond: int) -> int:
    """Return the operations of the blocks of a level at `side` x `side` pixels."""
    blocks = sum(_residual(inputs if i == 0 else width, width, side, cond) for i in range(depth))
    return blocks + depth * (_attention(width, side, cond) if heads else 0)


def _residual(inputs: int, width: int, side: int, cond: int) -> int:
    norms = 2 * cond * 2 * (inputs + width)
    skip = conv_flops(inputs, width, 1, side) if inputs != width else 0
    return norms + conv_flops(inputs, width, 3, side) + conv_flops(width, width, 3, side) + skip


def _attention(width: int, side: int, cond: int) -> int:
    return 2 * cond * 2 * width + attention_flops(width, side)


def classifier_flops(config: AnyClassifierConfig, image_channels: int, resolution: int, num_classes: int) -> int:
    """Return the floating-point operations of the small classifier on one image, counting two per multiply-add."""
    width = config.channels
    count = _former_convolutions if isinstance(config, FormerClassifierConfig) else _convolutions
    return count(image_channels, width, resolution) + 2 * config.feature_channels * (8 * width + num_classes)


def _convolutions(image_channels: int, width: int, side: int) -> int:
    side = -(-side // 2) if side > LARGEST_PLAIN_SIDE else side
    flops = conv_flops(image_channels, width, 3, side) + conv_flops(width, width, 3, side)
    side //= 2
    while side > 8:
        flops += conv_flops(width, width, 3, side)
        side //= 2
    flops += conv_flops(width, 2 * width, 3, side)
    return flops + (conv_flops(2 * width, 2 * width, 3, side // 2) if side > 4 else 0)


def _former_convolutions(image_channels: int, width: int, side: int) -> int:
    flops = conv_flops(image_channels, width, 3, side) + conv_flops(width, width, 3, side)
    while side > 8:
        side //= 2
        flops += conv_flops(width, width, 3, side)
    return flops + conv_flops(width, 2 * width, 3, side // 2)


def num_parameters(config: NetworkConfig) -> int:
    """Return the number of trainable parameters."""
    if isinstance(config.architecture, Extension):
        return config.architecture.fact("parameters", 0)
    if config.settings:
        return measured(config.settings, config.resolution)[0]
    network = _study_parameters(config) if config.architecture == "study" else layout_parameters(config)
    return network + uncertainty_parameters(config)


def _study_parameters(config: NetworkConfig) -> int:
    channels, cond = config.level_channels, config.cond_channels
    embedding = (config.num_classes + 1) * cond if config.num_classes else 0
    ends = _weights(config.image_channels, channels[0], 3) + _weights(channels[0], config.output_channels, 3)
    total = embedding + config.augment_labels * cond + 2 * _weights(cond, cond) + ends
    inputs = channels[0]
    for width, depth, heads in zip(channels, config.depths, config.heads, strict=False):
        total += _level_parameters(config, inputs, width, depth, heads)
        total += _level_parameters(config, 2 * width, width, depth, heads)
        total += _resampling_parameters(config, width)
        inputs = width
    return total + _level_parameters(config, inputs, channels[-1], config.depths[-1], config.bridge_heads)


def _resampling_parameters(config: NetworkConfig, width: int) -> int:
    """Return the parameters of the ways down from and up to a level of `width` channels."""
    if config.resample == "pool":
        return _weights(2 * width, width, 3)
    return _level_parameters(config, width, width, 1, 0) + _level_parameters(config, 2 * width, width, 1, 0)


def _weights(inputs: int, outputs: int, kernel: int = 1) -> int:
    """Return the parameters of a convolution or, with kernel 1, of a linear layer, biases included."""
    return inputs * outputs * kernel**2 + outputs


def _level_parameters(config: NetworkConfig, inputs: int, width: int, depth: int, heads: int) -> int:
    """Return the parameters of the blocks of a level."""
    total = _weights(inputs, width) if inputs != width else 0  # the skip's 1x1 convolution
    for i in range(depth):
        entering = inputs if i == 0 else width
        total += _norm_parameters(config, entering) + _weights(entering, width, 3)
        total += _norm_parameters(config, width) + _weights(width, width, 3)
    return total + (depth * _attention_parameters(config, width, heads) if heads else 0)


def _norm_parameters(config: NetworkConfig, width: int) -> int:
    if isinstance(config.norm, Extension):
        return config.norm.fact(norm_fact(width, config.cond_channels), 0)
    return _weights(config.cond_channels, 2 * width)


def _attention_parameters(config: NetworkConfig, width: int, heads: int) -> int:
    if isinstance(config.attention_block, Extension):
        return config.attention_block.fact(attention_fact(width, heads, config.cond_channels), 0)
    return _norm_parameters(config, width) + _weights(width, 3 * width) + _weights(width, width)


def norm_fact(channels: int, cond_channels: int) -> str:
    """Return the name of the fact that says how many parameters an extension's norm has."""
    return f"parameters of {channels} channels, {cond_channels} of cond"


def attention_fact(channels: int, heads: int, cond_channels: int) -> str:
    """Return the name of the fact that says how many parameters an extension's attention block has."""
    return f"{norm_fact(channels, cond_channels)}, {heads} heads"
