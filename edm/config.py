"""Everything about a model that can be configured: frozen dataclasses, their presets, and nothing heavy to import.

They stand together, apart from the modules that they configure, because a sweep file has to be planned and a wrong one
answered in less time than it takes to import torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Split = Literal["train", "val", "test"]
Sampler = Literal["euler", "heun", "stochastic_heun"]
Features = Literal["inception", "classifier"]
PresetName = Literal["nano", "micro", "mini", "tiny", "small", "big"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")
MAX_SEED = 2**32 - 1  # one word of the counter-based generator's key (edm/noise.py)


class FieldError(ValueError):
    """A configuration field has a value that makes no sense; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def require(condition: bool, field: str, message: str) -> None:
    """Raise FieldError(field, message) unless `condition` holds."""
    if not condition:
        raise FieldError(field, message)


def require_positive(config: object, *fields: str) -> None:
    """Raise FieldError for the first of `fields` that is not a finite number above 0."""
    for name in fields:
        value = getattr(config, name)
        require(0 < value < math.inf, name, f"{value!r} is not above 0; give a positive number")


def require_seed(value: int, name: str) -> None:
    """Raise FieldError unless `value` is a seed: a whole number from 0 to 2**32 - 1."""
    require(0 <= value <= MAX_SEED, name, f"{value!r} is not a seed; give a whole number from 0 to {MAX_SEED}")


def added_field(default: Any) -> Any:
    """Declare a field added after a release: at its default it does not enter signatures, so that old ones hold."""
    return field(default=default, metadata={"added": True})


def display_field(default: Any) -> Any:
    """Declare a field that chooses among results and never changes them: it does not enter signatures."""
    return field(default=default, metadata={"identity": False})


@dataclass(frozen=True)
class DataConfig:
    """A data set, by name."""

    name: Literal["digits"] = "digits"


@dataclass(frozen=True)
class NetworkConfig:
    """The U-Net as built: what a ModelConfig and a data set together come to.

    heads[i] is the number of attention heads after every residual block of level i, 0 where there is no attention.
    num_classes 0 is a data set without labels.
    """

    image_channels: int
    resolution: int
    num_classes: int
    channels: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    bridge_heads: int
    cond_channels: int = 8

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
    """A network by preset; every field but `preset` and `attention` overrides the preset's where it is given.

    attention: false takes all self-attention out, whatever preset and heads say.
    """

    preset: PresetName = "mini"
    attention: bool = True
    channels: int | None = None
    depths: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    bridge_heads: int | None = None
    cond_channels: int = 8

    def __post_init__(self) -> None:
        # preset may still be a wrong word here: pydantic validates types, a notebook does not
        require(self.preset in PRESETS, "preset", f"{self.preset!r} is not one of {', '.join(PRESETS)}")
        require(
            self.cond_channels >= 2 and self.cond_channels % 2 == 0, "cond_channels", "give an even number, 2 or more"
        )
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
        heads = preset.heads if self.heads is None else self.heads
        bridge_heads = preset.bridge_heads if self.bridge_heads is None else self.bridge_heads
        return NetworkConfig(
            image_channels=image_channels,
            resolution=resolution,
            num_classes=num_classes,
            channels=preset.channels if self.channels is None else self.channels,
            depths=depths,
            heads=heads if self.attention else (0,) * len(depths),
            bridge_heads=bridge_heads if self.attention else 0,
            cond_channels=self.cond_channels,
        )


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained (EDM, Table 1 and appendix F.2).

    ema_halflife_kimg: of the weight average; never more than 5% of the images seen, as EDM ramps it up.
    label_dropout: share of labels masked, which trains the unconditional branch that guidance needs; 1 trains
    that branch alone. p_mean, p_std: ln(sigma) ~ N(p_mean, p_std**2).
    """

    kimg: float = 10_000.0
    batch_size: int = 64
    lr: float = 1e-4
    ema_halflife_kimg: float = 500.0
    label_dropout: float = 0.2
    p_mean: float = -1.2
    p_std: float = 1.2

    def __post_init__(self) -> None:
        require_positive(self, "kimg", "batch_size", "lr", "p_std")
        require(math.isfinite(self.p_mean), "p_mean", f"{self.p_mean!r} is not a finite number")
        require(self.ema_halflife_kimg >= 0, "ema_halflife_kimg", "give 0 (no average) or more")
        require(0 <= self.label_dropout <= 1, "label_dropout", f"{self.label_dropout!r} is not a share; give 0 to 1")

    @property
    def num_steps(self) -> int:
        """Gradient steps: as many whole batches as it takes to see `kimg`."""
        return math.ceil(round(self.kimg * 1000, 6) / self.batch_size)  # rounded: 2.007 * 1000 is not quite 2007


@dataclass(frozen=True)
class SamplingConfig:
    """How images are drawn (EDM, Algorithms 1 and 2; classifier-free guidance).

    guidance: lerp(unconditional, conditional, guidance); 1 is plain conditional, 0 unconditional.
    s_churn, s_min, s_max, s_noise: of stochastic_heun alone; the defaults are EDM's for ImageNet-64 (Table 5).
    seed: of the noise; the same for every cell of a sweep, so that cells are paired.
    """

    sampler: Sampler = "heun"
    steps: int = 18
    guidance: float = 1.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    s_churn: float = 40.0
    s_min: float = 0.05
    s_max: float = 50.0
    s_noise: float = 1.003
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "steps", "sigma_min", "sigma_max", "rho", "s_noise")
        require(
            self.sigma_min < self.sigma_max, "sigma_min", f"{self.sigma_min} is not below sigma_max {self.sigma_max}"
        )
        require(math.isfinite(self.guidance), "guidance", f"{self.guidance!r} is not a finite number")
        require(self.s_churn >= 0, "s_churn", f"{self.s_churn!r} is below 0; give 0 or more, or .inf")
        require(
            0 <= self.s_min <= self.s_max, "s_min", f"{self.s_min} to s_max {self.s_max} is not a range of noise levels"
        )
        require_seed(self.seed, "seed")

    def canonical(self) -> SamplingConfig:
        """The same configuration with the fields that its sampler ignores at their defaults."""
        if self.sampler == "stochastic_heun":
            return self
        default = SamplingConfig()
        return replace(self, s_churn=default.s_churn, s_min=default.s_min, s_max=default.s_max, s_noise=default.s_noise)

    @property
    def nfe(self) -> int:
        """Network evaluations per image: Euler N, Heun 2N - 1, doubled where guidance needs both branches."""
        evaluations = self.steps if self.sampler == "euler" else 2 * self.steps - 1
        return evaluations * (1 if self.guidance in (0.0, 1.0) else 2)


@dataclass(frozen=True)
class EvaluationConfig:
    """How drawn images are scored.

    images: how many are drawn. features: the space of the Frechet distance. splits: what they are compared with.
    """

    images: int = 50_000
    features: Features = "inception"
    splits: tuple[Split, ...] = display_field(SPLITS)

    def __post_init__(self) -> None:
        require(
            self.images >= 2,
            "images",
            f"{self.images} is too few for a covariance; give 2 or more, 10,000 for a usable number",
        )
        require(bool(self.splits), "splits", f"is empty; give one or more of {', '.join(SPLITS)}")
        require(len(set(self.splits)) == len(self.splits), "splits", "names a split twice; drop one")


@dataclass(frozen=True)
class ClassifierConfig:
    """The small classifier whose penultimate layer is the `classifier` feature space. Not a field of the sweep file."""

    channels: int = 32
    feature_channels: int = 64
    epochs: int = 24
    batch_size: int = 64
    lr: float = 2e-3
    seed: int = 0
