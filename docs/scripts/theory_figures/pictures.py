"""Data of the figures of images: denoising step by step, where the slope points, and nearest training images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edm.config import SamplingConfig
from edm.data.dataset import to_uint8
from edm.generate import draw, labels_of
from edm.metrics.features import extract
from edm.metrics.memorisation import pixel_rows
from edm.metrics.neighbours import nearest
from edm.precondition import Denoiser
from edm.validation import VALIDATION_IMAGES, validation_losses
from theory_figures.networks import CPU, Trained
from theory_figures.plane import Arrays

NUM_IMAGES, NUM_COLUMNS = 5, 8
STEPWISE = SamplingConfig(sampler="heun", steps=18)
FINE = SamplingConfig(sampler="heun", steps=200)  # so that neighbouring states give the slope
SLOPES_AT = (20.0, 4.0, 1.5, 0.7, 0.3, 0.1)
NEIGHBOURS = 8


@dataclass(frozen=True)
class Walk:
    """The noise levels, states and outputs of a sampler's steps, [step, image, channel, height, width], and the images."""

    sigmas: list[float]
    states: Tensor
    denoised: Tensor
    images: Tensor


def walk(model: Denoiser, sampling: SamplingConfig, num: int) -> Walk:
    """Draw images and return every step."""
    sigmas: list[float] = []
    states: list[Tensor] = []
    outputs: list[Tensor] = []

    def on_step(_step: int, sigma: float, x: Tensor, denoised: Tensor) -> None:
        sigmas.append(sigma)
        states.append(x)
        outputs.append(denoised)

    index = torch.arange(num)
    images = draw(model, sampling, index, labels_of(index, model.config.num_classes), on_step=on_step)
    return Walk(sigmas, torch.stack(states), torch.stack(outputs), images)


def denoising(trained: Trained) -> Arrays:
    """Return states, scaled back to the spread of images, and the network's outputs, at steps from first to last."""
    steps = walk(trained.model, STEPWISE, NUM_IMAGES)
    shown = [round(i * (STEPWISE.steps - 1) / (NUM_COLUMNS - 1)) for i in range(NUM_COLUMNS)]
    visible = [
        steps.states[i] * trained.model.sigma_data / math.hypot(steps.sigmas[i], trained.model.sigma_data)
        for i in shown
    ]
    return {
        "sigma": np.array([steps.sigmas[i] for i in shown]),
        "states": torch.stack(visible).numpy(),
        "denoised": steps.denoised[shown].numpy(),
        "images": steps.images.numpy(),
    }


def slope_of_digits(trained: Trained) -> Arrays:
    """Return, along one path of digits, the network's output and x - sigma dx/dsigma with the path's own slope."""
    steps = walk(trained.model, FINE, NUM_IMAGES)
    sigmas = torch.tensor(steps.sigmas)
    at = [int((sigmas.log() - math.log(level)).abs().argmin()) for level in SLOPES_AT]
    slopes = [(steps.states[i + 1] - steps.states[i - 1]) / (sigmas[i + 1] - sigmas[i - 1]).item() for i in at]
    pointed = torch.stack([steps.states[i] - sigmas[i] * slope for i, slope in zip(at, slopes, strict=True)])
    spread = trained.model.sigma_data / torch.hypot(sigmas[at], torch.tensor(trained.model.sigma_data))
    return {
        "sigma": sigmas[at].numpy(),
        "states": (steps.states[at] * spread[:, None, None, None, None]).numpy(),
        "pointed": pointed.numpy(),
        "denoised": steps.denoised[at].numpy(),
        "difference": (pointed - steps.denoised[at]).flatten(1).square().mean(dim=1).sqrt().numpy(),
    }


def losses(trained: Trained) -> tuple[dict[float, float], dict[float, float]]:
    """Return the validation loss by noise level of the network, and of one whose output is 0."""
    images, labels = trained.data.split("val")
    some = images[:VALIDATION_IMAGES], labels[:VALIDATION_IMAGES]
    silent = _Silent(trained.model)
    return validation_losses(trained.model, *some), validation_losses(silent, *some)


class _Silent(Denoiser):
    """A denoiser of the same kind whose network returns 0, as EDM's own does before training."""

    def __init__(self, like: Denoiser) -> None:
        super().__init__(like.config, like.sigma_data)
        self.network.register_forward_hook(lambda _module, _inputs, output: output * 0)
        self.eval()


def neighbours(trained: Trained) -> Arrays:
    """Return drawn images, their nearest training images in pixels and in features, and those of the 2023 study's way."""
    index = torch.arange(NEIGHBOURS)
    drawn = to_uint8(draw(trained.model, STEPWISE, index, labels_of(index, trained.model.config.num_classes)))
    images, _ = trained.data.split("train")
    classifier = trained.classifier()
    features = [extract(classifier, each, CPU)[0] for each in (drawn, images)]
    by_pixels = nearest(pixel_rows(drawn), [pixel_rows(images)])
    by_features = nearest(features[0], [features[1]])
    scrambled = scrambled_rows(pixel_rows(images))
    by_scrambled = nearest(pixel_rows(drawn), [scrambled])
    chosen = by_scrambled.indices[:, 0]
    return {
        "drawn": drawn.numpy(),
        "pixels": images[by_pixels.indices[:, 0]].numpy(),
        "features": images[by_features.indices[:, 0]].numpy(),
        "scrambled": images[chosen].numpy(),
        "compared": scrambled[chosen].reshape(-1, *images.shape[1:]).numpy(),
        "pixel_distances": by_pixels.distances[:, 0].numpy(),
        "scrambled_distances": (pixel_rows(drawn) - pixel_rows(images)[chosen]).norm(dim=1).numpy(),
    }


def scrambled_rows(rows: Tensor) -> Tensor:
    """Return rows [n, d] as the 2023 study compared them: reshaped to [d, n] where they had to be transposed."""
    return rows.reshape(rows.shape[1], rows.shape[0]).T
