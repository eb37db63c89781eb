"""FID-infinity: the Frechet distance extrapolated to infinitely many generated images (Chong and Forsyth 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from edm.metrics.fid import Frechet, Reference, Statistics, frechet
from edm.metrics.uncertainty import within_classes
from edm.noise import Stream, uniforms
from edm.typed_torch import floats

PREFIXES = 10  # numbers of images at which the distance is taken


@dataclass(frozen=True)
class Extrapolated:
    """A score extrapolated to infinitely many images, and its standard error."""

    value: float
    standard_error: float


def fid_infinity(
    features: Sequence[Tensor], reference: Reference, seed: int, labels: Int64[Tensor, " n"] | None = None
) -> Extrapolated:
    """Return the Frechet distance at infinitely many generated images: the intercept of its regression on 1/N.

    It differs from Chong and Forsyth 2020 in that the distances are of nested prefixes of one seeded order of the
    images, at 10 sizes evenly spaced in 1/N. features: pieces of shape [m, d], which are read twice. labels: the class
    that each image was asked to show; None where there are no classes. The bias of the reference's own size remains.

    The standard error is that of the intercept over fresh images, to first order. The intercept is a fixed linear
    combination of the distances at the prefixes, so each image moves it by the same combination of its influences on
    the prefixes that contain it, taken within classes as for one distance. This accounts for images that prefixes
    share, but not for deviations from a line in 1/N.

    Raises ValueError if there are fewer than 4 images per feature dimension.
    """
    lengths = [len(piece) for piece in features]
    sizes = _prefix_sizes(sum(lengths), len(reference.mean))
    order = torch.argsort(uniforms(seed, Stream.PREFIXES, torch.arange(sum(lengths))), stable=True)
    ranks = torch.split(torch.argsort(order), lengths)
    distances = [frechet(statistics, reference) for statistics in _of_prefixes(features, ranks, sizes)]
    weights = _intercept_weights(sizes)
    value = sum(w * found.distance for w, found in zip(weights, distances, strict=True))
    labels = torch.zeros(sum(lengths), dtype=torch.int64) if labels is None else labels
    moves = torch.zeros(sum(lengths), dtype=torch.float64)
    for found, weight, size in zip(_influences(distances, features, ranks, sizes), weights, sizes, strict=True):
        inside = torch.cat(ranks) < size
        moves[inside] += weight / size * within_classes(found[inside], labels[inside])
    return Extrapolated(value, float(moves.square().sum().sqrt()))


def _prefix_sizes(num: int, dimension: int) -> list[int]:
    """Return sizes evenly spaced in 1/N, at least twice the dimension: below that the FID is not linear in 1/N."""
    smallest = max(math.ceil(num / PREFIXES), 2 * dimension, 4)
    if num < 2 * smallest:
        raise ValueError(
            f"FID-infinity in {dimension} dimensions needs at least {max(4 * dimension, 8)} images, "
            f"and there are {num}; generate more or turn it off"
        )
    inverses = torch.linspace(1 / smallest, 1 / num, PREFIXES, dtype=torch.float64)
    return sorted({round(1 / inverse) for inverse in floats(inverses)})


def _intercept_weights(sizes: Sequence[int]) -> list[float]:
    """Return the weight of each value in the intercept of a least-squares line through values at 1/sizes."""
    inverse = torch.tensor(sizes, dtype=torch.float64).reciprocal()
    deviation = inverse - inverse.mean()
    return floats(1 / len(sizes) - inverse.mean() * deviation / deviation.square().sum())


def _of_prefixes(features: Sequence[Tensor], ranks: Sequence[Tensor], sizes: Sequence[int]) -> list[Statistics]:
    """Return the statistics of every prefix, in one pass.

    A shell holds the images that are in a prefix but not in the one before; shells are then merged.
    """
    shells: list[Statistics | None] = [None] * len(sizes)
    for piece, rank in zip(features, ranks, strict=True):
        shell_of = torch.bucketize(rank, torch.tensor(sizes), right=True)
        for shell, before in enumerate(shells):
            rows = _rows(piece, shell_of == shell)
            if len(rows):
                shells[shell] = before.merge(Statistics.of(rows)) if before else Statistics.of(rows)
    return _running(shells)


def _running(shells: Sequence[Statistics | None]) -> list[Statistics]:
    """Return the statistics of the first shell, the first two, and so on."""
    prefixes: list[Statistics] = []
    for shell in shells:
        assert shell is not None  # sizes increase
        prefixes.append(prefixes[-1].merge(shell) if prefixes else shell)
    return prefixes


def _influences(
    distances: Sequence[Frechet], features: Sequence[Tensor], ranks: Sequence[Tensor], sizes: Sequence[int]
) -> Float64[Tensor, "p n"]:
    """Return the influence of every image on the distance of every prefix, 0 on those that do not contain it."""
    found = torch.zeros(len(sizes), sum(map(len, ranks)), dtype=torch.float64)
    start = 0
    for piece, rank in zip(features, ranks, strict=True):
        own = found[:, start : start + len(piece)]
        start += len(piece)
        for row, (distance, size) in enumerate(zip(distances, sizes, strict=True)):
            inside = rank < size
            if bool(inside.any()):
                own[row, inside] = distance.influences(_rows(piece, inside)).cpu()
    return found


def _rows(piece: Float[Tensor, "n d"], chosen: Bool[Tensor, " n"]) -> Float[Tensor, "m d"]:
    return piece[chosen.to(piece.device)]
