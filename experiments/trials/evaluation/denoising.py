"""How the first images of an evaluation came out of noise: kept beside the images, and shown as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from edm.config import SamplingConfig
from edm.generate import labels_of
from edm.pictures import Moment, save_trajectory
from edm.precondition import Denoiser
from experiments.trials.pictures import draw_moments

NOISY, DENOISED, SIGMAS = "noisy", "denoised", "sigmas"
SHOWN, STEPS = 2, 8  # images and, at most, steps in the picture
LARGEST = 64  # pixels a side of an image in it; a report's page holds many of these pictures


def record_denoising(models: tuple[Denoiser, Denoiser | None], sampling: SamplingConfig) -> dict[str, Tensor]:
    """Draw the first images once more and return their states and the denoiser's outputs at some steps."""
    model, guide = models
    labels = labels_of(torch.arange(SHOWN), model.config.num_classes)
    moments, _ = draw_moments(model, guide, sampling, labels, STEPS)
    return {
        NOISY: torch.stack([moment.noisy for moment in moments]),
        DENOISED: torch.stack([moment.denoised for moment in moments]),
        SIGMAS: torch.tensor([moment.sigma for moment in moments], dtype=torch.float64),
    }


def save_denoising(recorded: Mapping[str, Tensor], images: UInt8[Tensor, "n c h w"], path: Path) -> None:
    """Write what `record_denoising` returned as a picture, with the images that came out."""
    shown = images[:SHOWN]
    steps = zip(recorded[SIGMAS].tolist(), recorded[NOISY], recorded[DENOISED], strict=True)
    moments = [Moment(sigma, *(_reduced(state[: len(shown)]) for state in states)) for sigma, *states in steps]
    save_trajectory(moments, _reduced(shown), path)


def _reduced(images: UInt8[Tensor, "n c h w"]) -> UInt8[Tensor, "n c h w"]:
    """Images of at most LARGEST pixels a side, averaged over squares where they are larger."""
    factor = -(-images.shape[-1] // LARGEST)
    return F.avg_pool2d(images.double(), factor).round().to(torch.uint8) if factor > 1 else images
