"""Configuration of training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from edm.config.data import DataConfig
from edm.config.fields import added_field, display_field, require, require_positive
from edm.config.model import AUGMENT_LABELS, ModelConfig, NetworkConfig
from edm.extension import Extension

Precision = Literal["fp32", "bf16", "fp16"]
Weighting = Literal["edm", "min_snr", "inverse_variance"]
LrSchedule = Literal["constant", "inverse_sqrt"]
NoiseDistribution = Literal["lognormal", "vp", "ve", "iddpm"]

MAX_POWER_WIDTH = 0.28  # the widest that a power-function average can be is 0.2887, a plain mean (gamma 0)


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained (EDM, Table 1 and appendix F.2).

    kimg: Thousands of images to train on, counting repetitions.
    batch_size: Images per gradient step.
    lr: Learning rate.
    ema_halflife_kimg: Half-life, in thousands of images, of the average of the weights, from which images are drawn. It
        is at most the share `ema_rampup` of the images seen so far. 0: no average.
    label_dropout: Share of labels that training hides, which trains the unconditional branch that guidance needs. 1
        trains only that branch.
    p_mean: Mean of ln(sigma), where sigma is the noise level of a training image. Only for `lognormal`.
    p_std: Standard deviation of ln(sigma). Only for `lognormal`, whose noise levels are clipped to 0.002 and 80.
    optimizer: The optimizer.
    weight_decay: Weight decay. Only for `adamw`.
    warmup_kimg: Thousands of images over which the learning rate rises from 0.
    clip_norm: Largest norm of the gradient; a longer gradient is scaled down to it. `None`: no limit.
    micro_batch: Images that pass through the network at once; gradients are accumulated over `batch_size` images for
        each step. It must divide `batch_size`. Batch norm uses the statistics of the micro-batch. `None`: the whole
        batch.
    power_ema: Relative widths of two power-function averages (EDM2), such as `[0.05, 0.10]`. They are saved during the
        training, so that images can later be drawn from an average of any width. Empty: none.
    power_ema_snapshots: How many times these averages are saved, evenly spaced over the training.
    flip: Mirror half of the images left to right.
    augment: Probability of each transform of EDM's non-leaky augmentation. EDM uses 0.12 on CIFAR-10. 0: none.
    stratified: Spread the noise levels of a batch evenly over their distribution.
    weighting: How the loss is weighted over noise levels: as in EDM; by min-SNR (Hang et al. 2023); or by 1 / sigma^2,
        as VP, VE and iDDPM do (`inverse_variance`).
    min_snr_gamma: The gamma of min-SNR. Only for `min_snr`.
    precision: Arithmetic of the network. `auto`: bf16 on a GPU that supports it, fp16 on any other GPU, fp32 on a CPU.
    ema_rampup: Largest half-life of the average of the weights, as a share of the images seen so far: 0.05 in EDM.
        `None`: no limit.
    loss: The loss. `denoising`: the weighted mean squared error of the denoised images. `uncertainty`: that, weighted
        by an uncertainty that is learned beside the network (EDM2).
    noise_distribution: The distribution of the noise levels of training images. `lognormal`: by `p_mean` and `p_std`,
        as in EDM. `vp`, `ve`, `iddpm`: those that the models of these names were trained on (EDM, Table 1).
    lr_schedule: How the learning rate changes, besides its warm-up: `constant`, or `inverse_sqrt` as in EDM2.
    lr_decay_kimg: Thousands of images after which the learning rate falls, with the square root of the images seen.
        Only for `inverse_sqrt`. The default is EDM2's: 70,000 steps of 2,048 images.
    augmentation: How images are augmented. `edm`: by EDM's transforms, each with the probability `augment`.
    keep: Which checkpoints stay in addition to the finished model. `last`: none. `all`: one every `checkpoint_kimg`, by
        default nine, evenly spaced. `best`: of these, the one with the lowest validation loss. A list of kimg: those at
        these points.
    checkpoint_kimg: Save the training's state every so many thousand images, in addition to the checkpoints at regular
        times. `None`: no additional checkpoints.
    validate_kimg: Measure the validation loss every so many thousand images. 0: only at the end. `None`: up to 100
        times, as long as this is at most 5% of the training's work.
    samples_kimg: Draw a grid of samples every so many thousand images. 0: only at the end. `None`: up to 20 times, as
        long as this is at most 5% of the training's work.
    keep_state: Keep the state at the end of the training, which is about four times as large as the model. A longer
        training that is otherwise the same then begins there. `False`: no state is kept, and this training begins at
        the start.
    source: A trained network to begin with, in place of random weights (fine-tuning). The path of a file or a folder,
        as of `model.from`: it decides all fields of `model` but `dropout`; others that are given must describe it. Its
        weights are part of the signature, the path is not. Or a training that is done first: a mapping of what differs
        from this one, such as `{data.name: celeba, training.kimg: 5000}`.
    """

    kimg: float = 10_000.0
    batch_size: int = 64
    lr: float = 1e-4
    ema_halflife_kimg: float = 500.0
    label_dropout: float = 0.2
    p_mean: float = -1.2
    p_std: float = 1.2
    optimizer: Literal["adam", "adamw"] | Extension = added_field("adam")
    weight_decay: float = added_field(0.01)
    warmup_kimg: float = added_field(0.0)
    clip_norm: float | None = added_field(None)
    micro_batch: int | None = added_field(None)
    power_ema: tuple[float, ...] = added_field(())
    power_ema_snapshots: int = added_field(24)
    flip: bool = added_field(False)
    augment: float = added_field(0.0)
    stratified: bool = added_field(False)
    weighting: Weighting | Extension = added_field("edm")
    min_snr_gamma: float = added_field(5.0)
    precision: Literal["auto"] | Precision = added_field("auto")
    ema_rampup: float | None = added_field(0.05, column=False)
    loss: Literal["denoising", "uncertainty"] | Extension = added_field("denoising", column=False)
    noise_distribution: NoiseDistribution | Extension = added_field("lognormal", column=False)
    lr_schedule: LrSchedule | Extension = added_field("constant", column=False)
    lr_decay_kimg: float = added_field(143_360.0, column=False)
    augmentation: Literal["edm"] | Extension = added_field("edm", column=False)
    keep: Literal["last", "best", "all"] | tuple[float, ...] = display_field("last")
    checkpoint_kimg: float | None = display_field(None)
    validate_kimg: float | None = display_field(None)
    samples_kimg: float | None = display_field(None)
    keep_state: bool = display_field(True, column=False)
    source: str | Pretraining | None = display_field(None, column=False, key="from")

    def __post_init__(self) -> None:
        require_positive(self, "kimg", "batch_size", "lr", "p_std", "min_snr_gamma", "power_ema_snapshots")
        require_positive(self, "lr_decay_kimg")
        require(self.source != "", "from", "is empty; give the path of a trained network")
        require(math.isfinite(self.p_mean), "p_mean", f"{self.p_mean!r} is not a finite number; give one")
        require(self.ema_halflife_kimg >= 0, "ema_halflife_kimg", "give 0 (no average) or more")
        ramp = self.ema_rampup
        require(ramp is None or 0 < ramp < math.inf, "ema_rampup", "give a share above 0, or null for no limit")
        moves = self.ema_halflife_kimg < math.inf or ramp is not None
        require(moves, "ema_halflife_kimg", "is infinite without ema_rampup: nothing would be averaged; give one")
        for name in ("label_dropout", "augment"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, f"{value!r} is not a share; give 0 to 1")
        for name in ("weight_decay", "warmup_kimg", "checkpoint_kimg", "validate_kimg", "samples_kimg"):
            value = getattr(self, name)
            require(value is None or 0 <= value < math.inf, name, f"{value!r} is below 0; give 0 or more")
        require(self.clip_norm is None or self.clip_norm > 0, "clip_norm", "give a number above 0, or leave it out")
        micro = self.micro_batch
        divides = micro is None or (micro >= 1 and self.batch_size % micro == 0)
        require(divides, "micro_batch", f"{micro!r} does not divide batch_size {self.batch_size}; give a divisor")
        self._require_two_widths()
        own = isinstance(self.augmentation, Extension) and self.augment > 0
        require(not own, "augment", f"is of EDM's transforms, which {self.augmentation} replaces; remove it")
        if isinstance(self.keep, tuple):
            for kimg in self.keep:
                require(0 < kimg <= self.kimg, "keep", f"{kimg:g} is outside of the {self.kimg:g} kimg; remove it")

    def _require_two_widths(self) -> None:
        """Raise FieldError unless `power_ema` is empty or has two different widths."""
        require(
            not self.power_ema or (len(self.power_ema) == 2 and len(set(self.power_ema)) == 2),
            "power_ema",
            "takes two different widths, such as [0.05, 0.10]: one alone cannot be turned into others",
        )
        for width in self.power_ema:
            require_power_width(width, "power_ema")

    def without_unread(self) -> TrainingConfig:
        """Return the configuration with every field that nothing reads at its default.

        Signatures of earlier releases were taken of it, which find their results: it must stay as it is.
        `canonical_training` goes further.
        """
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
        """Return `network` with what this training needs: inputs for the augmentation, a head for the uncertainty."""
        if self.loss == "uncertainty":
            network = replace(network, uncertainty=True)
        return replace(network, augment_labels=AUGMENT_LABELS) if self.augment > 0 else network

    @property
    def num_steps(self) -> int:
        """Gradient steps: as many whole batches as it takes to see `kimg`."""
        return self.steps_to(self.kimg)

    @property
    def total_kimg(self) -> float:
        """Thousands of images that all steps see: `kimg`, rounded up to whole batches."""
        return self.kimg_after(self.num_steps)

    def kimg_after(self, steps: int) -> float:
        """Return how many thousand images a number of gradient steps sees."""
        return steps * self.batch_size / 1000

    def steps_to(self, kimg: float) -> int:
        """Return the number of gradient steps until `kimg` thousand images have been seen."""
        return math.ceil(round(kimg * 1000, 6) / self.batch_size)  # rounded: 2.007 * 1000 is not quite 2007


@dataclass(frozen=True)
class Pretraining:
    """The training whose network another one begins with.

    text: what differs from the other one, for people. seed: None for that of the other one.
    """

    text: str
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    seed: int | None = None

    def __str__(self) -> str:
        return self.text


def require_power_width(width: float, field: str) -> None:
    """Raise FieldError unless `width` is the relative width of a power-function average (EDM2, section 3.1)."""
    inside = 0 < width <= MAX_POWER_WIDTH
    require(inside, field, f"{width!r} is not a relative width; give 0.01 to {MAX_POWER_WIDTH}")
