"""From what a person fills in on the page to a checked setting; every mistake is one sentence."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, get_args

import torch
from jaxtyping import Int64
from torch import Tensor

from edm.config import CHURNED_SAMPLERS, FieldError, Sampler, SamplingConfig
from edm.generate import labels_of
from experiments.demo.networks import Network
from experiments.errors import UserError

MOST_IMAGES, MOST_STEPS, MOST_SEED = 64, 256, 2**31 - 1
MOST_NUMBERS = 2**20  # pixels times channels of all images together: 21 images of 128x128 pixels in colour
NAMES = {"s_churn": "churn", "guidance_interval": "guidance interval"}  # of fields, on the page


@dataclass(frozen=True)
class Form:
    """The fields of the page as they are filled in: numbers are None where a field is empty.

    label: None for all classes in turn. interval: of guidance, as "0.3, 5"; empty to guide every step.
    """

    label: int | None
    sampler: str
    steps: float | None
    guidance: float | None
    interval: str
    churn: float | None
    seed: float | None
    images: float | None


@dataclass(frozen=True)
class Wanted:
    """A checked setting: how to sample, the class (None: all in turn), and the number of images."""

    sampling: SamplingConfig
    label: int | None
    images: int

    def labels(self, num_classes: int) -> Int64[Tensor, " n"]:
        """Return the class of each image, as `edm-sweep sample` draws them."""
        if self.label is None:
            return labels_of(torch.arange(self.images), num_classes)
        return torch.full((self.images,), self.label)


def form_of(sampling: SamplingConfig, images: int) -> Form:
    """Return the form that a page begins with."""
    interval = ", ".join(f"{end:g}" for end in sampling.guidance_interval or ())
    return Form(
        None,
        str(sampling.sampler),
        sampling.steps,
        sampling.guidance,
        interval,
        sampling.s_churn,
        sampling.seed,
        images,
    )


def read(form: Form, network: Network) -> Wanted:
    """Check a form for a network; fields that the network or the sampler does not take are not read.

    Raises UserError, whose text names the field and says what to give.
    """
    images = _whole("number of images", form.images, 1, most_images(network))
    own = network.sampling.sampler  # one of an extension is an object, which the form names
    changes: dict[str, Any] = {
        "sampler": own if form.sampler == str(own) else form.sampler,
        "steps": _whole("steps", form.steps, 1, MOST_STEPS),
        "seed": _whole("seed", form.seed, 0, MOST_SEED),
    }
    if form.sampler in CHURNED_SAMPLERS:
        changes["s_churn"] = _number("churn", form.churn)
    if network.takes_guidance:
        changes["guidance"] = _number("guidance", form.guidance)
        changes["guidance_interval"] = _interval(form.interval)
    try:
        sampling = dataclasses.replace(network.sampling, **changes)
    except FieldError as error:
        raise UserError(f"{NAMES.get(error.field, error.field)}: {error.problem}") from None
    return Wanted(sampling, form.label if network.takes_label else None, images)


def samplers_of(network: Network) -> list[str]:
    """Return the samplers that the page offers for a network: all of edm, and its own one of an extension."""
    return list(dict.fromkeys([*get_args(Sampler), str(network.sampling.sampler)]))


def most_images(network: Network) -> int:
    """Return how many images of a network's size may be drawn at once."""
    numbers = network.model.config.image_channels * network.side**2
    return max(1, min(MOST_IMAGES, MOST_NUMBERS // numbers))


def _whole(name: str, value: float | None, least: int, most: int) -> int:
    if value is None or not least <= value <= most or value != int(value):
        raise UserError(f"{name}: {_shown(value)}; give a whole number from {least} to {most}")
    return int(value)


def _number(name: str, value: float | None) -> float:
    if value is None or math.isnan(value):
        raise UserError(f"{name}: {_shown(value)}; give a number")
    return float(value)


def _interval(text: str) -> tuple[float, float] | None:
    ends = text.replace(",", " ").split()
    if not ends:
        return None
    try:
        low, high = map(float, ends)
    except ValueError:
        problem = f"{text!r} is not two numbers; give two noise levels, such as 0.3, 5, or nothing to guide every step"
        raise UserError(f"guidance interval: {problem}") from None
    return low, high


def _shown(value: float | None) -> str:
    return "is empty" if value is None else f"{value:g} is not possible"
