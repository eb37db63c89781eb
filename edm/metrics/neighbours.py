"""Exact nearest neighbours, and the precision, recall, density and coverage that derive from them.

Sets of features come as sequences of pieces of shape [m, d], which are read several times; memory use does not grow
with their number. Squared distances are computed as |x|^2 + |y|^2 - 2 x'y in float64, whose rounding error is bounded.
Wherever the bound leaves a comparison open, they are computed again from x - y, so that copies have distance 0 and ties
are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64, Real
from torch import Tensor

Device = torch.device | str

GROUP = 4096  # rows that are held while all others are read
ROWS = 1024  # rows of a matrix of distances
NUMBERS = 2**18  # elements of x - y that are held at a time, which fit a cache


def in_groups(pieces: Sequence[Tensor], device: Device) -> Iterator[tuple[int, Float64[Tensor, "n d"]]]:
    """Yield successive pieces joined to about GROUP rows in float64, each with the index of the next piece."""
    held: list[Tensor] = []
    for index, piece in enumerate(pieces):
        if held and sum(map(len, held)) + len(piece) > GROUP:
            yield index, torch.cat(held)
            held = []
        held.append(piece.to(device).double())
    if held:
        yield len(pieces), torch.cat(held)


@dataclass(frozen=True)
class Nearest:
    """The k nearest rows to each query: Euclidean distances, ascending, and indices into the joined pieces."""

    distances: Float64[Tensor, "n k"]
    indices: Int64[Tensor, "n k"]


def nearest(queries: Real[Tensor, "n d"], pieces: Sequence[Tensor], k: int = 1, device: Device = "cpu") -> Nearest:
    """Find the k nearest rows of `pieces` to each query, exactly; equally near rows come in their order.

    Each piece is read once. Results are on the CPU. Raises ValueError if there are fewer than k rows.
    """
    squared, indices = _nearest(queries.to(device), pieces, k)
    return Nearest(squared.sqrt().cpu(), indices.cpu())


def _nearest(
    queries: Real[Tensor, "n d"], pieces: Sequence[Tensor], k: int
) -> tuple[Float64[Tensor, "n k"], Int64[Tensor, "n k"]]:
    """Return squared distances and indices, on the device of the queries."""
    device = queries.device
    chunks = torch.split(queries, ROWS)
    squared = [torch.full((len(chunk), k), torch.inf, dtype=torch.float64, device=device) for chunk in chunks]
    indices = [torch.full((len(chunk), k), -1, device=device) for chunk in chunks]
    start = 0
    for piece in pieces:
        rows = _like(queries, piece)
        for number, chunk in enumerate(chunks):
            squared[number], indices[number] = _nearer(squared[number], indices[number], chunk.double(), rows, start)
        start += len(piece)
    if start < k:
        raise ValueError(f"{k} nearest neighbours were asked for among {start} images; ask for fewer")
    return torch.cat(squared), torch.cat(indices)


def _like(queries: Tensor, piece: Tensor) -> Tensor:
    """Return a piece in float64 on the device of `queries`; raises ValueError for another dimension."""
    if piece.shape[1] != queries.shape[1]:
        raise ValueError(
            f"there is no distance between {queries.shape[1]} and {piece.shape[1]} dimensions; "
            "take both from the same feature space"
        )
    return piece.to(queries.device).double()


def _nearer(
    squared: Float64[Tensor, "q k"],
    indices: Int64[Tensor, "q k"],
    queries: Float64[Tensor, "q d"],
    rows: Float64[Tensor, "m d"],
    start: int,
) -> tuple[Float64[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """Update the k nearest rows found so far by more rows, which are numbered from `start`."""
    num, k = squared.shape
    rough, error = _rough(queries, rows)
    kth = rough.topk(min(k, len(rows)), largest=False).values[:, -1:]
    limit = torch.minimum(squared[:, -1:], kth + error)  # rows beyond this cannot be among the nearest
    query, row = (rough <= limit + error).nonzero(as_tuple=True)
    owner = torch.cat([torch.arange(num, device=query.device).repeat_interleave(k), query])
    found = torch.cat([squared.flatten(), _exact(queries, rows, query, row)])
    named = torch.cat([indices.flatten(), row + start])
    order = found.argsort(stable=True)  # two stable sorts: by query, then distance, then index
    order = order[owner[order].argsort(stable=True)]
    counts = owner.bincount(minlength=num)
    chosen = order[(counts.cumsum(0) - counts)[:, None] + torch.arange(k, device=query.device)]
    return found[chosen], named[chosen]


def _rough(
    x: Float64[Tensor, "q d"], y: Float64[Tensor, "m d"]
) -> tuple[Float64[Tensor, "q m"], Float64[Tensor, "q 1"]]:
    """Return squared distances, and by how much those of each x may differ from `_exact`.

    A dot product of d terms, in any order, is wrong by at most about d eps |x| |y| (Higham 2002, section 3.1), so each
    of the two ways to compute a distance is wrong by at most d eps (|x| + |y|)^2.
    """
    x_norms, y_norms = x.square().sum(dim=1, keepdim=True), y.square().sum(dim=1)
    rough = torch.addmm(y_norms, x, y.T, alpha=-2).add_(x_norms)
    largest = x_norms.sqrt() + y_norms.max().sqrt()
    return rough, 2 * (x.shape[1] + 8) * torch.finfo(torch.float64).eps * largest.square()


def _exact(
    x: Float64[Tensor, "q d"], y: Float64[Tensor, "m d"], rows: Int64[Tensor, " p"], columns: Int64[Tensor, " p"]
) -> Float64[Tensor, " p"]:
    """Return squared distances of pairs, computed from their differences."""
    size = max(NUMBERS // x.shape[1], 1)
    pairs = zip(torch.split(rows, size), torch.split(columns, size), strict=True)
    return torch.cat([(x[row] - y[column]).square().sum(dim=1) for row, column in pairs])


@dataclass(frozen=True)
class Prdc:
    """Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    All are in [0, 1], except density, which can exceed 1.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(
    generated: Sequence[Tensor],
    real: Sequence[Tensor],
    k: int = 5,
    device: Device = "cpu",
    generated_radii: Float64[Tensor, " n"] | None = None,
    real_radii: Float64[Tensor, " m"] | None = None,
) -> Prdc:
    """Return precision, recall, density and coverage, by open balls that reach to the k-th neighbour in the same set.

    generated_radii, real_radii: `squared_radii` of either set, if they were computed before. Raises ValueError if a
    set has k or fewer images.
    """
    radii = squared_radii(generated, k, device) if generated_radii is None else generated_radii
    real_radii = squared_radii(real, k, device) if real_radii is None else real_radii
    covered = torch.zeros(len(real_radii), dtype=torch.bool)  # whether its ball holds a generated image
    recalled = torch.zeros_like(covered)  # whether it is in the ball of a generated image
    balls: list[Tensor] = []  # number of real images whose ball holds each generated one
    start = 0
    for _, group in in_groups(generated, device):
        own = radii[start : start + len(group)].to(device)
        balls.append(_scan(group, own, real, real_radii.to(device), covered, recalled))
        start += len(group)
    inside = torch.cat(balls).double()
    return Prdc(
        precision=float((inside > 0).double().mean()),
        recall=float(recalled.double().mean()),
        density=float(inside.mean()) / k,
        coverage=float(covered.double().mean()),
    )


def squared_radii(pieces: Sequence[Tensor], k: int, device: Device = "cpu") -> Float64[Tensor, " n"]:
    """Return the squared distance of each image to its k-th nearest neighbour in its own set, itself excluded.

    Raises ValueError if there are k or fewer images.
    """
    num = sum(len(piece) for piece in pieces)
    if num <= k:
        raise ValueError(f"{k} neighbours of every image need at least {k + 1} images, and there are {num}; add more")
    groups = in_groups(pieces, device)
    return torch.cat([_nearest(group, pieces, k + 1)[0][:, -1] for _, group in groups]).cpu()


def _scan(
    group: Float64[Tensor, "n d"],
    own: Float64[Tensor, " n"],
    real: Sequence[Tensor],
    real_radii: Float64[Tensor, " m"],
    covered: Bool[Tensor, " m"],
    recalled: Bool[Tensor, " m"],
) -> Int64[Tensor, " n"]:
    """Count the balls of real images that hold each image of a group; mark the real ones that it covers and recalls."""
    inside, start = torch.zeros(len(group), dtype=torch.int64), 0
    for piece in real:
        span = slice(start, start + len(piece))
        squared = _compared(group, _like(group, piece), own, real_radii[span])
        within = squared < real_radii[span]
        inside += within.sum(dim=1).cpu()
        covered[span] |= within.any(dim=0).cpu()
        recalled[span] |= (squared < own[:, None]).any(dim=0).cpu()
        start += len(piece)
    return inside


def _compared(
    x: Float64[Tensor, "q d"], y: Float64[Tensor, "m d"], x_bound: Float64[Tensor, " q"], y_bound: Float64[Tensor, " m"]
) -> Float64[Tensor, "q m"]:
    """Return squared distances that compare correctly with the bound of each x and of each y."""
    rough, error = _rough(x, y)
    uncertain = ((rough - x_bound[:, None]).abs() <= error) | ((rough - y_bound).abs() <= error)
    rows, columns = uncertain.nonzero(as_tuple=True)
    rough[rows, columns] = _exact(x, y, rows, columns)
    return rough
