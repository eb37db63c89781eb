"""How it is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from edm.config.fields import added_field, display_field, require, require_positive
from edm.config.model import AUGMENT_LABELS, NetworkConfig

Precision = Literal["fp32", "bf16", "fp16"]
Weighting = Literal["edm", "min_snr"]


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
