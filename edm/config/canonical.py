"""Canonical forms: configurations that come to the same computation, bit for bit, become one.

Signatures are taken of canonical forms, so that what is asked for twice in different words is computed once. A form
keeps what was written wherever that is the only way to write it.
"""

from __future__ import annotations

import math
from dataclasses import replace

from edm.config.model import NetworkConfig
from edm.config.sampling import CHURNED_SAMPLERS, MAX_GAMMA, Sampler, SamplingConfig
from edm.config.training import TrainingConfig
from edm.extension import Extension

KIMG_DIGITS = 6  # after which kimg are rounded

# training -----------------------------------------------------------------------------------------


def canonical_training(config: TrainingConfig, network: NetworkConfig) -> TrainingConfig:
    """Return the form that all trainings of `network` share which come to the same weights as `config`."""
    return canonical_but_for_kimg(replace(config, kimg=_roundest_kimg(config)), network)


def canonical_but_for_kimg(config: TrainingConfig, network: NetworkConfig) -> TrainingConfig:
    """Return the canonical form of before `kimg` had one: that of a training that sees exactly `config.kimg`."""
    config, default = config.without_unread(), TrainingConfig()
    halflife, rampup = _average(config)
    if config.optimizer == "adamw" and config.weight_decay == 0:
        config = replace(config, optimizer="adam", weight_decay=default.weight_decay)
    if isinstance(config.loss, Extension):  # it does all the weighting
        config = replace(config, weighting=default.weighting, min_snr_gamma=default.min_snr_gamma)
    if config.noise_distribution != "lognormal":
        config = replace(config, p_mean=default.p_mean, p_std=default.p_std)
    batch_kimg = config.batch_size / 1000
    # the last step is taken at the rate of the images seen before it
    if config.lr_schedule == "inverse_sqrt" and config.lr_decay_kimg >= config.kimg_after(config.num_steps - 1):
        config = replace(config, lr_schedule="constant")
    if config.lr_schedule != "inverse_sqrt":
        config = replace(config, lr_decay_kimg=default.lr_decay_kimg)
    return replace(
        config,
        ema_halflife_kimg=halflife,
        ema_rampup=rampup,
        label_dropout=config.label_dropout if network.num_classes else default.label_dropout,
        clip_norm=None if config.clip_norm == math.inf else config.clip_norm,
        # the first step is taken at a rate of 0 in any case, and the second at the whole rate
        warmup_kimg=batch_kimg if 0 < config.warmup_kimg <= batch_kimg else config.warmup_kimg,
    )


def _roundest_kimg(config: TrainingConfig) -> float:
    """Return the roundest of all `kimg` that take as many steps, the largest of those that are equally round.

    It is what people write: 50 of 49.985 to 50.048. One that does not reach the last checkpoint to keep is none.
    """
    most, steps = config.total_kimg, config.num_steps
    last_kept = max(config.keep, default=0.0) if isinstance(config.keep, tuple) else 0.0
    for digits in range(-math.ceil(math.log10(most)), KIMG_DIGITS + 1):
        rounded = round(math.floor(round(most * 10.0**digits, KIMG_DIGITS)) / 10.0**digits, max(digits, 0))
        if rounded >= last_kept and rounded > 0 and config.steps_to(rounded) == steps:
            return rounded
    return config.kimg


def _average(config: TrainingConfig) -> tuple[float, float | None]:
    """Return half-life and ramp-up of the average of the weights in canonical form.

    Every half-life that the ramp-up never lets be reached comes to the same. Their form is the default, or twice the
    share of the training that the ramp-up admits where that is less or the default is reached: what defaults, templates
    and sweep files have had, so that their signatures stay.
    """
    halflife, rampup = config.ema_halflife_kimg, config.ema_rampup
    batch_kimg = config.batch_size / 1000
    if halflife == 0 or 1 - 0.5 ** (batch_kimg / halflife) == 1:  # nothing is kept of the average
        return 0.0, TrainingConfig().ema_rampup
    if rampup is None or halflife < reached_halflife(config):
        return halflife, rampup
    if config.num_steps == 1:  # the average begins with the second step
        return 0.0, TrainingConfig().ema_rampup
    default, twice = TrainingConfig().ema_halflife_kimg, float(f"{2 * rampup * config.kimg:.9g}")
    return (default if reached_halflife(config) <= default < twice else twice), rampup


def reached_halflife(config: TrainingConfig) -> float:
    """Return the longest half-life, in thousands of images, that the ramp-up admits in a training."""
    if config.ema_rampup is None:
        return math.inf
    return (config.num_steps - 1) * config.batch_size / 1000 * config.ema_rampup


# sampling -----------------------------------------------------------------------------------------

WITHOUT_CHURN: dict[Sampler, Sampler] = {"stochastic_euler": "euler", "stochastic_heun": "heun"}
IN_ONE_STEP: dict[Sampler, Sampler] = {  # a step to 0 is Euler's, or the denoised image itself
    "heun": "euler",
    "dpm2": "euler",
    "stochastic_heun": "stochastic_euler",
    "unipc": "dpmpp_2m",
    "dpmpp_2m_sde": "dpmpp_2m",
}


def canonical_sampling(config: SamplingConfig, network: NetworkConfig | None = None) -> SamplingConfig:
    """Return the form that all ways of sampling share which draw the same images as `config`.

    They also share the exact solution that truncation error is measured against. network: the network drawn from, where
    that is known.
    """
    config = _without_idle_guidance(config.without_unread(), network)
    config = _with_simplest_sampler(_with_canonical_churn(_with_default_schedule(config)))
    if network is not None and config.resolution == network.resolution:
        config = replace(config, resolution=None)
    return config.without_unread()


def _without_idle_guidance(config: SamplingConfig, network: NetworkConfig | None) -> SamplingConfig:
    """Drop guidance of a network without classes, guidance of no step, and an interval that covers all steps."""
    if network is not None and not network.num_classes and config.guide is None:
        return replace(config, guidance=1.0)  # there is no second branch to guide with
    if config.guidance_interval is None:
        return config
    low, high = config.guidance_interval
    levels = config.sigmas[:-1]
    lowest, highest = min(levels[-1], config.sigma_min), max(levels[0], config.sigma_max)  # of the exact solution, too
    if high < lowest or low >= highest:
        return replace(config, guidance=1.0)
    return replace(config, guidance_interval=None) if low < lowest and high >= highest else config


def guiding_the_same_steps(config: SamplingConfig) -> SamplingConfig:
    """Return the form that all ways of sampling share that guide the same steps, and otherwise have the form `config`.

    They draw the same images: whether a whole step is guided, Heun's second evaluation included, follows from the level
    of the schedule at which it begins, before churn raises that (edm.samplers.integrate). They do not share the exact
    solution that truncation error is measured against, which has other steps. A sampler of an extension may ask at
    levels of its own, so that its interval stays.
    """
    if config.guidance_interval is None or isinstance(config.sampler, Extension):
        return config
    levels = config.sigmas[:-1]
    guided = [sigma for sigma in levels if config.guides(sigma)]
    if not guided:
        return replace(config, guidance=1.0).without_unread()
    if len(guided) == len(levels):
        return replace(config, guidance_interval=None)
    low = max((sigma for sigma in levels if sigma < guided[-1]), default=0.0)
    return replace(config, guidance_interval=(low, guided[0]))


def _with_default_schedule(config: SamplingConfig) -> SamplingConfig:
    """Take the default schedule where it has the same noise levels, as it may have in one or two steps."""
    default = replace(config, schedule=SamplingConfig().schedule, rho=SamplingConfig().rho)
    return default if default.sigmas == config.sigmas else config


def _with_canonical_churn(config: SamplingConfig) -> SamplingConfig:
    """Drop churn of no step, and take one form for all churn that is the most there can be, at the same noise levels.

    That is the default, or else the 2023 study's: infinity, from 0 to infinity.
    """
    if isinstance(config.sampler, Extension) or config.sampler not in CHURNED_SAMPLERS:
        return config
    levels, default = config.sigmas[:-1], SamplingConfig()
    churned = [sigma for sigma in levels if config.s_min <= sigma <= config.s_max]
    if config.s_churn == 0 or not churned:
        return replace(config, sampler=WITHOUT_CHURN[config.sampler]).without_unread()
    by_default = [sigma for sigma in levels if default.s_min <= sigma <= default.s_max]
    most = math.inf  # of all churn beyond what Algorithm 2 admits
    if churned == by_default:
        low, high = default.s_min, default.s_max
        most = default.s_churn if default.s_churn / config.steps >= MAX_GAMMA else math.inf
    else:
        low, high = (0.0, math.inf) if churned == levels else (churned[-1], churned[0])
    s_churn = most if config.s_churn / config.steps >= MAX_GAMMA else config.s_churn
    return replace(config, s_churn=s_churn, s_min=low, s_max=high)


def _with_simplest_sampler(config: SamplingConfig) -> SamplingConfig:
    """Take the simplest of the samplers that do the same with this configuration, to the last bit."""
    sampler = config.sampler
    if isinstance(sampler, Extension):
        return config
    if sampler == "dpmpp_2m_sde" and config.eta == 0:
        sampler = "dpmpp_2m"
    if sampler == "dpmpp_3m" and config.steps <= 3:  # never three points, before the last step, which reads one
        sampler = "dpmpp_2m"
    if config.steps == 1:
        sampler = IN_ONE_STEP.get(sampler, sampler)
    return replace(config, sampler=sampler)
