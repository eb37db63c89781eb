"""The kernel inception distance, KID (Binkowski et al. 2018): an unbiased estimate of MMD^2 over all pairs of images.

Sets of features come as sequences of pieces of shape [m, d], which are read several times; memory use does not grow
with their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from edm.metrics.neighbours import Device, in_groups
from edm.metrics.uncertainty import standard_error


@dataclass(frozen=True)
class KernelDistance:
    """An unbiased estimate of MMD^2, which can be below 0, and the influence of each generated image (sum 0)."""

    value: float
    influences: Float64[Tensor, " n"]

    @property
    def standard_error(self) -> float:
        """Standard error over fresh generated images, given the real ones.

        It is that of the Hajek projection, estimated on the same images: too large, by at most sqrt(2), where the two
        distributions are almost equal.
        """
        return standard_error(self.influences)


def kernel_distance(
    generated: Sequence[Tensor],
    real: Sequence[Tensor],
    device: Device = "cpu",
    real_mean: float | None = None,
    generated_sums: Float64[Tensor, " n"] | None = None,
) -> KernelDistance:
    """Return MMD^2 with the kernel (x'y/d + 1)^3, in float64.

    real_mean, generated_sums: `mean_kernel(real)` and `kernel_sums(generated)`, if they were computed before. Raises
    ValueError for fewer than 2 images on either side, or features of different dimensions.
    """
    num, num_real = _size(generated, "generated"), _size(real, "real")
    if generated[0].shape[1] != real[0].shape[1]:
        raise ValueError(
            f"features of {generated[0].shape[1]} and of {real[0].shape[1]} dimensions have no kernel distance; "
            "take both from the same feature space"
        )
    sums = kernel_sums(generated, device) if generated_sums is None else generated_sums
    within = sums / (num - 1)
    across = _cross_sums(generated, real, device) / num_real
    real_mean = mean_kernel(real, device) if real_mean is None else real_mean
    influences = 2 * (within - across)
    value = float(within.mean() - 2 * across.mean()) + real_mean
    return KernelDistance(value, influences - influences.mean())


def mean_kernel(real: Sequence[Tensor], device: Device = "cpu") -> float:
    """Return the mean of the kernel over all pairs of different images of one set."""
    num = _size(real, "real")
    return float(kernel_sums(real, device).mean() / (num - 1))


def _size(pieces: Sequence[Tensor], name: str) -> int:
    """Return the number of images; raises ValueError for fewer than 2."""
    num = sum(len(piece) for piece in pieces)
    if num < 2:
        raise ValueError(f"a kernel distance needs at least 2 {name} images, and there are {num}; add more")
    return num


def _kernel(x: Float64[Tensor, "n d"], y: Float64[Tensor, "m d"]) -> Float64[Tensor, "n m"]:
    return (x @ y.T).div_(x.shape[1]).add_(1).pow_(3)


def kernel_sums(pieces: Sequence[Tensor], device: Device = "cpu") -> Float64[Tensor, " n"]:
    """Return the sum of the kernel of each image with all others of its set; each pair is computed once."""
    sums = torch.zeros(sum(len(piece) for piece in pieces), dtype=torch.float64, device=device)
    start = 0
    for following, group in in_groups(pieces, device):
        stop = start + len(group)
        own = sums[start:stop]
        own += _kernel(group, group).fill_diagonal_(0).sum(dim=1)
        for index in range(following, len(pieces)):
            kernel = _kernel(group, pieces[index].to(device).double())
            own += kernel.sum(dim=1)
            sums[stop : stop + kernel.shape[1]] += kernel.sum(dim=0)
            stop += kernel.shape[1]
        start += len(group)
    return sums.cpu()


def _cross_sums(generated: Sequence[Tensor], real: Sequence[Tensor], device: Device) -> Float64[Tensor, " n"]:
    """Return the sum of the kernel of each generated image with all real ones."""
    sums: list[Tensor] = []
    for _, group in in_groups(generated, device):
        total = torch.zeros(len(group), dtype=torch.float64, device=device)
        for piece in real:
            total += _kernel(group, piece.to(device).double()).sum(dim=1)
        sums.append(total)
    return torch.cat(sums).cpu()
