"""Denoisers -> denoiser: what a label and a guidance scale make of a model."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from edm.precondition import Denoiser


@runtime_checkable
class DenoiserFunction(Protocol):
    """The contract that samplers build on: (x, sigma) -> denoised, sigma one number for the whole batch."""

    def __call__(self, x: Float[Tensor, "b c h w"], sigma: Float[Tensor, ""]) -> Float[Tensor, "b c h w"]: ...


def guided(model: Denoiser, labels: Int64[Tensor, " b"], guidance: float) -> DenoiserFunction:
    """Classifier-free guidance (Ho and Salimans 2022): lerp(D(x), D(x | label), guidance).

    At 1 and 0 one branch decides and one forward pass is made; else both branches go through in one batch, which is
    exact in evaluation mode and wrong in training mode (batch norm). A model without classes has the one branch only.
    """
    null = torch.full_like(labels, model.null_label)

    def one_branch(x: Tensor, sigma: Tensor) -> Tensor:
        return model(x, sigma.to(x).expand(len(x)), null if guidance == 0 else labels)

    def both_branches(x: Tensor, sigma: Tensor) -> Tensor:
        both = model(torch.cat([x, x]), sigma.to(x).expand(2 * len(x)), torch.cat([null, labels]))
        unconditional, conditional = both.chunk(2)
        return torch.lerp(unconditional, conditional, guidance)

    assert not model.training, "guidance needs evaluation mode"
    return one_branch if guidance in (0.0, 1.0) or not model.config.num_classes else both_branches
