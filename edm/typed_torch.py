"""Functions that torch's stubs leave without types, with types, so that the type checker is overruled in one place."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


def floats(values: Tensor) -> list[float]:
    """Return the numbers of a one-dimensional tensor."""
    return cast(list[float], values.tolist())  # pyright: ignore[reportUnknownMemberType]


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, ascending, and eigenvectors of a symmetric matrix; only its lower triangle is read."""
    return torch.linalg.eigh(matrix)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def eigvalsh(matrix: Tensor) -> Tensor:
    """Return the eigenvalues, ascending, of a symmetric matrix; only its lower triangle is read."""
    return torch.linalg.eigvalsh(matrix)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the reduced singular value decomposition: U, s and V'."""
    return torch.linalg.svd(matrix, full_matrices=False)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def qr(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the reduced QR decomposition."""
    return torch.linalg.qr(matrix)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def cholesky_ex(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lower Cholesky factor and a number that is not 0 where the matrix is not positive definite."""
    return torch.linalg.cholesky_ex(matrix)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def norm(vector: Tensor) -> Tensor:
    """Return the Euclidean norm of all elements."""
    return cast(Tensor, vector.norm())  # pyright: ignore[reportUnknownMemberType]


def lengths(x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Return the Euclidean norms along `dim` in float32; their gradient at zero is zero."""
    return torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=torch.float32)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def normal_cdf(values: Tensor) -> Tensor:
    """Return the distribution function of the standard normal distribution."""
    return torch.special.ndtr(values)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def normal_quantile(probabilities: Tensor) -> Tensor:
    """Return the quantile function of the standard normal distribution."""
    return torch.special.ndtri(probabilities)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def normalise_in_place(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """Return `norm(x)` as in evaluation mode, in the memory of x, which must not need a gradient."""
    moments = norm.running_mean, norm.running_var
    torch.native_batch_norm(
        x, norm.weight, norm.bias, *moments, False, 0.0, norm.eps, out=(x, x.new_empty(0), x.new_empty(0))
    )
    return x
