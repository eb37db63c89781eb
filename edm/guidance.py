"""Denoisers -> denoiser: what labels, guidance and precision make of one or two models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from edm.config import Precision, SamplingConfig
from edm.networks.unet import computing_in
from edm.precondition import Denoiser
from edm.samplers import DenoiserFunction


@dataclass(frozen=True)
class Labelled:
    """A model asked for the images of `labels`, its network computing in `precision`."""

    model: Denoiser
    labels: Int64[Tensor, " b"]
    precision: Precision = "fp32"

    def __call__(self, x: Float[Tensor, "b c h w"], sigma: Float[Tensor, ""]) -> Float[Tensor, "b c h w"]:
        with computing_in(self.precision, x.device):
            return self.model(x, sigma.to(x).expand(len(x)), self.labels)


@dataclass(frozen=True)
class Guided:
    """The guided denoiser for the steps at which `guides` holds, the plain one for all others."""

    guides: Callable[[float], bool]
    guided: DenoiserFunction
    plain: DenoiserFunction

    def for_step(self, sigma: float) -> DenoiserFunction:
        """The denoiser of a whole step that begins at `sigma` (edm.samplers.StepwiseDenoiser)."""
        return self.guided if self.guides(sigma) else self.plain


def guided(
    model: Denoiser, labels: Int64[Tensor, " b"], config: SamplingConfig, guide: Denoiser | None = None
) -> Guided:
    """lerp(weaker, D(x | label), guidance), within the guidance interval (Kynkaanniemi et al. 2024).

    The weaker denoiser is D(x) without a label (Ho and Salimans 2022), or, where there is a `guide`, the guide's for
    the same label (autoguidance, Karras et al. 2024). At 1 and 0 one of the two decides and one forward pass is made.
    A model without classes has nothing to guide it but a guide. Raises ValueError where `config` names a guide and
    none is given.
    """
    assert not model.training and (guide is None or not guide.training), "guidance needs evaluation mode"
    plain = Labelled(model, labels, config.precision)
    if config.guidance == 1:
        return Guided(config.guides, plain, plain)
    if config.guide and guide is None:
        raise ValueError("sampling.guide is set, but no guide was given; pass its network as guide=, or drop the field")
    inside = _autoguided(plain, guide, config) if guide else _classifier_free(plain, config)
    return Guided(config.guides, inside, plain)


def _classifier_free(plain: Labelled, config: SamplingConfig) -> DenoiserFunction:
    """Both branches go through in one batch: exact in evaluation mode, wrong in training mode (batch norm)."""
    if not plain.model.config.num_classes:
        return plain
    null = torch.full_like(plain.labels, plain.model.null_label)
    if config.guidance == 0:
        return Labelled(plain.model, null, config.precision)
    both = Labelled(plain.model, torch.cat([null, plain.labels]), config.precision)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        unconditional, conditional = both(torch.cat([x, x]), sigma).chunk(2)
        return torch.lerp(unconditional, conditional, config.guidance)

    return denoise


def _autoguided(plain: Labelled, guide: Denoiser, config: SamplingConfig) -> DenoiserFunction:
    weaker = Labelled(guide, plain.labels, config.precision)
    if config.guidance == 0:
        return weaker

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.lerp(weaker(x, sigma), plain(x, sigma), config.guidance)

    return denoise
