"""Guidance: combine one or two models, with labels and a precision, into the denoiser that a sampler calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from edm.config import Extension, FieldError, Precision, SamplingConfig
from edm.networks.device import autocast
from edm.precondition import Denoiser
from edm.registry import Registration, Registry
from edm.samplers import DenoiserFunction


@dataclass(frozen=True)
class Labelled:
    """A denoiser for given labels: `model` with `labels` filled in, its network computing in `precision`."""

    model: Denoiser
    labels: Int64[Tensor, " b"]
    precision: Precision = "fp32"

    def __call__(self, x: Float[Tensor, "b c h w"], sigma: Float[Tensor, ""]) -> Float[Tensor, "b c h w"]:
        """Return the denoised images."""
        with autocast(self.precision, x.device):
            return self.model(x, sigma.to(x).expand(len(x)), self.labels)


@dataclass(frozen=True)
class Guided:
    """A denoiser for each step: `guided` where guides(sigma) holds for its noise level, `plain` elsewhere."""

    guides: Callable[[float], bool]
    guided: DenoiserFunction
    plain: DenoiserFunction

    def for_step(self, sigma: float) -> DenoiserFunction:
        """Return the denoiser for the whole step that begins at `sigma` (edm.samplers.StepwiseDenoiser)."""
        return self.guided if self.guides(sigma) else self.plain


Combine = Callable[[Tensor, Tensor, Tensor], Tensor]  # (weaker, D(x | label), sigma) -> guided images


def _linear(config: SamplingConfig) -> Combine:
    return lambda weaker, main, sigma: torch.lerp(weaker, main, config.guidance)


def _of_extension(registration: Registration, rule: Extension) -> Callable[[SamplingConfig], Combine]:
    function = registration.bound(rule)
    return lambda config: lambda weaker, main, sigma: function(weaker, main, config.guidance, sigma)


OWN_GUIDANCE_RULES: dict[str, Callable[[SamplingConfig], Combine]] = {"linear": _linear}
GUIDANCE_RULES = Registry(OWN_GUIDANCE_RULES, _of_extension)


def guided(
    model: Denoiser, labels: Int64[Tensor, " b"], config: SamplingConfig, guide: Denoiser | None = None
) -> Guided:
    """Return the denoiser that combines D(x | label) with a weaker one, within the guidance interval.

    The rule is lerp(weaker, D(x | label), guidance) by default; for the interval, see Kynkaanniemi et al. 2024.
    The weaker denoiser is D(x) without a label (Ho and Salimans 2022) or, if a `guide` is given, the guide for the same
    label (autoguidance, Karras et al. 2024). At guidance 1 and 0 only one of the two is evaluated. Without classes and
    without a guide, guidance has no effect. Models must be in evaluation mode. Raises FieldError if `config.guide` is
    set and no guide is given.
    """
    assert not model.training and (guide is None or not guide.training), "guidance needs evaluation mode"
    plain = Labelled(model, labels, config.precision)
    if config.guidance == 1:
        return Guided(config.guides, plain, plain)
    if config.guide and guide is None:
        raise FieldError("guide", "is set, but no guide was given; pass its network as guide=, or drop the field")
    inside = _autoguided(plain, guide, config) if guide else _classifier_free(plain, config)
    return Guided(config.guides, inside, plain)


def _classifier_free(plain: Labelled, config: SamplingConfig) -> DenoiserFunction:
    """Guide by the network without a label, both branches in one batch.

    That is exact in evaluation mode only: in training mode batch norm would mix the branches.
    """
    if not plain.model.config.num_classes:
        return plain
    null = torch.full_like(plain.labels, plain.model.null_label)
    if config.guidance == 0:
        return Labelled(plain.model, null, config.precision)
    both = Labelled(plain.model, torch.cat([null, plain.labels]), config.precision)

    combine = GUIDANCE_RULES[config.guidance_rule](config)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        unconditional, conditional = both(torch.cat([x, x]), sigma).chunk(2)
        return combine(unconditional, conditional, sigma)

    return denoise


def _autoguided(plain: Labelled, guide: Denoiser, config: SamplingConfig) -> DenoiserFunction:
    """Guide by another network with the same label."""
    weaker = Labelled(guide, plain.labels, config.precision)
    if config.guidance == 0:
        return weaker

    combine = GUIDANCE_RULES[config.guidance_rule](config)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return combine(weaker(x, sigma), plain(x, sigma), sigma)

    return denoise
