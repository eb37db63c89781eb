"""Samplers: small step rules over a denoiser `(x, sigma) -> denoised`, and the loop that applies them.

All solve EDM's ODE dx/dsigma = (x - D(x; sigma)) / sigma, or an SDE with the same marginals, along decreasing noise
levels that end in 0. Noise levels are Python's floats and the state is float64, as in EDM, since sigmas span 0.002 to
80. Nothing here reads the values of a tensor, so that the host never waits for a GPU.

To add a sampler to this package: write a step rule, name it in `Sampler` (edm/config/sampling.py) and enter it in
`METHODS`. Samplers of one's own are registered by edm.extend.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from edm.config import MAX_GAMMA, Extension, SamplingConfig
from edm.registry import Registration, Registry

Images = Float64[Tensor, "b c h w"]
StepNoise = Callable[[int], Tensor]  # number of a step -> standard normal noise for it
OnStep = Callable[[int, float, Tensor, Tensor], None]  # called before a step: its number, sigma, x, D(x; sigma)

UNIPC_ORDER = 3  # of UniP; UniC adds one


@runtime_checkable
class DenoiserFunction(Protocol):
    """The denoiser that samplers call: (x, sigma) -> denoised, with one sigma for the whole batch."""

    def __call__(self, x: Float[Tensor, "b c h w"], sigma: Float[Tensor, ""]) -> Float[Tensor, "b c h w"]:
        """Return the denoised images."""
        ...


@runtime_checkable
class StepwiseDenoiser(Protocol):
    """A denoiser that depends on the noise level at which a step begins."""

    def for_step(self, sigma: float) -> DenoiserFunction:
        """Return the denoiser for the whole step that begins at `sigma`."""
        ...


@dataclass(frozen=True)
class Point:
    """A state `x` at noise level `sigma`, and the denoiser's output for it."""

    sigma: float
    x: Images
    denoised: Images

    @property
    def slope(self) -> Images:
        """dx/dsigma (EDM, eq. 1 and 3)."""
        return (self.x - self.denoised) / self.sigma


@dataclass(frozen=True)
class Step:
    """The inputs of a step rule.

    here: where the step begins. to: the noise level where it ends. past: earlier points, the latest first. noise:
    returns the standard normal noise of this step. left: how many steps are left, this one included.
    """

    denoiser: DenoiserFunction
    here: Point
    to: float
    past: tuple[Point, ...]
    noise: Callable[[], Tensor]
    left: int


StepRule = Callable[[Step], Tensor]  # returns the state at the end of the step


@dataclass(frozen=True)
class Churn:
    """How much fresh noise is added before each step (EDM, Algorithm 2 and Table 5); fields as in SamplingConfig."""

    s_churn: float
    s_min: float
    s_max: float
    s_noise: float

    def gamma(self, sigma: float, num_steps: int) -> float:
        """Return the relative increase of the noise level at `sigma`."""
        return min(self.s_churn / num_steps, MAX_GAMMA) if self.s_min <= sigma <= self.s_max else 0.0

    def raised(self, x: Images, sigma: float, num_steps: int, noise: Callable[[], Tensor]) -> tuple[Images, float]:
        """Return the state with noise added, and its new noise level."""
        gamma = self.gamma(sigma, num_steps)
        if gamma == 0:
            return x, sigma
        added = sigma * math.sqrt((1 + gamma) ** 2 - 1) * self.s_noise
        return x + added * noise().to(x), sigma * (1 + gamma)


@dataclass(frozen=True)
class Method:
    """A sampler.

    rule: takes a step. history: number of earlier points that the rules read. correct: corrects the state at the
    beginning of a step, once the denoiser has been evaluated there. churn: noise added before each step.
    """

    rule: StepRule
    history: int = 0
    correct: StepRule | None = None
    churn: Churn | None = None


def evaluate(denoiser: DenoiserFunction, x: Images, sigma: float) -> Point:
    """Evaluate the denoiser at a state."""
    return Point(sigma, x, denoiser(x, x.new_full((), sigma)))


def euler(step: Step) -> Images:
    """Take a step of Euler's method, first order."""
    return step.here.x + (step.to - step.here.sigma) * step.here.slope


def heun(step: Step) -> Images:
    """Take a step of Heun's method, second order (EDM, Algorithm 1); Euler's into 0, where there is no slope."""
    if step.to == 0:
        return euler(step)
    there = evaluate(step.denoiser, euler(step), step.to)
    return step.here.x + (step.to - step.here.sigma) * (step.here.slope + there.slope) / 2


def dpm2(step: Step) -> Images:
    """Take a step of DPM-Solver-2 (Lu et al. 2022), second order by the slope midway in ln(sigma); Euler's into 0."""
    if step.to == 0:
        return euler(step)
    midway = math.sqrt(step.here.sigma * step.to)
    there = evaluate(step.denoiser, euler(replace(step, to=midway)), midway)
    return step.here.x + (step.to - step.here.sigma) * there.slope


def multistep(step: Step, order: int, eta: float = 0.0) -> Images:
    """Take a step of DPM-Solver++ (Lu et al. 2022): D is extrapolated through the last `order` points; into 0 it is D.

    The order is lower while there are fewer points. eta: share of the SDE's noise; 0 is the ODE. At order 3 the
    released code halves the second derivative of the parabola, which leaves it second order; here it counts in full.
    """
    if step.to == 0:
        return step.here.denoised
    x = exponential_step(step.here, step.to, (step.here, *step.past)[:order], eta)
    if eta == 0:
        return x
    fresh = step.to * math.sqrt(-math.expm1(-2 * eta * math.log(step.here.sigma / step.to)))
    return x + fresh * step.noise().to(x)


def unip(step: Step) -> Images:
    """Take a step of UniP (Zhao et al. 2023): third order, but second in the last step but one, as published."""
    return multistep(step, order=min(UNIPC_ORDER, step.left))


def unic(step: Step) -> Images:
    """Correct the last step as UniC does (Zhao et al. 2023): take it again, now that D is known at its end.

    It reads as many earlier points as UniP did.
    """
    past = step.past[: min(UNIPC_ORDER, step.left + 1)]
    return exponential_step(step.past[0], step.here.sigma, (*past, step.here))


def exponential_step(start: Point, to: float, points: Sequence[Point], eta: float = 0.0) -> Images:
    """Return the state at noise level `to`, exact if D were the polynomial in ln(sigma) through `points`.

    x(to) = (to / sigma) x + integral of e**(s - h) D over s from 0 to h = ln(sigma / to) (DPM-Solver++, eq. 8).
    """
    h = math.log(start.sigma / to)
    nodes = [math.log(start.sigma / point.sigma) / h for point in points]
    x = to / start.sigma * math.exp(-eta * h) * start.x
    for weight, point in zip(quadrature_weights(nodes, (1 + eta) * h), points, strict=True):
        x = x + weight * point.denoised
    return x


def quadrature_weights(nodes: Sequence[float], h: float) -> list[float]:
    """Return weights of a function's values at `nodes` for its integral against h e**(h (u - 1)), u from 0 to 1.

    They are exact for polynomials with as many coefficients as there are nodes, except for two nodes, where
    DPM-Solver++(2M) and UniPC's B(h) = e**h - 1 both take half of the integral of 1 as the integral of u.
    """
    moments = [math.factorial(k) * h * phi(k + 1, -h) for k in range(len(nodes))]
    if len(nodes) == 2:
        moments[1] = moments[0] / 2
    return np.linalg.solve(np.vander(nodes, increasing=True).T, np.array(moments)).tolist()


def phi(k: int, z: float) -> float:
    """Return phi_k(z), the sum of z**j / (j + k)! over all j >= 0, which exponential integrators are made of."""
    if abs(z) < 1:  # the recurrence would divide rounding errors by z, k times
        return sum(z**j / math.factorial(j + k) for j in range(18))
    return math.exp(z) if k == 0 else (phi(k - 1, z) - 1 / math.factorial(k - 1)) / z


@dataclass(frozen=True)
class Loop:
    """A sampler that is a whole loop: solve(denoiser, x, sigmas, noise) returns the final images.

    x: noise of level sigmas[0]. denoiser: takes the noise level as a number. noise: returns fresh noise at each call.
    """

    solve: Callable[[Callable[[Tensor, float], Tensor], Images, list[float], Callable[[], Tensor]], Tensor]


def _churned(config: SamplingConfig) -> Churn:
    return Churn(config.s_churn, config.s_min, config.s_max, config.s_noise)


def _of_extension(registration: Registration, sampler: Extension) -> Callable[[SamplingConfig], Method | Loop]:
    function = registration.bound(sampler)
    if registration.settings["loop"]:
        made = Loop(function)
    else:
        made = Method(partial(_take_step, function), registration.settings["history"])
    return lambda config: made


def _take_step(rule: StepRule, step: Step) -> Any:
    """Take a step by somebody's own rule, whose denoiser takes the noise level as the number that the step has, too.

    What the rule returns is not checked here, but by edm.trying.
    """

    def denoise(x: Tensor, sigma: Tensor | float) -> Tensor:
        return step.denoiser(x, sigma if isinstance(sigma, Tensor) else x.new_full((), sigma))

    return rule(replace(step, denoiser=denoise))


METHODS: dict[str, Callable[[SamplingConfig], Method | Loop]] = {
    "euler": lambda config: Method(euler),
    "heun": lambda config: Method(heun),
    "dpm2": lambda config: Method(dpm2),
    "stochastic_euler": lambda config: Method(euler, churn=_churned(config)),
    "stochastic_heun": lambda config: Method(heun, churn=_churned(config)),
    "dpmpp_2m": lambda config: Method(partial(multistep, order=2), history=1),
    "dpmpp_3m": lambda config: Method(partial(multistep, order=3), history=2),
    "dpmpp_2m_sde": lambda config: Method(partial(multistep, order=2, eta=config.eta), history=1),
    "unipc": lambda config: Method(unip, history=UNIPC_ORDER, correct=unic),
}
SAMPLERS = Registry(METHODS, _of_extension)


def method_of(config: SamplingConfig) -> Method | Loop:
    """Return the sampler that `config` describes."""
    return SAMPLERS[config.sampler](config)


def integrate(
    denoiser: DenoiserFunction | StepwiseDenoiser,
    x: Images,
    sigmas: Sequence[float],
    method: Method,
    noise: StepNoise,
    on_step: OnStep | None = None,
) -> Images:
    """Solve from `x`, noise of level sigmas[0], along all `sigmas`; return the final images.

    noise: returns the noise of a step; called only for steps that add noise. on_step: called before every step.
    """
    past: tuple[Point, ...] = ()
    for i, (sigma, to) in enumerate(pairwise(sigmas)):
        chosen = denoiser.for_step(sigma) if isinstance(denoiser, StepwiseDenoiser) else denoiser
        step_noise = partial(noise, i)
        if method.churn:
            x, sigma = method.churn.raised(x, sigma, len(sigmas) - 1, step_noise)
        here = evaluate(chosen, x, sigma)
        if on_step:
            on_step(i, here.sigma, here.x, here.denoised)
        step = Step(chosen, here, to, past, step_noise, left=len(sigmas) - 1 - i)
        if method.correct and past:
            step = replace(step, here=replace(here, x=method.correct(step)))
        x = method.rule(step)
        past = (step.here, *past)[: method.history]
    return x


def sample(
    denoiser: DenoiserFunction | StepwiseDenoiser,
    x: Float[Tensor, "b c h w"],
    config: SamplingConfig,
    noise: StepNoise,
    on_step: OnStep | None = None,
) -> Images:
    """Draw images as `config` says, starting from standard normal `x`.

    noise: returns the noise of a step, for stochastic samplers. on_step: called before every step, with tensors on the
    device.
    """
    sigmas, method = config.sigmas, method_of(config)
    x = x.double() * sigmas[0]
    if isinstance(method, Loop):
        return run_loop(method, denoiser, x, sigmas, noise, on_step)
    return integrate(denoiser, x, sigmas, method, noise, on_step)


def run_loop(
    loop: Loop,
    denoiser: DenoiserFunction | StepwiseDenoiser,
    x: Images,
    sigmas: Sequence[float],
    noise: StepNoise,
    on_step: OnStep | None = None,
) -> Images:
    """Solve like `integrate`, by a sampler that is a whole loop. Every call of the denoiser counts as a step."""
    calls, draws = itertools.count(), itertools.count()

    def denoise(x: Tensor, sigma: float) -> Tensor:
        chosen = denoiser.for_step(sigma) if isinstance(denoiser, StepwiseDenoiser) else denoiser
        here = evaluate(chosen, x, sigma)
        if on_step:
            on_step(next(calls), here.sigma, here.x, here.denoised)
        return here.denoised

    return loop.solve(denoise, x, list(sigmas), lambda: noise(next(draws)).to(x))
