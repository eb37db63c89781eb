"""A trained model -> any slice of its image stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from edm.config import SamplingConfig
from edm.data.prepare import to_uint8
from edm.guidance import guided
from edm.noise import Stream, karras_sigmas, normals
from edm.precondition import Denoiser
from edm.samplers import sample


@dataclass(frozen=True)
class Drawn:
    """Some consecutive images of a stream and the classes they were asked to show."""

    images: UInt8[Tensor, "b c h w"]
    labels: Int64[Tensor, " b"]


def labels_of(index: Int64[Tensor, " b"], num_classes: int) -> Int64[Tensor, " b"]:
    """The class of image i: i modulo the number of classes, so balanced and the same for every cell."""
    return index % num_classes if num_classes else torch.zeros_like(index)


def generate(model: Denoiser, config: SamplingConfig, start: int, stop: int, batch_size: int) -> Iterator[Drawn]:
    """Draw images start to stop - 1, a batch at a time, quantised to uint8 on the model's device.

    Image i depends on (config.seed, i) alone. Every batch is padded to `batch_size`, so that a tail meets the same
    kernels as the rest and its images come out the same.
    """
    device = next(model.parameters()).device
    for first in range(start, stop, batch_size):
        index = torch.arange(first, first + batch_size, device=device)
        labels = labels_of(index, model.config.num_classes)
        images = to_uint8(draw(model, config, index, labels))
        kept = min(batch_size, stop - first)
        yield Drawn(images[:kept], labels[:kept])


@torch.no_grad()
def draw(model: Denoiser, config: SamplingConfig, index: Int64[Tensor, " b"], labels: Int64[Tensor, " b"]) -> Tensor:
    """The images of `index` with the given labels, float64, about [-1, 1]."""
    sigmas = karras_sigmas(config.steps, config.sigma_min, config.sigma_max, config.rho)

    def noise(step: int) -> Tensor:
        return normals(config.seed, Stream.SAMPLING, index, model.image_shape, step)

    denoiser = guided(model, labels, config.guidance)
    return sample(denoiser, noise(0), sigmas, config, lambda step: noise(step + 1))
