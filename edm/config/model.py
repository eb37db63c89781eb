"""Configuration of the network, and its presets."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

from edm.config.architectures import SHAPES, Architecture, Precondition, Shape
from edm.config.fields import FieldError, added_field, require
from edm.extension import Extension

Attention = Literal["none", "bridge", "levels"]
Norm = Literal["batch", "group"]
AttentionBlockName = Literal["softmax"]
Resample = Literal["pool", "residual"]
Initialisation = Literal["torch", "edm"]
PresetName = Literal["nano", "micro", "mini", "tiny", "small", "big"]

AUGMENT_LABELS = 9  # numbers that describe the augmentation of an image (edm/augment.py)


@dataclass(frozen=True)
class NetworkConfig:
    """The network as it is built: what a ModelConfig means for the images of one data set.

    image_channels: Channels of the images, 1 or 3.
    resolution: Pixels a side of the images.
    num_classes: Number of classes; 0 for a data set without labels.
    channels: Channels of the first level; in the study's U-Net every level further down has twice as many, the bridge
        again.
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
    architecture: Which network it is. Those of the literature have no bridge: bridge_heads are those of the first block
        on the way up. A network of one's own has no levels.
    multipliers: Channels of each level as multiples of `channels`; empty for the study's U-Net.
    precondition: How the network becomes a denoiser.
    uncertainty: Whether a head estimates the loss at each noise level, for the loss `uncertainty`.
    settings: Of a network of diffusers: its configuration, its noise process and its costs, as JSON.
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
    architecture: Architecture | Literal["diffusers"] | Extension = added_field("study")
    multipliers: tuple[int, ...] = added_field(())
    precondition: Precondition = added_field("edm")
    uncertainty: bool = added_field(False)
    settings: str = added_field("")

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels of each level; in the study's U-Net they double at every step down, and the bridge comes last."""
        if isinstance(self.architecture, Extension):
            return (self.channels,)
        if self.architecture == "study":
            return tuple(self.channels * 2**level for level in range(len(self.depths) + 1))
        return tuple(self.channels * multiplier for multiplier in self.multipliers)

    @property
    def halvings(self) -> int:
        """How many times the network halves the sides of images, which 2 to this power must divide."""
        return len(self.level_channels) - 1

    @property
    def output_channels(self) -> int:
        """Channels of the network's output: twice the image's with iDDPM, whose second half, a variance, is unused."""
        return self.image_channels * (2 if self.precondition == "iddpm" else 1)

    def to_train(self, resolution: int, num_classes: int, dropout: float) -> NetworkConfig:
        """Return the network for a training that begins with these weights, on images of another data set.

        resolution: pixels a side of its images. num_classes: of its classes, which a network of diffusers cannot learn.
        dropout: of the training. What only the former training needed, such as inputs for its augmentation, is left
        out.
        """
        if self.settings:
            return self
        return replace(
            self,
            resolution=resolution,
            num_classes=num_classes,
            dropout=dropout,
            augment_labels=0,
            uncertainty=False,
        )


@dataclass(frozen=True)
class Pretrained:
    """A trained network as a file holds it.

    path: of the file or folder. digest: of its tensors, whatever the format of the file. sigma_data: standard deviation
    of the data that it was trained on; None where the file does not say, and it is that of the data set.
    """

    path: str
    digest: str
    network: NetworkConfig
    sigma_data: float | None


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


STUDY_FIELDS = (
    "preset",
    "cond_channels",
    "norm",
    "resample",
    "init",
    "attention_block",
)  # which no other architecture has


@dataclass(frozen=True)
class ModelConfig:
    """Which network to build, and what differs from its architecture and preset; or the trained network of a file.

    preset: The network to start from; the fields below override parts of it. Only for the architecture `study`.
    attention: Where the network has self-attention. `True`: where the preset has it. `False` or `none`: nowhere.
        `bridge`: only in the bridge, the blocks at the lowest resolution. `levels`: after every block of every level,
        and in the bridge.
    channels: Channels of the first level; each further level has twice as many, or what `multipliers` say. `None`: the
        preset's or the paper's.
    depths: Number of residual blocks, one number per level. Each level halves the resolution. `None`: the preset's
        or the paper's.
    heads: Number of attention heads after each block, one number per level; 0: no attention. `None`: the preset's
        or the paper's.
    bridge_heads: Number of attention heads in the bridge; 0: no attention. `None`: the preset's or the paper's.
    cond_channels: Channels of the embedding of noise level and label; an even number. Only for `study`.
    norm: `batch`: batch norm, as in the 2023 study. `group`: group norm, as in EDM. The noise level and the label
        decide the scale and the shift of both. Only for `study`.
    resample: How the resolution changes between levels. `pool`: pooling and a convolution, as in the 2023 study.
        `residual`: residual blocks that resample, as in EDM. Only for `study`.
    init: Initial weights. `torch`: PyTorch's defaults, as in the 2023 study. `edm`: every block starts as the identity,
        and the network's output is zero. Only for `study`.
    dropout: Share of activations that training drops before the last convolution of each block. EDM uses 0.13 on
        CIFAR-10.
    attention_block: The attention blocks. `softmax`: multi-head self-attention. Only for `study`.
    architecture: The network. `study`: the 2023 study's U-Net. `ddpmpp`, `ncsnpp`: DDPM++ and NCSN++ (Song et al. 2021)
        as in EDM. `adm`: ADM (Dhariwal and Nichol 2021). `edm2`: EDM2's magnitude-preserving network (Karras et al.
        2024, config G). These have the shape of their paper, in which the fields above can be changed. A network of
        your own has options of its own instead.
    multipliers: Channels of each level as multiples of `channels`, one number per level. `None`: the paper's. Not for
        `study`.
    precondition: How the network becomes a denoiser (EDM, Table 1): `edm`, or as in the variance-preserving (`vp`) and
        variance-exploding (`ve`) models of Song et al. (2021) or in improved DDPM (`iddpm`).
    source: A trained network to draw from, in place of a training: the path of a file or a folder. It decides all other
        fields of this section and of `training`.
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
    multipliers: tuple[int, ...] | None = added_field(None, column=False)
    precondition: Precondition = added_field("edm", column=False)
    source: str | None = added_field(None, column=False, key="from")

    def __post_init__(self) -> None:
        if self.source is not None:
            self._require_nothing_else()
        # pydantic checks types before this, a notebook does not: the preset may be any word
        require(self.preset in PRESETS, "preset", f"{self.preset!r} is not one of {', '.join(PRESETS)}")
        even = self.cond_channels >= 2 and self.cond_channels % 2 == 0
        require(even, "cond_channels", f"{self.cond_channels} is not possible; give an even number, 2 or more")
        require(
            0 <= self.dropout < 1, "dropout", f"{self.dropout!r} is not a share below 1; give 0 or more and less than 1"
        )
        self._require_own_fields()
        network = self.network(image_channels=1, resolution=0, num_classes=0)
        require(network.channels >= 1, "channels", f"{network.channels} is not above 0; give a positive number")
        if isinstance(self.architecture, Extension):
            return
        self._require_levels(network)
        blocks = bool(network.depths) and min(network.depths) >= 1
        require(blocks, "depths", "every level needs at least one block")
        require(
            len(network.heads) == len(network.depths),
            "depths" if self.heads is None else "heads",
            f"{len(network.depths)} levels but {len(network.heads)} numbers of heads; give one per level in heads",
        )
        self._require_whole_heads(network)

    def _require_nothing_else(self) -> None:
        """Raise FieldError where a field is set that the file decides."""
        require(bool(self.source), "from", "is empty; give the path of a trained network")
        for field in fields(self):
            if field.name != "source" and getattr(self, field.name) != field.default:
                raise FieldError(field.name, "is decided by the network of model.from; remove one of the two")

    def _require_own_fields(self) -> None:
        """Raise FieldError where a field is set that the architecture does not have."""
        if isinstance(self.architecture, Extension):
            return
        known = ("study", *SHAPES)
        require(self.architecture in known, "architecture", f"{self.architecture!r} is not one of {', '.join(known)}")
        if self.architecture == "study":
            require(self.multipliers is None, "multipliers", "is not for study, whose channels double; remove it")
            return
        default = ModelConfig.__dataclass_fields__
        for name in STUDY_FIELDS:
            if getattr(self, name) != default[name].default:
                raise FieldError(
                    name,
                    f"is a field of the architecture study, which {self.architecture} does not have; remove it, or "
                    "choose the architecture study",
                )

    def _require_levels(self, network: NetworkConfig) -> None:
        """Raise FieldError unless channels and depths have equally many levels."""
        if self.architecture == "study":
            return
        even = network.channels % 2 == 0 and network.channels >= 4  # the noise level's features are pairs
        require(even, "channels", f"{network.channels} is not possible; give an even number, 4 or more")
        positive = bool(network.multipliers) and min(network.multipliers) >= 1
        require(positive, "multipliers", "every level needs a multiple of the channels, 1 or more")
        require(
            len(network.depths) == len(network.multipliers),
            "depths" if self.multipliers is None else "multipliers",
            f"{len(network.multipliers)} levels of channels but {len(network.depths)} numbers of blocks; "
            "give one per level in multipliers and in depths",
        )

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

    def has(self, name: str) -> bool:
        """Return whether a field, called as in sweep files, means anything: a network of one's own has no preset."""
        if self.source is not None:
            return name == "from"
        if isinstance(self.architecture, Extension):
            return name in ("architecture", "precondition")
        return name != "from" and (self.architecture == "study" or name not in STUDY_FIELDS)

    @property
    def essential(self) -> ModelConfig:
        """The configuration with the default of every field that means nothing to a network of one's own."""
        if not isinstance(self.architecture, Extension):
            return self
        return replace(self, **{f.name: f.default for f in fields(self) if not self.has(f.name)})

    def network(self, image_channels: int, resolution: int, num_classes: int) -> NetworkConfig:
        """Return the network for images of shape (image_channels, resolution, resolution) in `num_classes` classes."""
        if isinstance(self.architecture, Extension):
            images = (image_channels, resolution, num_classes)
            return NetworkConfig(
                *images,
                channels=1,
                depths=(),
                heads=(),
                bridge_heads=0,
                architecture=self.architecture,
                precondition=self.precondition,
            )
        shape = SHAPES.get(self.architecture)
        levels = self._study_levels() if shape is None else self._levels_of(shape, resolution)
        return NetworkConfig(
            image_channels=image_channels,
            resolution=resolution,
            num_classes=num_classes,
            channels=levels.channels,
            depths=levels.depths,
            heads=levels.heads,
            bridge_heads=levels.bridge_heads,
            cond_channels=levels.cond_channels,
            norm=self.norm,
            resample=self.resample,
            init=self.init,
            dropout=self.dropout,
            attention_block=self.attention_block,
            architecture=self.architecture,
            multipliers=levels.multipliers,
            precondition=self.precondition,
        )

    def _study_levels(self) -> _Levels:
        """Return the levels of the 2023 study's U-Net."""
        preset = PRESETS[self.preset]
        depths = preset.depths if self.depths is None else self.depths
        heads = preset.heads if self.heads is None else self.heads
        bridge_heads = preset.bridge_heads if self.bridge_heads is None else self.bridge_heads
        channels = preset.channels if self.channels is None else self.channels
        everywhere = tuple(number or bridge_heads for number in heads)
        heads, bridge_heads = self._where_asked(heads, bridge_heads, everywhere, len(depths))
        return _Levels(channels, (), depths, heads, bridge_heads, self.cond_channels)

    def _levels_of(self, shape: Shape, resolution: int) -> _Levels:
        """Return the levels of a network of the literature for images of `resolution` pixels a side."""
        channels = shape.channels if self.channels is None else self.channels
        multipliers = shape.multipliers if self.multipliers is None else self.multipliers
        depths = (shape.depth,) * len(multipliers) if self.depths is None else self.depths
        widths = [channels * multiplier for multiplier in multipliers] or [channels]
        everywhere = tuple(shape.heads(width) for width in widths)
        heads = self.heads
        if heads is None:
            sides = [resolution >> level for level in range(len(widths))]
            heads = tuple(n if side in shape.attention else 0 for n, side in zip(everywhere, sides, strict=True))
        bridge_heads = everywhere[-1] if self.bridge_heads is None else self.bridge_heads
        heads, bridge_heads = self._where_asked(heads, bridge_heads, everywhere, len(widths))
        embedding = max(widths) if shape.embedding is None else channels * shape.embedding
        return _Levels(channels, multipliers, depths, heads, bridge_heads, embedding)

    def _where_asked(
        self, heads: tuple[int, ...], bridge_heads: int, everywhere: tuple[int, ...], levels: int
    ) -> tuple[tuple[int, ...], int]:
        """Return the attention heads of each level and of the bridge, where `attention` has them."""
        if self.attention is False or self.attention == "none":
            return (0,) * levels, 0
        if self.attention == "bridge":
            return (0,) * levels, bridge_heads
        return (everywhere if self.attention == "levels" else heads), bridge_heads


@dataclass(frozen=True)
class _Levels:
    """Channels, blocks and attention of a network: fields as in NetworkConfig."""

    channels: int
    multipliers: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    bridge_heads: int
    cond_channels: int
