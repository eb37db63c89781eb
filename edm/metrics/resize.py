"""Resizing of images for feature extractors, by the rules of published scores: pytorch-fid's, clean-fid's, NVlabs'."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from torch import Tensor

from edm.config import Resize

SHARPNESS = -0.5  # a of the cubic convolution (Keys 1981), as in PIL; torch uses -0.75 without antialias
SUPPORT = 2.0  # source pixels on either side that the kernel reaches


def resize(images: UInt8[Tensor, "b c h w"], rule: Resize, side: int = 299) -> Float32[Tensor, "b c {side} {side}"]:
    """Resize images to `side` x `side` pixels; the result is in grey levels 0 to 255, not rounded.

    rule: `pytorch-fid` is bilinear without antialias, as pytorch-fid's network does. `clean` is bicubic with antialias,
    as PIL does for each channel in float, clipped (Parmar et al. 2022, "On aliased resizing"); torch's own differs from
    PIL by up to a hundredth of a grey level, this by less than a thousandth. `tensorflow` is TensorFlow 1's bilinear
    rule, without aligned corners, half-pixel centres or antialias, which is in the graph of the original Inception.
    Computed in float32; TF32 must be off.
    """
    if rule == "pytorch-fid":
        return F.interpolate(images.float(), size=(side, side), mode="bilinear", align_corners=False)
    weights = _cubic_weights if rule == "clean" else _corner_weights
    rows, columns = (weights(size, side, images.device) for size in images.shape[2:])
    return (rows @ (images.float() @ columns.T)).clip(0, 255)


@lru_cache(maxsize=16)
def _cubic_weights(size: int, side: int, device: torch.device) -> Float32[Tensor, "{side} {size}"]:
    """Return the matrix that resizes a line from `size` to `side` pixels; its rows sum to 1."""
    scale = size / side
    stretch = max(scale, 1.0)  # antialias: a pixel that covers several source pixels averages over them
    centres = (torch.arange(side, dtype=torch.float64) + 0.5) * scale
    pixels = torch.arange(size, dtype=torch.float64)
    weights = _cubic((pixels + 0.5 - centres[:, None]) / stretch)
    # PIL rounds the ends of the window to whole pixels, and gives pixels outside no weight
    first = (centres - SUPPORT * stretch + 0.5).floor()[:, None]
    end = (centres + SUPPORT * stretch + 0.5).floor()[:, None]
    weights = weights.where((pixels >= first) & (pixels < end), 0.0)
    return (weights / weights.sum(dim=1, keepdim=True)).to(device, torch.float32)


@lru_cache(maxsize=16)
def _corner_weights(size: int, side: int, device: torch.device) -> Float32[Tensor, "{side} {size}"]:
    """Return the matrix that resizes a line bilinearly with pixel i at i * size / side, as TensorFlow 1 does."""
    position = torch.arange(side, dtype=torch.float64) * (size / side)
    lower = position.floor().long()
    upper = (lower + 1).clip(max=size - 1)
    weights, share = torch.zeros(side, size, dtype=torch.float64), position - lower
    line = torch.arange(side)
    weights[line, lower] += 1 - share
    weights[line, upper] += share
    return weights.to(device, torch.float32)


def _cubic(x: Tensor) -> Tensor:
    """Return the cubic convolution kernel (Keys 1981, eq. 4)."""
    x = x.abs()
    near = ((SHARPNESS + 2) * x - (SHARPNESS + 3)) * x**2 + 1
    far = SHARPNESS * (((x - 5) * x + 8) * x - 4)
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
