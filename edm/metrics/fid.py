"""The Frechet inception distance (Heusel et al. 2017): mergeable statistics, the distance, the influence of each image.

Notation: m and S are mean and covariance, _g of generated and _r of real images; L_r is a factor, L_r L_r' = S_r.
With A = L_r' L_g = U diag(s) V', tr((S_r S_g)^(1/2)) is the sum of the singular values s, and the optimal-transport map
from the generated Gaussian to the real one is T = L_r U diag(1/s) U' L_r', whichever factors are used.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from edm.typed_torch import cholesky_ex, eigh, eigvalsh, norm, qr, svd

EPSILON = torch.finfo(torch.float64).eps
TOLERANCE = 1e-8  # largest relative error, by its own estimate, with which the fast route is accepted
GOLDEN = 0.6180339887498949  # its multiples modulo 1 have no pattern that a null space could be orthogonal to
BLOCK = 256  # rows or columns of a matrix product of which only a triangle is needed
ROWS = 1024  # images that are projected at a time


@dataclass(frozen=True)
class Statistics:
    """Count, mean and scatter (the sum of outer products about the mean) of feature vectors, in float64."""

    count: int
    mean: Float64[Tensor, " d"]
    scatter: Float64[Tensor, "d d"]

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> Statistics:
        """Return the statistics of a batch of features."""
        features = features.double()
        mean = features.mean(dim=0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    def merge(self, other: Statistics) -> Statistics:
        """Return the statistics of both sets together (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        shift = other.mean - self.mean
        correction = torch.outer(shift, shift) * (self.count * other.count / count)
        return Statistics(count, self.mean + shift * (other.count / count), self.scatter + other.scatter + correction)

    @property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """The unbiased covariance."""
        return self.scatter / (self.count - 1)

    @functools.cached_property
    def log_determinant(self) -> float | None:
        """Log-determinant of the covariance, or None if that is (numerically) singular; every split uses it."""
        lower = _cholesky(self.covariance)
        return None if lower is None else 2 * float(lower.diagonal().log().sum())

    @functools.cached_property
    def root(self) -> Float64[Tensor, "d r"]:
        """The factor of the covariance, as by `factor`; every split uses it where the covariance is singular."""
        return factor(self.covariance)

    def tensors(self) -> dict[str, Tensor]:
        """Return the statistics as tensors by name, for a file."""
        return {"count": torch.tensor(self.count), "mean": self.mean, "scatter": self.scatter}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Statistics:
        """Restore the statistics that `tensors` returned."""
        return cls(int(tensors["count"]), tensors["mean"], tensors["scatter"])


def factor(covariance: Float64[Tensor, "d d"]) -> Float64[Tensor, "d r"]:
    """Return L with L L' = covariance, for any symmetric positive semi-definite matrix of (numerical) rank r.

    If L is square, it is lower triangular. The rank is judged after scaling every feature to unit variance, so that
    small features count as much as large ones: directions with less than d * 2.2e-16 of the largest variance are
    rounding.
    """
    lower = _cholesky(covariance)
    if lower is not None:
        return lower
    variances = covariance.diagonal()
    scale = torch.where(variances > 0, variances, 1.0).sqrt()
    values, vectors = eigh(covariance / torch.outer(scale, scale))
    kept = values >= len(values) * EPSILON * values[-1]
    found = scale[:, None] * vectors[:, kept] * values[kept].clip(min=0).sqrt()
    return qr(found.T)[1].T if bool(kept.all()) else found


def _cholesky(covariance: Tensor) -> Tensor | None:
    """Return the Cholesky factor; None if the matrix does not have full (numerical) rank.

    The smallest eigenvalue of the correlations is found by inverse iteration, as the pivots do not show it.
    """
    lower, info = cholesky_ex(covariance)
    if int(info) != 0:
        return None
    size, scale = len(lower), covariance.diagonal().sqrt()[:, None]
    vector = torch.arange(1, size + 1, dtype=torch.float64, device=lower.device)[:, None] * GOLDEN % 1 - 0.5
    smallest = torch.inf
    for _ in range(2):  # one step would almost do, as rounding lies many orders below a real eigenvalue
        vector = scale * torch.cholesky_solve(scale * vector / norm(vector), lower)
        smallest = 1 / float(norm(vector))
    largest = float((covariance.abs() @ scale.reciprocal() / scale).max())  # no eigenvalue exceeds the largest row sum
    return lower if smallest > size * EPSILON * largest else None


@dataclass(frozen=True)
class Reference:
    """The statistics of real images that generated ones are scored against.

    count: number of images; None for published files that do not say. factor: of the covariance, as by `factor`.
    """

    count: int | None
    mean: Float64[Tensor, " d"]
    covariance: Float64[Tensor, "d d"]
    factor: Float64[Tensor, "d r"]

    @classmethod
    def of(cls, statistics: Statistics) -> Reference:
        """Return statistics with the factor of their covariance; raises ValueError for a single image."""
        _require_two(statistics.count)
        return cls.of_moments(statistics.mean, statistics.covariance, statistics.count)

    @classmethod
    def of_moments(
        cls, mean: Float[Tensor, " d"], covariance: Float[Tensor, "d d"], count: int | None = None
    ) -> Reference:
        """Return the reference of a mean and an unbiased covariance, for example those of a published file."""
        mean, covariance = mean.double(), covariance.double()
        return cls(count, mean, covariance, factor(covariance))

    def tensors(self) -> dict[str, Tensor]:
        """Return the reference as tensors by name, for a file; an unknown count is -1."""
        count = torch.tensor(-1 if self.count is None else self.count)
        return {"count": count, "mean": self.mean, "covariance": self.covariance, "factor": self.factor.contiguous()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Reference:
        """Restore the reference that `tensors` returned."""
        count = int(tensors["count"])
        return cls(None if count < 0 else count, tensors["mean"], tensors["covariance"], tensors["factor"])


@dataclass(frozen=True)
class Frechet:
    """A Frechet distance, and what its derivative with respect to the weight of each generated image needs.

    singular: the generated images do not span all directions in which the real ones vary, so that their covariance is
    singular where it matters. The influences then use the pseudo-inverse, which is right for these images with other
    weights but does not see what fresh images would add.
    """

    distance: float
    singular: bool
    _mean: Float64[Tensor, " d"]
    _shift: Float64[Tensor, " d"]  # m_g - m_r
    _projection: Float64[Tensor, "d r"]  # P with T = P P'
    _average: float  # tr((I - T) S_g)

    def influences(self, features: Float[Tensor, "n d"]) -> Float64[Tensor, " n"]:
        """Return the derivative of the distance with respect to the weight of each image that it was computed from.

        It is 2 (m_g - m_r)'c + c'(I - T)c - tr((I - T) S_g) with c = f - m_g, the infinitesimal jackknife (Efron 1982):
        its variance over the images, divided by their number, is the variance of the distance.
        """
        return torch.cat([self._influences(rows) for rows in torch.split(features, ROWS)])

    def _influences(self, features: Tensor) -> Tensor:
        centred = features.double() - self._mean
        quadratic = centred.square().sum(dim=1) - (centred @ self._projection).square().sum(dim=1)
        return 2 * centred @ self._shift + quadratic - self._average


def frechet(generated: Statistics, reference: Reference) -> Frechet:
    """Return the squared Frechet distance of Gaussians with these moments, with what the influences of images need.

    It is exact to 1e-8 relative, also for singular and nearly equal covariances, where a matrix square root would lose
    half of the digits; it is never negative. Raises ValueError for a single image, or features of another dimension.
    """
    _require_comparable(generated, reference)
    distance, s, vectors = _by_eigenvectors(generated, reference) or _by_singular_vectors(generated, reference)
    kept = s > len(generated.mean) * EPSILON * s.max()
    return Frechet(
        distance=distance,
        singular=int(kept.sum()) < reference.factor.shape[1],
        _mean=generated.mean,
        _shift=generated.mean - reference.mean,
        _projection=reference.factor @ (vectors[:, kept] / s[kept].sqrt()),
        _average=_trace(generated) - float(s.sum()),
    )


def frechet_distance(a: Statistics, b: Statistics | Reference) -> float:
    """Return the distance that `frechet` returns, in half the time."""
    reference = b if isinstance(b, Reference) else Reference.of(b)
    _require_comparable(a, reference)
    compressed = _compress(a, reference)
    if compressed is not None:
        distance = _distance_if_exact(eigvalsh(compressed.lower), compressed, a, reference)
        if distance is not None:
            return distance
    return _by_singular_vectors(a, reference)[0]


def _require_two(count: int) -> None:
    if count < 2:
        raise ValueError(f"a covariance needs at least 2 images, and there is {count}: generate or read more")


def _require_comparable(generated: Statistics, reference: Reference) -> None:
    _require_two(generated.count)
    if len(generated.mean) != len(reference.mean):
        raise ValueError(
            f"statistics of {len(generated.mean)} features cannot be scored against a reference of "
            f"{len(reference.mean)}: take both from the same feature space"
        )


@dataclass(frozen=True)
class _Compressed:
    """The matrix M = L_r' S_g L_r, whose eigenvalues are s**2: its lower triangle, all that eigh and eigvalsh read.

    log_determinant: from Cholesky factors, where both sides have one; it is exact where eigenvalues may not be.
    """

    lower: Float64[Tensor, "r r"]
    log_determinant: float | None


def _compress(generated: Statistics, reference: Reference) -> _Compressed | None:
    """Return M, or None where S_g is singular: eigenvalues that should be 0 are rounding then, with large roots."""
    right, size = reference.factor, reference.factor.shape[1]
    triangular = size == len(right)
    own = generated.log_determinant if generated.count > size else None
    if own is None:
        return None
    blocks = [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]
    covariance, half, product = generated.covariance, torch.zeros_like(right), right.new_zeros(size, size)
    for block in blocks:
        rows = slice(block.start if triangular else 0, None)  # the entries above are zeros
        half[rows, block] = covariance[rows, rows] @ right[rows, block]
    for block in blocks:
        rows = slice(block.start if triangular else 0, None)
        product[block, : block.stop] = right[rows, block].T @ half[rows, : block.stop]
    real = 2 * float(right.diagonal().abs().log().sum()) if triangular else None
    return _Compressed(product, None if real is None else own + real)


def _distance_if_exact(
    values: Tensor, compressed: _Compressed, generated: Statistics, reference: Reference
) -> float | None:
    """Return the distance from the eigenvalues of M, or None where their rounding could affect it."""
    if float(values[0]) <= 0:
        return None
    shift = generated.mean - reference.mean
    traces = _trace(generated) + float(reference.covariance.trace())
    distance = float(shift @ shift - 2 * values.sqrt().sum()) + traces
    error = _rounding(values, compressed.log_determinant) + 4 * EPSILON * traces
    return distance if error <= TOLERANCE * distance else None


def _trace(statistics: Statistics) -> float:
    return float(statistics.scatter.trace()) / (statistics.count - 1)


def _rounding(values: Tensor, log_determinant: float | None) -> float:
    """Estimate the error of twice the sum of s, given eigenvalues s**2 with rounding errors.

    At worst each eigenvalue is off by about eps times the largest, with either sign, and its s by that over 2 s. Small
    ones are far better than that where the large ones come first in M, as they mostly do; then their product is close
    to the determinant. Relative errors that add up to `missed` in the log-determinant add up to about missed * s here,
    for the s of the small ones, which have most of the error. The estimate is 10 times that, since signs may cancel.
    """
    inverses = values.reciprocal().sum()
    worst = EPSILON * float(values[-1] * inverses.sqrt())
    if log_determinant is None:
        return worst
    missed = abs(float(values.log().sum()) - log_determinant)
    return min(worst, 10 * missed * float((len(values) / inverses).sqrt()))


def _by_eigenvectors(generated: Statistics, reference: Reference) -> tuple[float, Tensor, Tensor] | None:
    """Return distance, s and U from M = U diag(s**2) U', the fast route; None if it is not exact enough."""
    compressed = _compress(generated, reference)
    if compressed is None:
        return None
    values, vectors = eigh(compressed.lower)
    distance = _distance_if_exact(values, compressed, generated, reference)
    return None if distance is None else (distance, values.sqrt(), vectors)


def _by_singular_vectors(generated: Statistics, reference: Reference) -> tuple[float, Tensor, Tensor]:
    """Return distance, s and U from A = U diag(s) V', the exact route.

    With the polar factor Q = U V', the distance of the covariances is the squared norm of L_g - L_r Q (or of
    L_g Q' - L_r, whichever keeps all columns): no large numbers cancel, and errors of Q enter in second order.
    """
    real, own = reference.factor, generated.root
    left, s, right = svd(real.T @ own)
    wide = real.shape[1] <= own.shape[1]
    residual = own - (real @ left) @ right if wide else (own @ right.T) @ left.T - real
    shift = generated.mean - reference.mean
    return float(shift @ shift + residual.square().sum()), s, left
