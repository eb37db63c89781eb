"""Memorisation: are generated images nearer to training images than to held-out ones?

Images are compared as rows: features, or flattened pixels in grey levels (`pixel_rows`, `PixelPieces`). Real images
come in pieces, so that no split has to fit into memory. Distances are Euclidean, in the units of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import overload

import torch
from jaxtyping import Float, Float32, Float64, Int64, UInt8
from torch import Tensor

from edm.metrics.neighbours import Nearest, nearest


def pixel_rows(images: UInt8[Tensor, "n c h w"]) -> Float32[Tensor, "n d"]:
    """Return each image as one row of grey levels, 0 to 255."""
    return images.flatten(1).float()


@dataclass(frozen=True, eq=False)
class PixelPieces(Sequence[Tensor]):
    """The pixel rows of some images, `size` at a time; images are read and converted only when a piece is accessed.

    images: may be memory-mapped. indices: of those to use, in the order of the rows. on_read: called before each piece.
    """

    images: UInt8[Tensor, "n c h w"]
    indices: Int64[Tensor, " m"]
    size: int = 1000
    on_read: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return -(-len(self.indices) // self.size)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        number = range(len(self))[index]  # handles negative indices, slices and errors as any sequence does
        if isinstance(number, range):
            return [self[i] for i in number]
        self.on_read()
        return pixel_rows(self.images[self.indices[number * self.size : (number + 1) * self.size]])


@dataclass(frozen=True)
class Memorisation:
    """How near generated images are to the train split, and whether nearer than by chance.

    nearest: the nearest training row to each image, in the whole split; its tensors have one column.

    ratio: the median of `ratios`. ratios: for each image, the distance to the nearest of the first `count` training
    rows divided by that to the nearest of as many held-out rows; 1 where both are 0, infinite where only the second is.
    Without memorisation it is about 1. Only copies of those first training rows lower it: a generator that copies
    evenly from a split more than twice as long has a ratio of about 1 too.

    copied: the share of images that are nearer to the whole train split than its size explains. An image that is
    independent of the train split is nearer to it than to the held-out rows as often as a row drawn from both is a
    training row. So `copied` is 0, up to `copied_error`, where all images are independent, and 1 where all are copies;
    a generator that is wrong in other ways has 0 too. copied_error: the standard deviation of `copied` for independent
    images, over random splits of these real rows; large where few rows are the nearest to many images.

    shares: what each image adds to `copied`, which is their mean: 1 where it is nearer to the train split. Their
    standard error is that of `copied` over redrawn images, for these splits; `copied_error` is not, since it assumes
    that nothing is copied. So the difference of two generators' `copied` has the standard error of the differences of
    their shares, image by image.
    """

    nearest: Nearest
    ratio: float
    ratios: Float64[Tensor, " n"]
    copied: float
    copied_error: float
    shares: Float64[Tensor, " n"]

    def closest(self, num: int) -> Int64[Tensor, " m"]:
        """Return the indices of the `num` images nearest to their training neighbour, nearest first; all if fewer."""
        return self.nearest.distances[:, 0].argsort(stable=True)[:num]


def memorisation(
    queries: Float[Tensor, "n d"],
    train: Sequence[Tensor],
    test: Sequence[Tensor],
    count: int,
    device: torch.device | str = "cpu",
) -> Memorisation:
    """Compare generated rows, `queries`, with training rows and with held-out rows of the same distribution.

    train, test: pieces of rows [m, d], which are read several times, in random order (not by class): the first `count`
    represent their split. Ratios compare equally many rows of both, since the nearest of more rows is nearer. Raises
    ValueError where there is nothing to compare or a split has fewer rows.
    """
    if not len(queries) or count < 1:
        raise ValueError(f"{len(queries)} images against {count} real ones; give one or more of both")
    held_out = nearest(queries, _first(test, count, "test"), device=device)
    trained_on = nearest(queries, _first(train, count, "train"), device=device)
    whole = nearest(queries, train, device=device)
    ratios = _ratios(trained_on.distances[:, 0], held_out.distances[:, 0])
    copied, error, shares = _copied(whole, held_out, _num_rows(train), count)
    return Memorisation(whole, _median(ratios), ratios, copied, error, shares)


def _ratios(trained_on: Float64[Tensor, " n"], held_out: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Divide distances; 1 where both are 0."""
    both_zero = (trained_on == 0) & (held_out == 0)
    return torch.where(both_zero, torch.ones_like(trained_on), trained_on / held_out)


def _median(values: Float64[Tensor, " n"]) -> float:
    ordered, middle = values.sort().values, len(values) // 2
    return float(ordered[middle] + ordered[-1 - middle]) / 2  # torch.quantile would compute inf - inf


def _copied(train: Nearest, test: Nearest, num_train: int, num_test: int) -> tuple[float, float, Float64[Tensor, " n"]]:
    """Return Memorisation's `copied`, `copied_error` and `shares`.

    For independent images, any of all M rows could be training rows. Let a row's weight w be the share of images that
    it is nearest to. The total weight of a share p of the rows, drawn without replacement, has the variance
    p (1 - p) (sum of w**2 - 1 / M) M / (M - 1). A tie counts as training in the share p.
    """
    total, by_number = num_train + num_test, num_train / (num_train + num_test)
    near, far = train.distances[:, 0], test.distances[:, 0]
    nearer = (near < far).double() + by_number * (near == far)
    owners = torch.where(near <= far, train.indices[:, 0], num_train + test.indices[:, 0])
    weights = owners.bincount().double() / len(owners)
    spread = float(weights.square().sum()) - 1 / total
    error = math.sqrt(by_number * (1 - by_number) * max(spread, 0.0) * total / (total - 1))
    copied = (float(nearer.mean()) - by_number) / (1 - by_number)
    return copied, error / (1 - by_number), (nearer - by_number) / (1 - by_number)


def _num_rows(pieces: Sequence[Tensor]) -> int:
    # pixels are large, so they are not read just to be counted
    return len(pieces.indices) if isinstance(pieces, PixelPieces) else sum(len(piece) for piece in pieces)


def _first(pieces: Sequence[Tensor], count: int, name: str) -> Sequence[Tensor]:
    """Return the first `count` rows, in pieces; raises ValueError if there are fewer."""
    if isinstance(pieces, PixelPieces) and count <= len(pieces.indices):
        return replace(pieces, indices=pieces.indices[:count])
    taken: list[Tensor] = []
    missing = count
    for piece in pieces:
        taken.append(piece[:missing])
        missing -= len(taken[-1])
        if not missing:
            return taken
    raise ValueError(f"{name}: has {count - missing} images where {count} are to be compared; give a count up to that")
