"""Statistics of features that merge, the Frechet distance between them (Heusel et al. 2017), and what each image adds.

Notation: m and S are mean and covariance, _g of generated and _r of real images; L_r is a factor, L_r L_r' = S_r.
With A = L_r' L_g = U diag(s) V', tr((S_r S_g)^(1/2)) is the sum of the singular values s, and the optimal-transport map
from the generated Gaussian to the real one is T = L_r U diag(1/s) U' L_r', whatever factors are taken.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from edm.noise import Stream, uniforms

EPSILON = torch.finfo(torch.float64).eps
TOLERANCE = 1e-8  # relative error of a distance that the fast route may have at most, by its own estimate
GOLDEN = 0.6180339887498949  # its multiples modulo 1 have no pattern that a null space might be orthogonal to
BLOCK = 512  # columns at a time where only a triangle is wanted
ROWS = 1024  # images at a time where each is projected
PREFIXES = 10


@dataclass(frozen=True)
class Statistics:
    """Count, mean and scatter (the sum of outer products about the mean) of features, in float64."""

    count: int
    mean: Float64[Tensor, " d"]
    scatter: Float64[Tensor, "d d"]

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> Statistics:
        """Statistics of a batch of features."""
        features = features.double()
        mean = features.mean(dim=0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    def merge(self, other: Statistics) -> Statistics:
        """Statistics of both sets together (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        shift = other.mean - self.mean
        correction = torch.outer(shift, shift) * (self.count * other.count / count)
        return Statistics(count, self.mean + shift * (other.count / count), self.scatter + other.scatter + correction)

    @property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """The unbiased covariance."""
        return self.scatter / (self.count - 1)

    @functools.cached_property
    def _log_determinant(self) -> float | None:
        """Of the covariance; None where that is (numerically) singular. Kept, since every split asks for it."""
        lower = _cholesky(self.covariance)
        return None if lower is None else 2 * float(lower.diagonal().log().sum())

    def tensors(self) -> dict[str, Tensor]:
        """By name, for a file."""
        return {"count": torch.tensor(self.count), "mean": self.mean, "scatter": self.scatter}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Statistics:
        """What `tensors` wrote."""
        return cls(int(tensors["count"]), tensors["mean"], tensors["scatter"])


def factor(covariance: Float64[Tensor, "d d"]) -> Float64[Tensor, "d r"]:
    """L with L L' = covariance, for any symmetric positive semi-definite matrix of (numerical) rank r.

    Square only if lower triangular. Rank is judged after scaling every feature to unit variance, so that small features
    count as much as large ones: a direction with less than d * 2.2e-16 of the largest is rounding.
    """
    lower = _cholesky(covariance)
    if lower is not None:
        return lower
    variances = covariance.diagonal()
    scale = torch.where(variances > 0, variances, 1.0).sqrt()
    values, vectors = torch.linalg.eigh(covariance / torch.outer(scale, scale))
    kept = values >= len(values) * EPSILON * values[-1]
    found = scale[:, None] * vectors[:, kept] * values[kept].clip(min=0).sqrt()
    return torch.linalg.qr(found.T).R.T if bool(kept.all()) else found


def _cholesky(covariance: Tensor) -> Tensor | None:
    """The Cholesky factor; None where the matrix has not (numerically) full rank.

    The smallest eigenvalue of the correlations is found by inverse iteration: the pivots alone do not tell.
    """
    lower, info = torch.linalg.cholesky_ex(covariance)
    if int(info) != 0:
        return None
    size, scale = len(lower), covariance.diagonal().sqrt()[:, None]
    vector = torch.arange(1, size + 1, dtype=torch.float64, device=lower.device)[:, None] * GOLDEN % 1 - 0.5
    smallest = torch.inf
    for _ in range(2):  # rounding is many orders below what it must be told from: one step would almost do
        vector = scale * torch.cholesky_solve(scale * vector / vector.norm(), lower)
        smallest = 1 / float(vector.norm())
    largest = float((covariance.abs() @ scale.reciprocal() / scale).max())  # no eigenvalue exceeds a row's sum
    return lower if smallest > size * EPSILON * largest else None


@dataclass(frozen=True)
class Reference:
    """What images are scored against: count (None where a published file does not tell), moments, and their factor."""

    count: int | None
    mean: Float64[Tensor, " d"]
    covariance: Float64[Tensor, "d d"]
    factor: Float64[Tensor, "d r"]  # as `factor` makes it

    @classmethod
    def of(cls, statistics: Statistics) -> Reference:
        """Statistics with the factor of their covariance; raises ValueError for a single image."""
        _require_two(statistics.count)
        return cls.of_moments(statistics.mean, statistics.covariance, statistics.count)

    @classmethod
    def of_moments(
        cls, mean: Float[Tensor, " d"], covariance: Float[Tensor, "d d"], count: int | None = None
    ) -> Reference:
        """From a mean and an unbiased covariance, of a published file for instance."""
        mean, covariance = mean.double(), covariance.double()
        return cls(count, mean, covariance, factor(covariance))

    def tensors(self) -> dict[str, Tensor]:
        """By name, for a file; an unknown count is -1."""
        count = torch.tensor(-1 if self.count is None else self.count)
        return {"count": count, "mean": self.mean, "covariance": self.covariance, "factor": self.factor.contiguous()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Reference:
        """What `tensors` wrote."""
        count = int(tensors["count"])
        return cls(None if count < 0 else count, tensors["mean"], tensors["covariance"], tensors["factor"])


@dataclass(frozen=True)
class Frechet:
    """A Frechet distance, and its derivative with respect to the weight of every generated image.

    `singular`: the generated images do not span every direction in which the real ones vary, so that their covariance
    is singular where it matters. The influences then use the pseudo-inverse: right for these images with other
    weights, but blind to what fresh images would add.
    """

    distance: float
    singular: bool
    _mean: Float64[Tensor, " d"]
    _shift: Float64[Tensor, " d"]  # m_g - m_r
    _projection: Float64[Tensor, "d r"]  # P with T = P P'
    _average: float  # tr((I - T) S_g)

    def influences(self, features: Float[Tensor, "n d"]) -> Float64[Tensor, " n"]:
        """By how much the distance grows per weight put on each image; `features` are of images the statistics are of.

        2 (m_g - m_r)'c + c'(I - T)c - tr((I - T) S_g) with c = f - m_g: the infinitesimal jackknife (Efron 1982), whose
        variance over the images, divided by their number, is the variance of the distance.
        """
        return torch.cat([self._influences(rows) for rows in features.split(ROWS)])

    def _influences(self, features: Tensor) -> Tensor:
        centred = features.double() - self._mean
        quadratic = centred.square().sum(dim=1) - (centred @ self._projection).square().sum(dim=1)
        return 2 * centred @ self._shift + quadratic - self._average


def frechet(generated: Statistics, reference: Reference) -> Frechet:
    """The squared Frechet distance of Gaussians with these moments, and all that the influences of images need.

    To 1e-8 relative in full rank, for singular and for nearly equal covariances, where a matrix square root loses half
    the digits; never negative. Raises ValueError for a single image and for features of another dimension.
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
    """The distance alone, as `frechet` finds it but in half the time; a reference brings its factor with it."""
    reference = b if isinstance(b, Reference) else Reference.of(b)
    _require_comparable(a, reference)
    compressed = _compress(a, reference)
    if compressed is not None:
        distance = _distance_if_exact(torch.linalg.eigvalsh(compressed.lower), compressed, a, reference)
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
    """The lower triangle of M = L_r' S_g L_r (all that eigh and eigvalsh read), whose eigenvalues are s**2.

    Its log-determinant comes from Cholesky factors, where both sides have one: right where eigenvalues may not be.
    """

    lower: Float64[Tensor, "r r"]
    log_determinant: float | None


def _compress(generated: Statistics, reference: Reference) -> _Compressed | None:
    """None where S_g is singular: an eigenvalue of M that should be 0 is then rounding, and its root is not small."""
    right, size = reference.factor, reference.factor.shape[1]
    triangular = size == len(right)
    made = generated._log_determinant if generated.count > size else None
    if made is None:
        return None
    covariance, product = generated.covariance, right.new_zeros(size, size)
    for start in range(0, size, BLOCK):
        rows = slice(start if triangular else 0, None)  # above are zeros
        columns = right[rows, start : start + BLOCK]
        product[start:, start : start + BLOCK] = right[rows, start:].T @ (covariance[rows, rows] @ columns)
    real = 2 * float(right.diagonal().abs().log().sum()) if triangular else None
    return _Compressed(product, None if real is None else made + real)


def _distance_if_exact(
    values: Tensor, compressed: _Compressed, generated: Statistics, reference: Reference
) -> float | None:
    """The distance from the eigenvalues of M, or None where their rounding could show in it."""
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
    """An estimate of the error of twice the sum of s, from eigenvalues s**2 of which each is off by a little.

    At worst by about eps times the largest, with either sign, and s by that over 2 s. The small ones are far better
    than that where the large come first in M, as they mostly do: then their product is close to the determinant.
    Relative errors that add up to `missed` there add up to about missed * s here, for the s of the small (which have
    most of the error); 10 times that, since signs may cancel.
    """
    inverses = values.reciprocal().sum()
    worst = EPSILON * float(values[-1] * inverses.sqrt())
    if log_determinant is None:
        return worst
    missed = abs(float(values.log().sum()) - log_determinant)
    return min(worst, 10 * missed * float((len(values) / inverses).sqrt()))


def _by_eigenvectors(generated: Statistics, reference: Reference) -> tuple[float, Tensor, Tensor] | None:
    """Distance, s and U from M = U diag(s**2) U', the fast route; None where it is not exact."""
    compressed = _compress(generated, reference)
    if compressed is None:
        return None
    values, vectors = torch.linalg.eigh(compressed.lower)
    distance = _distance_if_exact(values, compressed, generated, reference)
    return None if distance is None else (distance, values.sqrt(), vectors)


def _by_singular_vectors(generated: Statistics, reference: Reference) -> tuple[float, Tensor, Tensor]:
    """Distance, s and U from A = U diag(s) V'.

    With the polar factor Q = U V', the distance of the covariances is the squared norm of L_g - L_r Q (or of
    L_g Q' - L_r, whichever keeps all columns): no large numbers cancel, and errors of Q enter in second order.
    """
    real, made = reference.factor, factor(generated.covariance)
    left, s, right = torch.linalg.svd(real.T @ made, full_matrices=False)
    wide = real.shape[1] <= made.shape[1]
    residual = made - (real @ left) @ right if wide else (made @ right.T) @ left.T - real
    shift = generated.mean - reference.mean
    return float(shift @ shift + residual.square().sum()), s, left


@dataclass(frozen=True)
class Extrapolated:
    """A score extrapolated to infinitely many images, and its standard error."""

    value: float
    standard_error: float


def fid_infinity(features: Sequence[Tensor], reference: Reference, seed: int) -> Extrapolated:
    """The Frechet distance at infinitely many generated images: the intercept of its regression on 1/N.

    Chong and Forsyth 2020, but over nested prefixes of one seeded order of the images, at 10 sizes evenly spaced in
    1/N. `features` are pieces [m, d] and are read twice. The bias of the reference's own size remains.

    The standard error is of this intercept over fresh images, to first order: it is a fixed linear combination of the
    distances at the prefixes, so that every image moves it by the same combination of its influences on the prefixes it
    is in. That the prefixes share images is thereby counted. What 1/N leaves unexplained is not.

    Raises ValueError where there are fewer than 4 images for every feature dimension.
    """
    lengths = [len(piece) for piece in features]
    sizes = _prefix_sizes(sum(lengths), len(reference.mean))
    order = torch.argsort(uniforms(seed, Stream.PREFIXES, torch.arange(sum(lengths))), stable=True)
    ranks = torch.argsort(order).split(lengths)
    distances = [frechet(statistics, reference) for statistics in _of_prefixes(features, ranks, sizes)]
    weights = _intercept_weights(sizes)
    moves = [_moves(distances, weights, sizes, *pair) for pair in zip(features, ranks, strict=True)]
    value = sum(w * found.distance for w, found in zip(weights, distances, strict=True))
    return Extrapolated(value, float(torch.cat(moves).square().sum().sqrt()))


def _prefix_sizes(num: int, dimension: int) -> list[int]:
    """Sizes evenly spaced in 1/N, the smallest twice the dimension at least: with fewer, FID is not linear in 1/N."""
    smallest = max(math.ceil(num / PREFIXES), 2 * dimension, 4)
    if num < 2 * smallest:
        raise ValueError(
            f"FID-infinity in {dimension} dimensions needs at least {max(4 * dimension, 8)} images, "
            f"and there are {num}: generate more or turn it off"
        )
    inverses = torch.linspace(1 / smallest, 1 / num, PREFIXES, dtype=torch.float64)
    return sorted({round(1 / inverse) for inverse in inverses.tolist()})


def _intercept_weights(sizes: Sequence[int]) -> list[float]:
    """What the intercept of a least-squares line through values at 1/sizes takes of each value."""
    inverse = torch.tensor(sizes, dtype=torch.float64).reciprocal()
    deviation = inverse - inverse.mean()
    return (1 / len(sizes) - inverse.mean() * deviation / deviation.square().sum()).tolist()


def _of_prefixes(features: Sequence[Tensor], ranks: Sequence[Tensor], sizes: Sequence[int]) -> list[Statistics]:
    """Statistics of every prefix, from one pass: an image is counted in the first that has it, then merged."""
    shells: list[Statistics | None] = [None] * len(sizes)
    for piece, rank in zip(features, ranks, strict=True):
        shell_of = torch.bucketize(rank, torch.tensor(sizes), right=True)
        for shell, before in enumerate(shells):
            rows = _rows(piece, shell_of == shell)
            if len(rows):
                shells[shell] = before.merge(Statistics.of(rows)) if before else Statistics.of(rows)
    return _running(shells)


def _running(shells: Sequence[Statistics | None]) -> list[Statistics]:
    prefixes = []
    for shell in shells:
        assert shell is not None  # sizes increase
        prefixes.append(prefixes[-1].merge(shell) if prefixes else shell)
    return prefixes


def _moves(
    distances: Sequence[Frechet],
    weights: Sequence[float],
    sizes: Sequence[int],
    piece: Float[Tensor, "n d"],
    rank: Int64[Tensor, " n"],
) -> Float64[Tensor, " n"]:
    """By how much each image of a piece moves the intercept."""
    moves = torch.zeros(len(piece), dtype=torch.float64)
    for found, weight, size in zip(distances, weights, sizes, strict=True):
        inside = rank < size
        if bool(inside.any()):
            moves[inside] += weight / size * found.influences(_rows(piece, inside)).cpu()
    return moves


def _rows(piece: Float[Tensor, "n d"], chosen: Bool[Tensor, " n"]) -> Float[Tensor, "m d"]:
    return piece[chosen.to(piece.device)]
