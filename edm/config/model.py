"""Configuration of the network, and its presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edm.config.fields import added_field, require
from edm.extension import Extension

Attention = Literal["none", "bridge", "levels"]
Norm = Literal["batch", "group"]
AttentionBlockName = Literal["softmax"]
Architecture = Literal["study"]
Resample = Literal["pool", "residual"]
Initialisation = Literal["torch", "edm"]
PresetName = Literal["nano", "micro", "mini", "tiny", "small", "big"]

AUGMENT_LABELS = 9  # numbers that describe the augmentation of an image (edm/augment.py)


@dataclass(frozen=True)
class NetworkConfig:
    """The U-Net as it is built: what a ModelConfig means for the images of one data set.

    image_channels: Channels of the images, 1 or 3.
    resolution: Pixels a side of the images.
    num_classes: Number of classes; 0 for a data set without labels.
    channels: Channels of the first level; every level further down has twice as many, the bridge again.
    depths: Residual blocks of each level.
    heads: Attention heads after each block of a level; 0 is no attention.
    bridge_heads: Attention heads in the bridge; 0 is no attention.
    cond_channels: Channels of the embedding of noise level and label.
    norm: Batch norm or group norm.
    resample: Between levels: pooling and a convolution, or residual blocks.
    init: Scheme of the initial weights.
    dropout: Share of activations dropped in training, before a block's last convolution.
    augment_labels: Numbers per image that condition the network on its augmentation; 0 without augmentation.
    attention_block: What an attention block is.
    architecture: The U-Net, or a network of one's own, which has no levels.
    """

    image_channels: int
    resolution: int
    num_classes: int
    channels: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    bridge_heads: int
    cond_channels: int = 8
    norm: Norm | Extension = added_field("batch")
    resample: Resample = added_field("pool")
    init: Initialisation = added_field("torch")
    dropout: float = added_field(0.0)
    augment_labels: int = added_field(0)
    attention_block: AttentionBlockName | Extension = added_field("softmax")
    architecture: Architecture | Extension = added_field("study")

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels of each level and then of the bridge: doubled at every step down."""
        return tuple(self.channels * 2**level for level in range(len(self.depths) + 1))


@dataclass(frozen=True)
class Preset:
    """The shape of one network: fields as in ModelConfig."""

    channels: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    bridge_heads: int


PRESETS: dict[PresetName, Preset] = {
    # name          channels  depths        heads         bridge   parameters, with attention and without
    "nano": Preset(16, (1, 1), (0, 2), 2),  # 0.17 M, 0.14 M: made for 8x8 digits
    "micro": Preset(24, (1, 1), (0, 2), 2),  # 0.38 M, 0.32 M: made for 8x8 digits
    "mini": Preset(64, (2, 2), (4, 4), 4),  # 5.0 M, 4.2 M: the 2023 study's FashionMNIST and CIFAR-10 network
    "tiny": Preset(64, (1, 2, 4), (0, 0, 0), 4),  # 35 M, 31 M: its CelebA networks, this and the next two
    "small": Preset(64, (2, 2, 2, 2), (0, 0, 0, 4), 4),  # 80 M, 68 M
    "big": Preset(64, (2, 2, 2, 2), (0, 0, 4, 8), 8),  # 81 M, 68 M
}


@dataclass(frozen=True)
class ModelConfig:
    """Which network to build: a preset, and what differs from it.

    preset: The network to start from; the fields below override parts of it.
    attention: Where the network has self-attention. `True`: where the preset has it. `False` or `none`: nowhere.
        `bridge`: only in the bridge, the blocks at the lowest resolution. `levels`: after every block of every level,
        and in the bridge.
    channels: Channels of the first level; each further level has twice as many. `None`: the preset's.
    depths: Number of residual blocks, one number per level. Each level halves the resolution. `None`: the preset's.
    heads: Number of attention heads after each block, one number per level; 0: no attention. `None`: the preset's.
    bridge_heads: Number of attention heads in the bridge; 0: no attention. `None`: the preset's.
    cond_channels: Channels of the embedding of noise level and label; an even number.
    norm: `batch`: batch norm, as in the 2023 study. `group`: group norm, as in EDM. The noise level and the label
        decide the scale and the shift of both.
    resample: How the resolution changes between levels. `pool`: pooling and a convolution, as in the 2023 study.
        `residual`: residual blocks that resample, as in EDM.
    init: Initial weights. `torch`: PyTorch's defaults, as in the 2023 study. `edm`: every block starts as the identity,
        and the network's output is zero.
    dropout: Share of activations that training drops before the last convolution of each block. EDM uses 0.13 on
        CIFAR-10.
    attention_block: The attention blocks. `softmax`: multi-head self-attention.
    architecture: The network. `study`: the 2023 study's U-Net, which all other fields describe. A network of your own
        has options of its own instead.
    """

    preset: PresetName = "mini"
    attention: bool | Attention = True
    channels: int | None = None
    depths: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    bridge_heads: int | None = None
    cond_channels: int = 8
    norm: Norm | Extension = "batch"
    resample: Resample = "pool"
    init: Initialisation = "torch"
    dropout: float = 0.0
    attention_block: AttentionBlockName | Extension = added_field("softmax", column=False)
    architecture: Architecture | Extension = added_field("study", column=False)

    def __post_init__(self) -> None:
        # pydantic checks types before this, a notebook does not: the preset may be any word
        require(self.preset in PRESETS, "preset", f"{self.preset!r} is not one of {', '.join(PRESETS)}")
        even = self.cond_channels >= 2 and self.cond_channels % 2 == 0
        require(even, "cond_channels", f"{self.cond_channels} is not possible; give an even number, 2 or more")
        require(
            0 <= self.dropout < 1, "dropout", f"{self.dropout!r} is not a share below 1; give 0 or more and less than 1"
        )
        network = self.network(image_channels=1, resolution=0, num_classes=0)
        require(network.channels >= 1, "channels", f"{network.channels} is not above 0; give a positive number")
        if isinstance(self.architecture, Extension):
            return
        blocks = bool(network.depths) and min(network.depths) >= 1
        require(blocks, "depths", "every level needs at least one block")
        require(
            len(network.heads) == len(network.depths),
            "depths" if self.heads is None else "heads",
            f"{len(network.depths)} levels but {len(network.heads)} numbers of heads; give one per level in heads",
        )
        self._require_whole_heads(network)

    def _require_whole_heads(self, network: NetworkConfig) -> None:
        """Raise FieldError unless the heads of every level divide its channels."""
        for name, heads, channels in (
            *(("heads", h, c) for h, c in zip(network.heads, network.level_channels, strict=False)),
            ("bridge_heads", network.bridge_heads, network.level_channels[-1]),
        ):
            whole = heads >= 0 and (heads == 0 or channels % heads == 0)
            require(
                whole, name, f"{heads} heads do not divide {channels} channels; give a divisor, or 0 for no attention"
            )

    def network(self, image_channels: int, resolution: int, num_classes: int) -> NetworkConfig:
        """Return the network for images of shape (image_channels, resolution, resolution) in `num_classes` classes."""
        if isinstance(self.architecture, Extension):
            shape = (image_channels, resolution, num_classes)
            return NetworkConfig(
                *shape, channels=1, depths=(), heads=(), bridge_heads=0, architecture=self.architecture
            )
        preset = PRESETS[self.preset]
        depths = preset.depths if self.depths is None else self.depths
        heads, bridge_heads = self._heads(preset, len(depths))
        return NetworkConfig(
            image_channels=image_channels,
            resolution=resolution,
            num_classes=num_classes,
            channels=preset.channels if self.channels is None else self.channels,
            depths=depths,
            heads=heads,
            bridge_heads=bridge_heads,
            cond_channels=self.cond_channels,
            norm=self.norm,
            resample=self.resample,
            init=self.init,
            dropout=self.dropout,
            attention_block=self.attention_block,
        )

    def _heads(self, preset: Preset, levels: int) -> tuple[tuple[int, ...], int]:
        """Return the attention heads of each level and of the bridge."""
        heads = preset.heads if self.heads is None else self.heads
        bridge_heads = preset.bridge_heads if self.bridge_heads is None else self.bridge_heads
        if self.attention is False or self.attention == "none":
            return (0,) * levels, 0
        if self.attention == "bridge":
            return (0,) * levels, bridge_heads
        if self.attention == "levels":
            return tuple(number or bridge_heads for number in heads), bridge_heads
        return heads, bridge_heads
