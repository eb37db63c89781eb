"""Mirrored images, and EDM's non-leaky augmentation, which conditions the network (EDM, appendix F.2 and Table 6).

Transforms are applied in the order of the fields of `AugmentParameters`: both flips, scale, rotation, stretch, shift.
Coordinates are pixels from the centre of the image, x to the right and y down; positive angles turn counter-clockwise
as seen by the viewer. docs/augmentation.md shows every transform.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor

from edm.config import AUGMENT_LABELS, Extension, TrainingConfig
from edm.noise import Stream, normals, uniforms
from edm.registry import Registration, Registry
from edm.typed_torch import normal_cdf

LOG2_SCALE_STD = 0.2  # for scale and stretch
SHIFT_STD = 0.125  # in units of the image's size
OBLIQUE_SHARE = 0.5  # of stretches have a random direction, the others are along the x axis

LOBES = 4  # of the Lanczos filter: a warp is at most 3% off below 0.6 of the Nyquist frequency


@dataclass(frozen=True)
class AugmentParameters:
    """The transforms of each image of a batch, in this order; 0 is none. All but the angles are in EDM's units."""

    x_flip: Bool[Tensor, " b"]
    y_flip: Bool[Tensor, " b"]
    scale: Float64[Tensor, " b"]  # larger by 2**(0.2 scale)
    rotation: Float64[Tensor, " b"]  # radians
    stretch: Float64[Tensor, " b"]  # longer by 2**(0.2 stretch) along `direction`, shorter by as much across it
    direction: Float64[Tensor, " b"]  # radians from the x axis
    shift: Float64[Tensor, "b 2"]  # to the right and down, in eighths of the image's size

    @property
    def labels(self) -> Float32[Tensor, "b 9"]:
        """The numbers that condition the network; all zero for an image that is not augmented (EDM, Table 6)."""
        columns = [
            self.x_flip,
            self.y_flip,
            self.scale,
            self.rotation.cos() - 1,
            self.rotation.sin(),
            self.stretch * self.direction.cos(),
            self.stretch * self.direction.sin(),
            *self.shift.unbind(dim=1),
        ]
        return torch.stack([column.float() for column in columns], dim=1)

    @property
    def is_warp(self) -> Bool[Tensor, " b"]:
        """Whether an image needs more than flips."""
        return (self.scale != 0) | (self.rotation != 0) | (self.stretch != 0) | (self.shift != 0).any(dim=1)

    def matrix(self, height: int, width: int) -> Float64[Tensor, "b 3 3"]:
        """Return the affine map of points (x, y, 1) of the flipped image: scale, then rotation, stretch and shift."""
        shift = translation(self.shift[:, 0] * SHIFT_STD * width, self.shift[:, 1] * SHIFT_STD * height)
        factor, length = (2 ** (LOG2_SCALE_STD * number) for number in (self.scale, self.stretch))
        along = rotation(self.direction) @ scaling(length, 1 / length) @ rotation(-self.direction)
        return shift @ along @ rotation(self.rotation) @ scaling(factor, factor)


def scaling(x: Float64[Tensor, " b"], y: Float64[Tensor, " b"]) -> Float64[Tensor, "b 3 3"]:
    """Return matrices that enlarge by the factors `x` and `y`."""
    zero = torch.zeros_like(x)
    return _affine([x, zero, zero], [zero, y, zero])


def rotation(angle: Float64[Tensor, " b"]) -> Float64[Tensor, "b 3 3"]:
    """Return matrices that rotate counter-clockwise by `angle`, in radians; y points down, hence the sine's sign."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _affine([cos, sin, zero], [-sin, cos, zero])


def translation(x: Float64[Tensor, " b"], y: Float64[Tensor, " b"]) -> Float64[Tensor, "b 3 3"]:
    """Return matrices that shift by `x` pixels to the right and `y` pixels down."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _affine([one, zero, x], [zero, one, y])


def _affine(first: list[Tensor], second: list[Tensor]) -> Float64[Tensor, "b 3 3"]:
    """Return matrices of these two rows above (0, 0, 1)."""
    zero, one = torch.zeros_like(first[0]), torch.ones_like(first[0])
    return torch.stack([*first, *second, zero, zero, one], dim=1).reshape(-1, 3, 3)


def flip(images: Float[Tensor, "b c h w"], seed: int, index: Int64[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
    """Mirror half of the images left to right, which does not condition the network (EDM's xflip).

    index: positions in the endless stream of training images, which decide with `seed` which images are mirrored.
    """
    return _flipped(images, uniforms(seed, Stream.FLIP, index) < 0.5, dim=3)


def augment(
    images: Float[Tensor, "b c h w"], seed: int, index: Int64[Tensor, " b"], probability: float
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b 9"]]:
    """Transform images in [-1, 1] at random; return them and the numbers that condition the network (EDM, F.2).

    probability: of each transform, 0 to 1; at 0 images come back unchanged. index: positions in the endless stream of
    training images, which decide with `seed` about the transforms. Interpolation overshoots [-1, 1], at a hard edge by
    a third.
    """
    if probability == 0:
        return images, images.new_zeros(len(images), AUGMENT_LABELS)
    parameters = draw(seed, index, probability)
    return transform(images, parameters), parameters.labels.to(images.dtype)


Augment = Callable[[Tensor, int, Tensor], tuple[Tensor, Tensor]]  # (images, seed, index) -> images, augment labels


def _by_edm(config: TrainingConfig) -> Augment:
    if config.augment == 0:
        return lambda images, seed, index: (images, images.new_zeros(len(images), 0))
    return lambda images, seed, index: augment(images, seed, index, config.augment)


def _by_extension(registration: Registration, extension: Extension) -> Callable[[TrainingConfig], Augment]:
    function = registration.bound(extension)

    def transformed(images: Tensor, seed: int, index: Tensor) -> tuple[Tensor, Tensor]:
        def numbers(count: int) -> Tensor:
            return normals(seed, Stream.AUGMENTATION, index, (count,))

        return function(images, numbers), images.new_zeros(len(images), 0)

    return lambda config: transformed


OWN_AUGMENTATIONS: dict[str, Callable[[TrainingConfig], Augment]] = {"edm": _by_edm}
AUGMENTATIONS = Registry(OWN_AUGMENTATIONS, _by_extension)


def draw(seed: int, index: Int64[Tensor, " b"], probability: float) -> AugmentParameters:
    """Draw random parameters for the images at `index` (EDM, Table 6).

    The x-flip has probability 1/2 for any `probability` above 0, as in EDM.
    """
    # one call for all numbers takes little longer than one for a single number; normal_cdf makes uniform ones of them
    numbers = normals(seed, Stream.AUGMENTATION, index, (13,)).double().unbind(dim=1)
    x_coin, y_coin, scale, turn, stretch, oblique, right, down, *gates = numbers
    flips, scales, turns, stretches, shifts = (normal_cdf(gate) < probability for gate in gates)
    along = 2 * normal_cdf(oblique) / OBLIQUE_SHARE - 1  # of half a turn; beyond 1 where the stretch is not oblique
    return AugmentParameters(
        x_flip=(x_coin < 0) & (probability > 0),
        y_flip=(y_coin < 0) & flips,  # a fair coin, as in EDM: half of `probability`
        scale=scale * scales,
        rotation=math.pi * (2 * normal_cdf(turn) - 1) * turns,
        stretch=stretch * stretches,
        direction=math.pi * along * ((along < 1) & stretches),
        shift=torch.stack([right, down], dim=1) * shifts[:, None],
    )


def transform(images: Float[Tensor, "b c h w"], parameters: AugmentParameters) -> Float[Tensor, "b c h w"]:
    """Apply transforms to images; those that are not warped keep their exact values."""
    images = _flipped(images, parameters.x_flip, dim=3)
    images = _flipped(images, parameters.y_flip, dim=2)
    # torch.where, as selecting the images to warp would make the host wait for the device
    warped = warp(images, parameters.matrix(*images.shape[2:]))
    return torch.where(parameters.is_warp[:, None, None, None], warped, images)


def _flipped(images: Tensor, chosen: Tensor, dim: int) -> Tensor:
    """Mirror the chosen images along `dim`."""
    return torch.where(chosen[:, None, None, None], images.flip(dim), images)


def warp(images: Float[Tensor, "b c h w"], matrix: Float64[Tensor, "b 3 3"]) -> Float[Tensor, "b c h w"]:
    """Move every point p, in pixels from the centre, to `matrix` p; outside lies the image's reflection.

    Images are interpolated and resampled at twice their resolution and filtered on the way back, so that little is
    blurred and shrinking does not alias.
    """
    # rounding hides the last bits of sines and powers, which differ by device and batch size
    grid = _source_grid(matrix.float().double(), *images.shape[2:]).to(images.dtype)
    # each function works on the last axis: transpose for the other
    fine = _upsampled(_upsampled(images).mT).mT
    fine = F.grid_sample(fine, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return _downsampled(_downsampled(fine).mT).mT


def _source_grid(matrix: Tensor, height: int, width: int) -> Tensor:
    """Return where each pixel of the doubled output comes from, as grid_sample counts: edges at -1 and 1."""
    (xx, xy, x0), (yx, yy, y0) = (row[..., None, None].unbind(dim=1) for row in _inverse(matrix).unbind(dim=1)[:2])
    x = (torch.arange(2 * width, device=matrix.device) + 0.5) / 2 - width / 2
    y = ((torch.arange(2 * height, device=matrix.device) + 0.5) / 2 - height / 2)[:, None]
    return torch.stack([(xx * x + xy * y + x0) * 2 / width, (yx * x + yy * y + y0) * 2 / height], dim=-1)


def _inverse(matrix: Tensor) -> Tensor:
    """Return the inverse affine maps, written out because torch.linalg.inv makes the host wait for the device."""
    (xx, xy, x0), (yx, yy, y0) = (row.unbind(dim=1) for row in matrix.unbind(dim=1)[:2])
    det = xx * yy - xy * yx
    xx, xy, yx, yy = yy / det, -xy / det, -yx / det, xx / det
    return _affine([xx, xy, -(xx * x0 + xy * y0)], [yx, yy, -(yx * x0 + yy * y0)])


def _lanczos(t: float) -> float:
    """Return the Lanczos kernel at `t` pixels; `t` is not 0."""
    return LOBES * math.sin(math.pi * t) * math.sin(math.pi * t / LOBES) / (math.pi * t) ** 2


# doubled pixels lie a quarter of a pixel beside the centres; both phases sum to 1, so that constants stay constant
_HALF = [_lanczos((k + 0.5) / 2) for k in range(2 * LOBES)]
TAPS = [tap / sum(_HALF) for tap in (*reversed(_HALF), *_HALF)]


def _upsampled(images: Tensor) -> Tensor:
    """Double the number of pixels along the last axis."""
    padded = _reflected(images, LOBES)
    left, right = _filtered(padded[..., :-1], TAPS[0::2]), _filtered(padded[..., 1:], TAPS[1::2])
    return torch.stack([left, right], dim=-1).flatten(-2)


def _downsampled(images: Tensor) -> Tensor:
    """Halve the number of pixels along the last axis."""
    return _filtered(_reflected(images, 2 * LOBES - 1), TAPS, stride=2) / 2


def _filtered(padded: Tensor, taps: list[float], stride: int = 1) -> Tensor:
    """Return the sum of successive pixels of the last axis weighted by `taps`, at every `stride`-th pixel.

    It adds tap by tap, since a convolution may round to TF32, and differently for another batch size.
    """
    end = padded.shape[-1] - len(taps) + 1
    return reduce(torch.add, (tap * padded[..., k : k + end : stride] for k, tap in enumerate(taps)))


def _reflected(images: Tensor, margin: int) -> Tensor:
    """Extend images by `margin` pixels of their reflection at both ends of the last axis, as grid_sample does."""
    width = images.shape[-1]
    position = torch.arange(-margin, width + margin, device=images.device) % (2 * width)
    return images[..., torch.minimum(position, 2 * width - 1 - position)]
