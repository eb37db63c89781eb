"""How images are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from edm.config.fields import FieldError, added_field, require, require_positive, require_seed
from edm.config.model import ModelConfig, PresetName
from edm.config.training import Precision, TrainingConfig, require_power_width
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
EXACT_STEPS = 512  # of Heun's method, where the solution itself is wanted
EXACT_IMAGES = 64  # at which a sampler's own error is measured


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
    schedule: ScheduleName = added_field("karras")
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
