"""Drawing of images from a trained model: any slice of its endless stream of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from edm.config import Extension, FieldError, SamplingConfig
from edm.data.dataset import to_uint8
from edm.guidance import guided
from edm.networks.compiling import can_compile, compiled
from edm.noise import Stream, normals
from edm.precondition import Denoiser
from edm.samplers import OnStep, sample

COMPILED_FLOPS = 7e15  # 76 s of an H200; compiling took 19 s there, and left 44 s to draw


class NotFiniteError(ValueError):
    """Drawn images have NaN or infinite values, which would make every score of them wrong."""


@dataclass(frozen=True)
class Drawn:
    """Consecutive images of a stream, and the classes that they are to show."""

    images: UInt8[Tensor, "b c h w"]
    labels: Int64[Tensor, " b"]


def labels_of(index: Int64[Tensor, " b"], num_classes: int) -> Int64[Tensor, " b"]:
    """Return the class of each image: its index modulo the number of classes, so that classes are balanced.

    Without classes (`num_classes` 0) it is 0.
    """
    return index % num_classes if num_classes else torch.zeros_like(index)


def pays_to_compile(flops: float, device: torch.device) -> bool:
    """Return whether networks should be compiled to draw images that take so many floating-point operations.

    It does not depend on how the images are split among batches and processes, so that all of them agree: a compiled
    network rounds its numbers in other places. On a CPU, compiling takes minutes and gains nothing.
    """
    return device.type == "cuda" and flops >= COMPILED_FLOPS and can_compile(device.type)


def compiled_denoiser(model: Denoiser) -> Denoiser:
    """Return a denoiser to draw with: it has the weights of `model`, and its network is compiled."""
    return Denoiser(model.config, model.sigma_data, compiled(model.network)).eval()


def generate(
    model: Denoiser, config: SamplingConfig, start: int, stop: int, batch_size: int, guide: Denoiser | None = None
) -> Iterator[Drawn]:
    """Draw images start to stop - 1 and yield them in batches, quantised to uint8, on the model's device.

    Image i depends on (config.seed, i) only: every batch is padded to `batch_size`, so that the last one runs the same
    kernels as the rest. guide: the weaker network of autoguidance. Raises NotFiniteError for NaN or infinite values,
    which quantising would hide, and FieldError as `draw` does.
    """
    device = next(model.parameters()).device
    for first in range(start, stop, batch_size):
        index = torch.arange(first, first + batch_size, device=device)
        labels = labels_of(index, model.config.num_classes)
        kept = min(batch_size, stop - first)
        images = draw(model, config, index, labels, guide)[:kept]
        _require_finite(images, first, config)
        yield Drawn(to_uint8(images), labels[:kept])


def _require_finite(images: Float64[Tensor, "b c h w"], first: int, config: SamplingConfig) -> None:
    bad = torch.nonzero(~images.isfinite().flatten(1).all(dim=1))
    if not len(bad):
        return
    own = f"the sampler {config.sampler} ({config.sampler.where}), " if isinstance(config.sampler, Extension) else ""
    remedy = f"check {own}guidance, sigma_max and the training, which may have diverged"
    if config.precision != "fp32":
        remedy = f"sampling precision {config.precision} may be too coarse, try fp32"
    what = f"image {first + int(bad[0])} holds values that are not finite numbers ({len(bad)} of {len(images)} do)"
    raise NotFiniteError(f"{what}; {remedy}")


@torch.no_grad()
def draw(
    model: Denoiser,
    config: SamplingConfig,
    index: Int64[Tensor, " b"],
    labels: Int64[Tensor, " b"],
    guide: Denoiser | None = None,
    on_step: OnStep | None = None,
) -> Float64[Tensor, "b c h w"]:
    """Draw the images at `index` of the stream with the given labels; values are about [-1, 1], not clipped.

    guide: the weaker network of autoguidance. on_step: called before every step, as by edm.samplers.sample. Raises
    FieldError if the network cannot take config.resolution, or if config.guide is set and no guide is given.
    """
    shape = _shape(model, config)

    def noise(step: int) -> Tensor:
        return normals(config.seed, Stream.SAMPLING, index, shape, step)

    denoiser = guided(model, labels, config, guide)
    return sample(denoiser, noise(0), config, lambda step: noise(step + 1), on_step)


def _shape(model: Denoiser, config: SamplingConfig) -> tuple[int, int, int]:
    """Return channels, height and width of the images to draw."""
    channels, trained, _ = model.image_shape
    halvings = model.config.halvings
    resolution, whole = config.resolution or trained, 2**halvings
    if resolution % whole:
        problem = f"{resolution} pixels cannot be halved {halvings} times; give a multiple of {whole}"
        raise FieldError("resolution", problem)
    return channels, resolution, resolution
