"""Configuration of sampling: how images are drawn from a trained network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from edm.config.fields import FieldError, added_field, display_field, require, require_positive, require_seed
from edm.config.model import ModelConfig, PresetName
from edm.config.training import Precision, TrainingConfig, require_power_width
from edm.extension import Extension
from edm.schedules import SAME_AS, ScheduleName, noise_levels

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
CHURNED_SAMPLERS: tuple[Sampler, ...] = ("stochastic_euler", "stochastic_heun")
TWO_EVALUATION_SAMPLERS: tuple[Sampler, ...] = ("heun", "dpm2", "stochastic_heun")  # except in the last step, to 0

MAX_GAMMA = math.sqrt(2) - 1  # EDM, Algorithm 2: the variance of the noise at most doubles
EXACT_STEPS = 512  # steps of Heun's method that stand for the exact solution
EXACT_IMAGES = 64  # images over which a sampler's own error is measured


@dataclass(frozen=True)
class GuideConfig:
    """The weaker network of autoguidance: how its training differs from that of the network it guides, or its file.

    preset: Use another preset, with its own channels, depths and heads.
    channels: Use another number of channels in the first level.
    kimg: Train on fewer images, in thousands.
    ema: Use a power-function average of another relative width.
    source: Use a trained network: the path of a file or a folder, as of `model.from`. It decides all other fields. Its
        weights are part of the signature, the path is not.
    """

    preset: PresetName | None = None
    channels: int | None = None
    kimg: float | None = None
    ema: float | None = None
    source: str | None = display_field(None, key="from")

    def __post_init__(self) -> None:
        derived = {name: getattr(self, name) for name in ("preset", "channels", "kimg", "ema")}
        given = [name for name, value in derived.items() if value is not None]
        if self.source is not None:
            require(bool(self.source), "from", "is empty; give the path of a trained network")
            if given:
                raise FieldError(given[0], "is decided by the network of guide.from; remove one of the two")
            return
        require(bool(given), "preset", "is missing: a guide differs from its network in preset, channels, kimg or ema")
        for name in ("channels", "kimg"):
            if getattr(self, name) is not None:
                require_positive(self, name)
        if self.ema is not None:
            require_power_width(self.ema, "ema")

    def __str__(self) -> str:
        if self.source is not None:
            return f"from={self.source}"
        names = ("channels", "kimg", "ema")
        numbers = [f"{name}={getattr(self, name):g}" for name in names if getattr(self, name) is not None]
        return ",".join([*filter(None, [self.preset]), *numbers])

    def model(self, main: ModelConfig) -> ModelConfig:
        """Return the guide's model, given the `main` one: another preset brings its own channels, depths and heads."""
        if self.source is not None:
            return ModelConfig(source=self.source)
        if self.preset is not None:
            main = replace(main, preset=self.preset, channels=None, depths=None, heads=None, bridge_heads=None)
        return main if self.channels is None else replace(main, channels=self.channels)

    def training(self, main: TrainingConfig) -> TrainingConfig:
        """Return the guide's training, given the `main` network's."""
        return main if self.source is not None else replace(main, kimg=self.kimg or main.kimg, keep="last")


@dataclass(frozen=True)
class SamplingConfig:
    """How images are drawn (EDM, Algorithms 1 and 2; classifier-free guidance; autoguidance).

    sampler: The sampler.
    steps: Number of steps. `heun`, `stochastic_heun` and `dpm2` evaluate the network 2 x steps - 1 times per image, the
        other samplers once per step.
    guidance: Guidance scale. 1: no guidance. 0: unconditional.
    sigma_min: The lowest noise level before 0.
    sigma_max: The highest noise level, where sampling starts.
    rho: Exponent of the `karras` schedule; larger values put more steps at low noise levels.
    s_churn: How much noise `stochastic_euler` and `stochastic_heun` add (EDM, Algorithm 2): before each step they raise
        the noise level by a factor of 1 + s_churn / steps, at most by sqrt(2). The defaults of `s_churn`, `s_min`,
        `s_max` and `s_noise` are EDM's for ImageNet-64 (Table 5); the 2023 study used `.inf`, 0, `.inf` and 1.
    s_min: Lowest noise level at which these samplers add noise.
    s_max: Highest noise level at which these samplers add noise.
    s_noise: Factor on the standard deviation of the added noise. 1: exactly as much noise as the raised level needs.
    seed: Seed of the noise. All cells share the noise, so that image 17 of one cell corresponds to image 17 of another.
    schedule: The noise levels. `linear_log_snr` and `ve` are other names for `exponential`.
    eta: How much of the SDE's noise `dpmpp_2m_sde` adds, from 0 (none) to 1 (all).
    guidance_interval: `[low, high]`: guide only the steps that start at a noise level above low and at most high
        (Kynkaanniemi et al. 2024). `None`: guide all steps.
    guide: Use a weaker network in place of the unconditional branch (autoguidance, Karras et al. 2024).
    ema: Relative width of the power-function average of the weights to draw from; needs a training with `power_ema`.
        `None`: the average of `ema_halflife_kimg`.
    resolution: Pixels per side of the drawn images. `None`: the resolution of training.
    precision: Arithmetic of the network during sampling.
    guidance_rule: How the two branches of guidance are combined. `linear`: they are extrapolated by the guidance scale.
        Unused at scales 0 and 1, where one branch alone is evaluated.
    """

    sampler: Sampler | Extension = "heun"
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
    schedule: ScheduleName | Extension = added_field("karras")
    eta: float = added_field(1.0)
    guidance_interval: tuple[float, float] | None = added_field(None)
    guide: GuideConfig | None = added_field(None)
    ema: float | None = added_field(None)
    resolution: int | None = added_field(None)
    precision: Precision = added_field("fp32")
    guidance_rule: Literal["linear"] | Extension = added_field("linear", column=False)

    def __post_init__(self) -> None:
        require_positive(self, "steps", "sigma_min", "sigma_max", "rho", "s_noise")
        falls = self.sigma_min < self.sigma_max
        require(falls, "sigma_min", f"{self.sigma_min} is not below sigma_max {self.sigma_max}; give less")
        require(math.isfinite(self.guidance), "guidance", f"{self.guidance!r} is not a finite number; give one")
        require(self.s_churn >= 0, "s_churn", f"{self.s_churn!r} is below 0; give 0 or more, or infinity")
        rises = 0 <= self.s_min <= self.s_max
        require(
            rises,
            "s_min",
            f"{self.s_min} to s_max {self.s_max} is not a range of noise levels; give 0 <= s_min <= s_max",
        )
        require(0 <= self.eta <= 1, "eta", f"{self.eta!r} is not a share; give 0 (no noise) to 1")
        if self.guidance_interval is not None:
            low, high = self.guidance_interval
            range_ = f"{low:g} to {high:g} is not a range of noise levels; give [low, high]"
            require(0 <= low < high, "guidance_interval", range_)
        if self.ema is not None:
            require_power_width(self.ema, "ema")
        require(self.resolution is None or self.resolution >= 1, "resolution", "give a number of pixels above 0")
        require_seed(self.seed, "seed")
        try:
            self.sigmas  # noqa: B018 - some schedules do not have so many levels, or none in this range
        except ValueError as error:
            raise FieldError("schedule", str(error)) from None

    def without_unread(self) -> SamplingConfig:
        """Return the configuration with every field that nothing reads at its default.

        Signatures of earlier releases were taken of it, which find their results: it must stay as it is.
        `canonical_sampling` goes further.
        """
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
        if self.guidance in (0, 1):
            unread.append("guidance_rule")
        schedule = self.schedule if isinstance(self.schedule, Extension) else SAME_AS.get(self.schedule, self.schedule)
        return replace(self, schedule=schedule, **{name: getattr(default, name) for name in unread})

    @property
    def sigmas(self) -> list[float]:
        """The `steps` + 1 noise levels that sampling goes through: decreasing, ending in 0."""
        return noise_levels(self.schedule, self.steps, self.sigma_min, self.sigma_max, self.rho)

    def guides(self, sigma: float) -> bool:
        """Return whether a step that begins at noise level `sigma` is guided."""
        if self.guidance_interval is None:
            return True
        low, high = self.guidance_interval
        return low < sigma <= high

    @property
    def evaluations(self) -> dict[Literal["main", "other"], int]:
        """Evaluations per image: `main` of the network with its label, `other` of what guidance leads away from.

        That is the network without a label, or the guide.
        """
        main = other = 0
        for sigma in self._evaluated_at():
            guidance = self.guidance if self.guides(sigma) else 1.0
            main += guidance != 0
            other += guidance != 1
        return {"main": main, "other": other}

    def _evaluated_at(self) -> Iterator[float]:
        """Yield, for each call of the denoiser, the noise level that decides whether it is guided."""
        own = self.sampler.fact("evaluated_at") if isinstance(self.sampler, Extension) else None
        if own is not None:
            yield from own
            return
        for i, sigma in enumerate(self.sigmas[:-1]):
            yield from itertools.repeat(sigma, self._evaluations_in_step(i))

    def _evaluations_in_step(self, number: int) -> int:
        if isinstance(self.sampler, Extension):
            return self.sampler.fact("evaluations", 1)
        return 2 if self.sampler in TWO_EVALUATION_SAMPLERS and number < self.steps - 1 else 1

    @property
    def nfe(self) -> int:
        """Network evaluations per image: Euler N, Heun 2N - 1, doubled at steps where guidance needs both branches."""
        return sum(self.evaluations.values())

    @property
    def is_deterministic(self) -> bool:
        """Whether the initial noise alone decides the images, because the sampler adds none on the way."""
        if isinstance(self.sampler, Extension):
            return not self.sampler.fact("adds_noise", False)
        if self.sampler in CHURNED_SAMPLERS:
            return self.s_churn == 0
        return self.sampler != "dpmpp_2m_sde" or self.eta == 0

    def exact(self) -> SamplingConfig:
        """Return the configuration that draws the same images with next to no truncation error.

        It takes EXACT_STEPS steps of Heun's method from the noise level at which this configuration begins, so that all
        deterministic samplers that begin there share one solution.
        """
        level = self.sigmas[0]
        # a level that differs from sigma_max by rounding alone is the same one
        start = self.sigma_max if math.isclose(level, self.sigma_max, rel_tol=1e-9) else level
        steps = EXACT_STEPS
        same = replace(self, sampler="heun", steps=steps, schedule="karras", rho=7.0, sigma_max=start, precision="fp32")
        return same.without_unread()
