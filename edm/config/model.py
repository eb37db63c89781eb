"""Which network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edm.config.fields import added_field, require

Attention = Literal["none", "bridge", "levels"]
Norm = Literal["batch", "group"]
Resample = Literal["pool", "residual"]
Initialisation = Literal["torch", "edm"]
PresetName = Literal["nano", "micro", "mini", "tiny", "small", "big"]
AUGMENT_LABELS = 9  # numbers that describe one augmentation (edm/augment.py)


@dataclass(frozen=True)
class NetworkConfig:
    """The U-Net as built: what a ModelConfig and a data set together come to.

    heads[i] is the number of attention heads after every residual block of level i, 0 where there is no attention.
    num_classes 0 is a data set without labels. augment_labels: numbers that tell the network how its image was
    augmented, 0 where nothing is. dropout: share of activations dropped in training, before a block's last convolution.
    """

    image_channels: int
    resolution: int
    num_classes: int
    channels: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    bridge_heads: int
    cond_channels: int = 8
    norm: Norm = added_field("batch")
    resample: Resample = added_field("pool")
    init: Initialisation = added_field("torch")
    dropout: float = added_field(0.0)
    augment_labels: int = added_field(0)

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels of each level, then of the bridge: doubled at every step down."""
        return tuple(self.channels * 2**level for level in range(len(self.depths) + 1))


@dataclass(frozen=True)
class Preset:
    """One row of PRESETS."""

    channels: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    bridge_heads: int


PRESETS: dict[PresetName, Preset] = {
    # name          channels  depths        heads         bridge   parameters, with attention and without
    "nano": Preset(16, (1, 1), (0, 2), 2),  # 0.17 M, 0.14 M: made for 8x8 digits
    "micro": Preset(24, (1, 1), (0, 2), 2),  # 0.38 M, 0.32 M: the same
    "mini": Preset(64, (2, 2), (4, 4), 4),  # 5.0 M, 4.2 M: the 2023 study's FashionMNIST and CIFAR-10 network
    "tiny": Preset(64, (1, 2, 4), (0, 0, 0), 4),  # 35 M, 31 M: its CelebA networks, this and the next two
    "small": Preset(64, (2, 2, 2, 2), (0, 0, 0, 4), 4),  # 80 M, 68 M
    "big": Preset(64, (2, 2, 2, 2), (0, 0, 4, 8), 8),  # 81 M, 68 M
}


@dataclass(frozen=True)
class ModelConfig:
    """A network by preset; channels, depths, heads and bridge_heads override the preset's where they are given.

    attention: true is as the preset has it; false or `none` takes all self-attention out, whatever preset and heads
    say; `bridge` leaves it in the bridge alone; `levels` puts it after every block of every level and of the bridge.
    norm: `batch` as the 2023 study, `group` as EDM's network; both scaled and shifted by noise level and label.
    resample: `pool` and convolve between levels as the study, or in `residual` blocks as EDM.
    init: `torch`'s default as the study, or `edm`: every block starts as the identity, the network as zero.
    """

    preset: PresetName = "mini"
    attention: bool | Attention = True
    channels: int | None = None
    depths: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    bridge_heads: int | None = None
    cond_channels: int = 8
    norm: Norm = "batch"
    resample: Resample = "pool"
    init: Initialisation = "torch"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        # preset may still be a wrong word here: pydantic validates types, a notebook does not
        require(self.preset in PRESETS, "preset", f"{self.preset!r} is not one of {', '.join(PRESETS)}")
        require(
            self.cond_channels >= 2 and self.cond_channels % 2 == 0, "cond_channels", "give an even number, 2 or more"
        )
        require(0 <= self.dropout < 1, "dropout", f"{self.dropout!r} is not a share below 1; EDM uses 0.13 on CIFAR-10")
        network = self.network(image_channels=1, resolution=0, num_classes=0)
        require(network.channels >= 1, "channels", f"{network.channels} is not above 0; give a positive number")
        require(bool(network.depths) and min(network.depths) >= 1, "depths", "every level needs at least one block")
        require(
            len(network.heads) == len(network.depths),
            "depths" if self.heads is None else "heads",
            f"{len(network.depths)} levels but {len(network.heads)} numbers of heads; give one a level in model.heads",
        )
        self._require_whole_heads(network)

    def _require_whole_heads(self, network: NetworkConfig) -> None:
        for name, heads, channels in (
            *(("heads", h, c) for h, c in zip(network.heads, network.level_channels, strict=False)),
            ("bridge_heads", network.bridge_heads, network.level_channels[-1]),
        ):
            whole = heads >= 0 and (heads == 0 or channels % heads == 0)
            require(
                whole, name, f"{heads} heads do not divide {channels} channels; give a divisor, or 0 for no attention"
            )

    def network(self, image_channels: int, resolution: int, num_classes: int) -> NetworkConfig:
        """The network this describes for images of `image_channels` x `resolution` x `resolution`."""
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
        )

    def _heads(self, preset: Preset, levels: int) -> tuple[tuple[int, ...], int]:
        """Attention heads of the levels and of the bridge."""
        heads = preset.heads if self.heads is None else self.heads
        bridge_heads = preset.bridge_heads if self.bridge_heads is None else self.bridge_heads
        if self.attention is False or self.attention == "none":
            return (0,) * levels, 0
        if self.attention == "bridge":
            return (0,) * levels, bridge_heads
        if self.attention == "levels":
            return tuple(number or bridge_heads for number in heads), bridge_heads
        return heads, bridge_heads
