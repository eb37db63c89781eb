"""Images resized to the size that a feature extractor expects, by the two rules that scores are published with."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from torch import Tensor

from edm.config import Resize

SHARPNESS = -0.5  # a of the cubic convolution (Keys 1981), as PIL has it; that of torch without antialias is -0.75
SUPPORT = 2.0  # source pixels to either side that a cubic reaches


def resize(images: UInt8[Tensor, "b c h w"], rule: Resize, side: int = 299) -> Float32[Tensor, "b c {side} {side}"]:
    """Images resized to `side` x `side` pixels, in grey levels 0 to 255, not rounded.

    pytorch-fid: bilinear, no antialias, as the network of pytorch-fid does it by itself. clean: bicubic with antialias
    as PIL does it for each channel in float, clipped (Parmar et al. 2022, "On aliased resizing"): torch's own is off by
    up to a hundredth of a grey level, this by less than a thousandth. In float32: not to be called where TF32 is on.
    """
    if rule == "pytorch-fid":
        return F.interpolate(images.float(), size=(side, side), mode="bilinear", align_corners=False)
    rows, columns = (_cubic_weights(size, side, images.device) for size in images.shape[2:])
    return (rows @ (images.float() @ columns.T)).clip(0, 255)


@lru_cache(maxsize=16)
def _cubic_weights(size: int, side: int, device: torch.device) -> Float32[Tensor, "{side} {size}"]:
    """The matrix that resizes a line of `size` pixels to `side` of them: every row sums to 1."""
    scale = size / side
    stretch = max(scale, 1.0)  # antialias: a pixel that stands for many is an average over as many
    centres = (torch.arange(side, dtype=torch.float64) + 0.5) * scale
    pixels = torch.arange(size, dtype=torch.float64)
    weights = _cubic((pixels + 0.5 - centres[:, None]) / stretch)
    # PIL rounds the window's ends to whole pixels; what lies outside weighs nothing or is cut off
    first = (centres - SUPPORT * stretch + 0.5).floor()[:, None]
    end = (centres + SUPPORT * stretch + 0.5).floor()[:, None]
    weights = weights.where((pixels >= first) & (pixels < end), 0.0)
    return (weights / weights.sum(dim=1, keepdim=True)).to(device, torch.float32)


def _cubic(x: Tensor) -> Tensor:
    """The cubic convolution kernel (Keys 1981, eq. 4)."""
    x = x.abs()
    near = ((SHARPNESS + 2) * x - (SHARPNESS + 3)) * x**2 + 1
    far = SHARPNESS * (((x - 5) * x + 8) * x - 4)
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
