"""Everything about a model that can be configured: frozen dataclasses, their presets, and nothing heavy to import.

They stand together, apart from the modules that they configure, because a sweep file has to be planned and a wrong one
answered in less time than it takes to import torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from edm.schedules import SAME_AS, Schedule, noise_levels

Split = Literal["train", "val", "test"]
DatasetName = Literal["digits", "fashion_mnist", "cifar10", "celeba", "folder"]
Attention = Literal["none", "bridge", "levels"]
Norm = Literal["batch", "group"]
Resample = Literal["pool", "residual"]
Initialisation = Literal["torch", "edm"]
Precision = Literal["fp32", "bf16", "fp16"]
Weighting = Literal["edm", "min_snr"]
Sampler = Literal[
    "euler",
    "heun",
    "dpm2",
    "stochastic_euler",
    "stochastic_heun",
    "dpmpp_2m",
    "dpmpp_3m",
    "dpmpp_2m_sde",
    "unipc",
]
Features = Literal["inception", "dinov2", "classifier"]
Resize = Literal["pytorch-fid", "clean"]
Metric = Literal["fid", "fid_infinity", "kid", "prdc", "accuracy", "memorisation"]
PresetName = Literal["nano", "micro", "mini", "tiny", "small", "big"]

SPLITS: tuple[Split, ...] = ("train", "val", "test")
AUGMENT_LABELS = 9  # numbers that describe one augmentation (edm/augment.py)
EXACT_STEPS = 512  # of Heun's method, where the solution itself is wanted
EXACT_IMAGES = 64  # at which a sampler's own error is measured
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
    """A data set, by name, and how its images are prepared.

    resolution: of celeba (128 by default) and folder (needed), which are cropped to a square and resized; the others
    have one of their own. splits: `study` has the 2023 study's sizes, `official` CelebA's own partition.
    path, channels, split_seed: of a folder of images alone; 3 channels are RGB (the default), 1 is gray.
    """

    name: DatasetName = "digits"
    resolution: int | None = added_field(None)
    splits: Literal["study", "official"] = added_field("study")
    path: str | None = display_field(None)  # where a folder is does not matter: its content enters the signature
    channels: Literal[1, 3] | None = added_field(None)
    split_seed: int = added_field(0)

    def __post_init__(self) -> None:
        name, folder = self.name, self.name == "folder"
        if self.resolution is not None:
            require(name in ("celeba", "folder"), "resolution", f"{name} has a resolution of its own; drop it")
            require(
                4 <= self.resolution <= 4096, "resolution", f"{self.resolution} pixels make no image; give 4 to 4096"
            )
        require(self.splits == "study" or name == "celeba", "splits", f"{name} has no official partition; drop it")
        require(not folder or bool(self.path), "path", "is missing; say where the folder of images is")
        require(
            not folder or self.resolution is not None, "resolution", "is missing; images of a folder are resized to it"
        )
        require(
            folder or self.path is None, "path", f"{name} is found by its name; use 'edm-sweep data prepare --from'"
        )
        require(folder or self.channels is None, "channels", f"{name} has a number of its own; drop it")
        require(folder or self.split_seed == 0, "split_seed", f"{name} is split by a rule without a seed; drop it")
        require_seed(self.split_seed, "split_seed")


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


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained (EDM, Table 1 and appendix F.2).

    kimg: thousands of images to see. warmup_kimg: over which the learning rate rises from 0.
    micro_batch: images that go through the network at once; batch_size images still make one step, their gradients
    accumulated (batch norm then sees the micro-batch). clip_norm: largest norm of the gradient.

    ema_halflife_kimg: of the weight average; never more than 5% of the images seen, as EDM ramps it up.
    power_ema: widths of EDM2's power-function averages, stored power_ema_snapshots times along the way, from which an
    average of any width can be made afterwards (sampling.ema); EDM2 keeps [0.05, 0.10].

    label_dropout: share of labels masked, which trains the unconditional branch that guidance needs; 1 trains
    that branch alone. flip: half of the images mirrored. augment: probability of each transform of EDM's non-leaky
    augmentation (0.12 on CIFAR-10), of which the network is told.

    p_mean, p_std: ln(sigma) ~ N(p_mean, p_std**2); stratified spreads the levels of a batch evenly over it.
    weighting: of the loss over noise levels: EDM's, or min-SNR with min_snr_gamma (Hang et al. 2023).
    precision: of the network's arithmetic; auto is bf16 on a GPU that has it, else fp16 on a GPU, fp32 on a CPU.

    keep: which checkpoints stay once training is done: the last (the finished model), beside it that with the lowest
    loss on the val split (best), all, or those at these kimg.
    checkpoint_kimg: save the state this often, besides every resources.checkpoint_s seconds. validate_kimg: how often
    the loss on the val split is measured, samples_kimg: how often a sample grid is drawn; by default as often as
    costs under 5% of the training; 0 is at its end alone.
    """

    kimg: float = 10_000.0
    batch_size: int = 64
    lr: float = 1e-4
    ema_halflife_kimg: float = 500.0
    label_dropout: float = 0.2
    p_mean: float = -1.2
    p_std: float = 1.2
    optimizer: Literal["adam", "adamw"] = added_field("adam")
    weight_decay: float = added_field(0.01)
    warmup_kimg: float = added_field(0.0)
    clip_norm: float | None = added_field(None)
    micro_batch: int | None = added_field(None)
    power_ema: tuple[float, ...] = added_field(())
    power_ema_snapshots: int = added_field(24)
    flip: bool = added_field(False)
    augment: float = added_field(0.0)
    stratified: bool = added_field(False)
    weighting: Weighting = added_field("edm")
    min_snr_gamma: float = added_field(5.0)
    precision: Literal["auto"] | Precision = added_field("auto")
    keep: Literal["last", "best", "all"] | tuple[float, ...] = display_field("last")
    checkpoint_kimg: float | None = display_field(None)
    validate_kimg: float | None = display_field(None)
    samples_kimg: float | None = display_field(None)

    def __post_init__(self) -> None:
        require_positive(self, "kimg", "batch_size", "lr", "p_std", "min_snr_gamma", "power_ema_snapshots")
        require(math.isfinite(self.p_mean), "p_mean", f"{self.p_mean!r} is not a finite number")
        require(self.ema_halflife_kimg >= 0, "ema_halflife_kimg", "give 0 (no average) or more")
        for name in ("label_dropout", "augment"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, f"{value!r} is not a share; give 0 to 1")
        for name in ("weight_decay", "warmup_kimg", "checkpoint_kimg", "validate_kimg", "samples_kimg"):
            value = getattr(self, name)
            require(value is None or 0 <= value < math.inf, name, f"{value!r} is below 0; give 0 or more")
        require(self.clip_norm is None or self.clip_norm > 0, "clip_norm", "give a number above 0, or null")
        self._require_whole_micro_batches()
        require(
            not self.power_ema or (len(self.power_ema) == 2 and len(set(self.power_ema)) == 2),
            "power_ema",
            "takes two different widths, such as [0.05, 0.10]: one alone cannot be turned into others",
        )
        for width in self.power_ema:
            require_power_width(width, "power_ema")
        if isinstance(self.keep, tuple):
            for kimg in self.keep:
                require(0 < kimg <= self.kimg, "keep", f"{kimg:g} is outside of the {self.kimg:g} kimg; drop it")

    def _require_whole_micro_batches(self) -> None:
        micro = self.micro_batch
        require(
            micro is None or (micro >= 1 and self.batch_size % micro == 0),
            "micro_batch",
            f"{micro!r} does not divide batch_size {self.batch_size}; give a divisor",
        )

    def canonical(self) -> TrainingConfig:
        """The same configuration with the fields that nothing reads at their defaults."""
        default = TrainingConfig()
        return replace(
            self,
            micro_batch=None if self.micro_batch == self.batch_size else self.micro_batch,
            weight_decay=self.weight_decay if self.optimizer == "adamw" else default.weight_decay,
            min_snr_gamma=self.min_snr_gamma if self.weighting == "min_snr" else default.min_snr_gamma,
            power_ema=tuple(sorted(self.power_ema)),
            power_ema_snapshots=self.power_ema_snapshots if self.power_ema else default.power_ema_snapshots,
        )

    def prepared(self, network: NetworkConfig) -> NetworkConfig:
        """The network that this training needs: one that is told of its images' augmentation has inputs for that."""
        return replace(network, augment_labels=AUGMENT_LABELS) if self.augment > 0 else network

    @property
    def num_steps(self) -> int:
        """Gradient steps: as many whole batches as it takes to see `kimg`."""
        return self.steps_to(self.kimg)

    def steps_to(self, kimg: float) -> int:
        """Gradient steps until `kimg` have been seen."""
        return math.ceil(round(kimg * 1000, 6) / self.batch_size)  # rounded: 2.007 * 1000 is not quite 2007


MAX_POWER_WIDTH = 0.28  # the widest that the power function can be (gamma 0 is 0.2887, a plain mean)


def require_power_width(width: float, name: str) -> None:
    """Raise FieldError unless `width` is the relative width of a power-function average (EDM2, section 3.1)."""
    inside = 0 < width <= MAX_POWER_WIDTH
    require(inside, name, f"{width!r} is not a relative width; give 0.01 to {MAX_POWER_WIDTH}")


@dataclass(frozen=True)
class GuideConfig:
    """The weaker network of autoguidance: what of its training differs from the main one's."""

    preset: PresetName | None = None
    channels: int | None = None
    kimg: float | None = None
    ema: float | None = None

    def __post_init__(self) -> None:
        given = (self.preset, self.channels, self.kimg, self.ema)
        differs = any(value is not None for value in given)
        require(differs, "preset", "is missing: a guide differs from its network in preset, channels, kimg or ema")
        for name in ("channels", "kimg"):
            if getattr(self, name) is not None:
                require_positive(self, name)
        if self.ema is not None:
            require_power_width(self.ema, "ema")

    def __str__(self) -> str:
        names = ("channels", "kimg", "ema")
        told = [f"{name}={getattr(self, name):g}" for name in names if getattr(self, name) is not None]
        return ",".join([*filter(None, [self.preset]), *told])

    def model(self, main: ModelConfig) -> ModelConfig:
        """The guide of `main`: another preset as it is, but for what all presets share."""
        if self.preset is not None:
            main = replace(main, preset=self.preset, channels=None, depths=None, heads=None, bridge_heads=None)
        return main if self.channels is None else replace(main, channels=self.channels)

    def training(self, main: TrainingConfig) -> TrainingConfig:
        """How the guide of a network trained by `main` is trained."""
        return replace(main, kimg=self.kimg or main.kimg, keep="last")


@dataclass(frozen=True)
class SamplingConfig:
    """How images are drawn (EDM, Algorithms 1 and 2; classifier-free guidance; autoguidance).

    sampler and schedule: see edm/samplers.py and edm/schedules.py; rho is of the karras schedule alone.
    guidance: lerp(unconditional, conditional, guidance); 1 is plain conditional, 0 unconditional.
    guidance_interval: [low, high] in sigma; steps outside are taken without guidance (Kynkaanniemi et al. 2024).
    guide: another training that takes the unconditional branch's place (autoguidance, Karras et al. 2024).
    s_churn, s_min, s_max, s_noise: of stochastic_heun and stochastic_euler alone; the defaults are EDM's for
    ImageNet-64 (Table 5), the 2023 study's are .inf, 0, .inf and 1. eta: noise of dpmpp_2m_sde, 0 to 1.
    ema: relative width of the power-function average to sample from; null is the average of ema_halflife_kimg.
    resolution: other than trained, where the convolutional network still makes sense.
    precision: of the network's arithmetic. seed: of the noise; the same for every cell of a sweep, so that cells are
    paired.
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
    schedule: Schedule = added_field("karras")
    eta: float = added_field(1.0)
    guidance_interval: tuple[float, float] | None = added_field(None)
    guide: GuideConfig | None = added_field(None)
    ema: float | None = added_field(None)
    resolution: int | None = added_field(None)
    precision: Precision = added_field("fp32")

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
        require(0 <= self.eta <= 1, "eta", f"{self.eta!r} is not a share; give 0 (no noise) to 1")
        if self.guidance_interval is not None:
            low, high = self.guidance_interval
            inside = 0 <= low < high
            require(
                inside, "guidance_interval", f"{low:g} to {high:g} is not a range of noise levels; give [low, high]"
            )
        if self.ema is not None:
            require_power_width(self.ema, "ema")
        require(self.resolution is None or self.resolution >= 1, "resolution", "give a number of pixels above 0")
        require_seed(self.seed, "seed")
        try:
            self.sigmas  # noqa: B018 - not every schedule has so many levels, or such
        except ValueError as error:
            raise FieldError("schedule", str(error)) from None

    def canonical(self) -> SamplingConfig:
        """The same configuration with the fields that nothing reads at their defaults."""
        default = SamplingConfig()
        unread: list[str] = []
        if self.sampler not in CHURNED_SAMPLERS:
            unread += ["s_churn", "s_min", "s_max", "s_noise"]
        if self.sampler != "dpmpp_2m_sde":
            unread.append("eta")
        if self.schedule != "karras":
            unread.append("rho")
        if self.guidance == 1:
            unread += ["guidance_interval", "guide"]
        schedule = SAME_AS.get(self.schedule, self.schedule)
        return replace(self, schedule=schedule, **{name: getattr(default, name) for name in unread})

    @property
    def sigmas(self) -> list[float]:
        """The noise levels it steps through, decreasing, ending in 0."""
        return noise_levels(self.schedule, self.steps, self.sigma_min, self.sigma_max, self.rho)

    def guides(self, sigma: float) -> bool:
        """Whether a step that begins at `sigma` is guided: decided once per step."""
        if self.guidance_interval is None:
            return True
        low, high = self.guidance_interval
        return low < sigma <= high

    @property
    def evaluations(self) -> dict[Literal["main", "other"], int]:
        """Evaluations per image of the (conditional) network, and of the other branch that guidance leads away from."""
        main = other = 0
        for i, sigma in enumerate(self.sigmas[:-1]):
            calls = 2 if self.sampler in TWO_EVALUATION_SAMPLERS and i < self.steps - 1 else 1
            guidance = self.guidance if self.guides(sigma) else 1.0
            main += calls if guidance != 0 else 0
            other += calls if guidance != 1 else 0
        return {"main": main, "other": other}

    @property
    def is_deterministic(self) -> bool:
        """Whether the initial noise decides the images: no sampler that adds noise on the way."""
        if self.sampler in CHURNED_SAMPLERS:
            return self.s_churn == 0
        return self.sampler != "dpmpp_2m_sde" or self.eta == 0

    def exact(self) -> SamplingConfig:
        """How to draw the same images with next to no truncation error: what deterministic samplers aim at.

        Begins at the very noise level that this one begins at, so that all that share it share one solution.
        """
        level = self.sigmas[0]
        start = self.sigma_max if math.isclose(level, self.sigma_max, rel_tol=1e-9) else level  # rounding is no other
        steps = EXACT_STEPS
        same = replace(self, sampler="heun", steps=steps, schedule="karras", rho=7.0, sigma_max=start, precision="fp32")
        return same.canonical()

    @property
    def nfe(self) -> int:
        """Network evaluations per image: Euler N, Heun 2N - 1, doubled at steps where guidance needs both branches."""
        return sum(self.evaluations.values())


CHURNED_SAMPLERS: tuple[Sampler, ...] = ("stochastic_euler", "stochastic_heun")
TWO_EVALUATION_SAMPLERS: tuple[Sampler, ...] = ("heun", "dpm2", "stochastic_heun")  # but for the last step, to 0


@dataclass(frozen=True)
class EvaluationConfig:
    """How drawn images are scored.

    images: how many are drawn. features: the space that distances are measured in. resize: of inception alone,
    pytorch-fid's (bilinear) or clean-fid's (bicubic, antialiased, what the 2023 study used). splits: what images are
    compared with; reference: with equally many real images of every split, or with all of each. statistics: the path of
    a published .npz file (NVlabs', pytorch-fid's) to compare with as well.
    metrics: fid; fid_infinity, extrapolated to infinitely many images; kid; prdc is precision, recall, density and
    coverage; accuracy, of showing the asked class, by a small classifier (classifier features have it anyway);
    memorisation, nearest training images. truncation: the sampler's own error, against many Heun steps.
    stop_when: confidence, such as 0.999, that the FID is worse than the sweep's best at the same number of images, at
    which no more of them are drawn.
    """

    images: int = 50_000
    features: Features = "inception"
    splits: tuple[Split, ...] = display_field(SPLITS)
    resize: Resize = added_field("pytorch-fid")
    reference: Literal["equal", "all"] = added_field("equal")
    statistics: str | None = display_field(None)  # where the file is does not matter: its content enters the signature
    metrics: tuple[Metric, ...] = display_field(("fid", "kid", "prdc"))
    truncation: bool = display_field(False)
    stop_when: float | None = added_field(None)

    def __post_init__(self) -> None:
        require(
            self.images >= 2,
            "images",
            f"{self.images} is too few for a covariance; give 2 or more, 10,000 for a usable number",
        )
        require(bool(self.splits), "splits", f"is empty; give one or more of {', '.join(SPLITS)}")
        require(len(set(self.splits)) == len(self.splits), "splits", "names a split twice; drop one")
        require(bool(self.metrics), "metrics", f"is empty; give one or more of {', '.join(get_args(Metric))}")
        require(len(set(self.metrics)) == len(self.metrics), "metrics", "names a metric twice; drop one")
        require(
            self.resize == "pytorch-fid" or self.features == "inception",
            "resize",
            f"{self.features} features have a rule of their own; drop it",
        )
        if self.stop_when is not None:
            require(
                0.5 < self.stop_when < 1, "stop_when", f"{self.stop_when!r} is no confidence; give for example 0.999"
            )
            require("fid" in self.metrics, "stop_when", "looks at the FID, which evaluation.metrics leaves out")

    @property
    def prefixes(self) -> tuple[int, ...]:
        """The numbers of images at which the FID is taken: 1, 2, 5, 10, 20, 50 thousand and so on, and all."""
        rounds = (digit * 10**power for power in range(3, 10) for digit in (1, 2, 5))
        return (*(count for count in rounds if count < self.images), self.images)


@dataclass(frozen=True)
class ClassifierConfig:
    """The small classifier whose penultimate layer is the `classifier` feature space. Not a field of the sweep file."""

    channels: int = 32
    feature_channels: int = 64
    epochs: int = 24
    batch_size: int = 64
    lr: float = 2e-3
    seed: int = 0
