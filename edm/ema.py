"""Averages of weights, which images are drawn from: exponential (EDM), and with a power function (EDM2)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn


class Ema:
    """An exponential moving average of the parameters of a module, kept in a copy of it, `module`.

    halflife_kimg: in thousands of images; 0 keeps the latest parameters. rampup: the half-life is at most this share of
    the images seen (EDM, appendix F.2); None is no limit.
    """

    def __init__(self, module: nn.Module, halflife_kimg: float, rampup: float | None) -> None:
        self.halflife_kimg, self.rampup = halflife_kimg, rampup
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._average: list[Tensor] = list(self.module.parameters())

    def decay(self, batch_size: int, seen_kimg: float) -> float:
        """Return the share of the average that a step of `batch_size` images after `seen_kimg` keeps."""
        halflife = self.halflife_kimg if self.rampup is None else min(self.halflife_kimg, seen_kimg * self.rampup)
        return 0.5 ** (batch_size / 1000 / halflife) if halflife > 0 else 0.0

    @torch.no_grad()
    def update(self, module: nn.Module, batch_size: int, seen_kimg: float) -> None:
        """Move the average towards the parameters of `module`."""
        move_towards(self._average, list(module.parameters()), 1 - self.decay(batch_size, seen_kimg))


class PowerEma:
    """Power-function averages of the parameters of a module, one per relative width (EDM2, section 3.1, eq. 4)."""

    def __init__(self, module: nn.Module, widths: Sequence[float]) -> None:
        self.widths = tuple(widths)
        self.names = [name for name, _ in module.named_parameters()]
        self.averages = [[p.detach().clone() for p in module.parameters()] for _ in widths]

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move every average towards the parameters of `module` after step number `step`, counted from 1."""
        for width, average in zip(self.widths, self.averages, strict=True):
            keep = (1 - 1 / step) ** (power_of_width(width) + 1)
            move_towards(average, list(module.parameters()), 1 - keep)

    def tensors(self) -> dict[str, Tensor]:
        """Return all averages, named "width/parameter", for a file."""
        pairs = zip(self.widths, self.averages, strict=True)
        return {f"{width}/{n}": p for width, average in pairs for n, p in zip(self.names, average, strict=True)}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the averages that `tensors` returned."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])


def move_towards(averages: list[Tensor], latest: list[Tensor], weight: float) -> None:
    """Move averages towards the latest values, in place, by a share `weight` of the way."""
    # private, but what torch's own optimizers use, and several times faster than a loop
    torch._foreach_lerp_(averages, latest, weight)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]


@lru_cache
def power_of_width(width: float) -> float:
    """Return gamma of the power function t**gamma with relative width `width`, which lies between 0 and 0.2887.

    It solves width**2 = (gamma + 1) / ((gamma + 2)**2 (gamma + 3)) (EDM2, eq. 123).
    """
    inverse = width**-2
    roots = np.roots([1, 7, 16 - inverse, 12 - inverse])
    return float(roots.real.max())


@dataclass(frozen=True)
class Snapshot:
    """A power-function average at some time: after `step` steps, with relative width `width`."""

    step: int
    width: float


def posthoc_coefficients(snapshots: Sequence[Snapshot], target: Snapshot) -> list[float]:
    """Return the coefficients of the snapshots whose sum is closest to `target`, by least squares (EDM2, section 3.2).

    Snapshots and target are averages over past weights with known profiles, so that the fit needs only the inner
    products of the profiles. The coefficients sum to 1.
    """
    gram = [[_inner_product(a, b) for b in snapshots] for a in snapshots]
    products = [_inner_product(a, target) for a in snapshots]
    # lstsq, as snapshots that are close together make the system nearly singular
    fitted = np.linalg.lstsq(np.array(gram), np.array(products), rcond=1e-14)[0]
    return (fitted / fitted.sum()).tolist()  # the best fit may sum to less, which would shrink every weight


def _inner_product(a: Snapshot, b: Snapshot) -> float:
    """Integrate the product of two profiles p(t) = (gamma + 1) t**gamma / step**(gamma + 1) on [0, step]."""
    early, late = sorted((a, b), key=lambda s: s.step)
    ge, gl = power_of_width(early.width), power_of_width(late.width)
    return (ge + 1) * (gl + 1) / (ge + gl + 1) * (early.step / late.step) ** gl / late.step


def combined(parts: Iterable[tuple[float, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """Return the weighted sum of tensors by name, in float32 but summed in float64."""
    total: dict[str, Tensor] = {}
    for weight, tensors in parts:
        for name, value in tensors.items():
            if name in total:
                total[name].add_(value.double(), alpha=weight)
            else:
                total[name] = value.double() * weight
    return {name: value.float() for name, value in total.items()}
