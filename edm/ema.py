"""The average of the weights that is sampled from (EDM, appendix F.2)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

RAMP_UP = 0.05  # the half-life is never more than this share of the images seen


class Ema:
    """An exponential moving average of a module's parameters, its half-life in thousands of images."""

    def __init__(self, module: nn.Module, halflife_kimg: float) -> None:
        self.halflife_kimg = halflife_kimg
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._average: list[Tensor] = list(self.module.parameters())

    def decay(self, batch_size: int, seen_kimg: float) -> float:
        """How much of the average a step of `batch_size` images keeps once `seen_kimg` have been seen before it."""
        halflife = min(self.halflife_kimg, seen_kimg * RAMP_UP)
        return 0.5 ** (batch_size / 1000 / halflife) if halflife > 0 else 0.0

    @torch.no_grad()
    def update(self, module: nn.Module, batch_size: int, seen_kimg: float) -> None:
        """Move the average towards the parameters of `module`."""
        weight = 1 - self.decay(batch_size, seen_kimg)
        torch._foreach_lerp_(self._average, list(module.parameters()), weight)  # pyright: ignore[reportPrivateImportUsage]
