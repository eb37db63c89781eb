"""Parameters and operations of the networks of the literature, counted from their layout without torch."""

from __future__ import annotations

from edm.config import NetworkConfig
from edm.networks.layout import (
    UNCERTAINTY_CHANNELS,
    NetworkBlock,
    Style,
    all_blocks,
    has_shortcut,
    stem_channels,
    style_of,
)


def conv_flops(inputs: int, outputs: int, kernel: int, side: int) -> int:
    """Return the operations of a convolution at `side` x `side` pixels, counting two per multiply-add."""
    return 2 * inputs * outputs * kernel**2 * side**2


def attention_flops(width: int, side: int) -> int:
    """Return the operations of self-attention over `side` x `side` pixels, its 1x1 convolutions included."""
    return conv_flops(width, 4 * width, 1, side) + 2 * 2 * side**4 * width


def layout_flops(config: NetworkConfig) -> int:
    """Return the floating-point operations of a forward pass on one image."""
    style = style_of(config)
    ends = conv_flops(_stem_inputs(config), stem_channels(config), 3, config.resolution)
    ends += conv_flops(config.level_channels[0], config.output_channels, 3, config.resolution)
    return ends + 2 * _embedding_products(config, style) + sum(_flops(b, config, style) for b in all_blocks(config))


def _flops(block: NetworkBlock, config: NetworkConfig, style: Style | None) -> int:
    inner = block.outputs if _shrinks_first(block, style) else block.inputs
    total = conv_flops(inner, block.outputs, 3, block.side) + conv_flops(block.outputs, block.outputs, 3, block.side)
    total += 2 * config.cond_channels * block.outputs * _scales(style)
    if has_shortcut(block, config):
        total += conv_flops(block.inputs, block.outputs, 1, block.side)
    if block.heads:
        total += attention_flops(block.outputs, block.side)
    return total + (0 if style is None else _filter_flops(block, style))


def _filter_flops(block: NetworkBlock, style: Style) -> int:
    """Return the operations of resampling with a filter, on both branches and on the halved image (NCSN++)."""
    if block.scale is None or len(style.resampling) == 2:
        return 0
    taps = len(style.resampling) ** 2
    # a transposed convolution is counted at the pixels of its input
    side = block.side if block.scale == "down" else block.side // 2
    total = 2 * 2 * taps * block.inputs * side**2
    if block.residual_inputs:  # the filter needs two more pixels than there are
        total += conv_flops(block.residual_inputs, block.outputs, 3, 2 * side + 2) + 2 * taps * block.outputs * side**2
    return total


def layout_parameters(config: NetworkConfig) -> int:
    """Return the number of trainable parameters."""
    style, width = style_of(config), config.level_channels[0]
    biases = 0 if style is None else 1  # EDM2 has none
    ends = 9 * _stem_inputs(config) * stem_channels(config) + biases * stem_channels(config)
    ends += (9 * width + biases) * config.output_channels
    ends += 1 if style is None else 2 * width  # the output's gain, or the last norm
    return ends + _embedding_parameters(config, style) + sum(_parameters(b, config, style) for b in all_blocks(config))


def _parameters(block: NetworkBlock, config: NetworkConfig, style: Style | None) -> int:
    width, bias = block.outputs, 0 if style is None else 1
    inner = width if _shrinks_first(block, style) else block.inputs
    total = 9 * (inner + width) * width + 2 * bias * width
    total += (config.cond_channels + bias) * width * _scales(style)
    if has_shortcut(block, config):
        total += (block.inputs + bias) * width
    if block.heads:
        total += 4 * (width + bias) * width
    if style is None:
        return total + 1  # the gain of the embedding
    norms = 2 * (block.inputs + width + (width if block.heads else 0))
    return total + norms + ((9 * block.residual_inputs + 1) * width if block.residual_inputs else 0)


def _embedding_products(config: NetworkConfig, style: Style | None) -> int:
    """Return the multiplications that embed noise level, label and augmentation."""
    wide = config.cond_channels
    if style is None:
        return config.level_channels[0] * wide + config.num_classes * wide
    noise = config.channels * style.noise_channels
    label = config.num_classes * (noise if style.label_first else wide)
    return noise * wide + wide * wide + label + config.augment_labels * noise


def _embedding_parameters(config: NetworkConfig, style: Style | None) -> int:
    """Return the parameters that embed noise level, label and augmentation."""
    products = _embedding_products(config, style)
    if style is None:
        return products
    noise = config.channels * style.noise_channels
    return products + 2 * config.cond_channels + (noise if style.label_first and config.num_classes else 0)


def uncertainty_parameters(config: NetworkConfig) -> int:
    """Return the parameters of the head that estimates the uncertainty at each noise level."""
    return UNCERTAINTY_CHANNELS if config.uncertainty else 0


def _stem_inputs(config: NetworkConfig) -> int:
    return config.image_channels + (1 if config.architecture == "edm2" else 0)  # EDM2 adds a channel of ones


def _shrinks_first(block: NetworkBlock, style: Style | None) -> bool:
    """Return whether the shortcut's convolution comes before both branches: in EDM2's blocks that join no skip."""
    return style is None and not block.joins


def _scales(style: Style | None) -> int:
    return 2 if style is not None and style.adaptive_scale else 1
