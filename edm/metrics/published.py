"""Published reference statistics: the .npz files of NVlabs' edm and of pytorch-fid."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.lib.npyio import NpzFile
from torch import Tensor

from edm.metrics.fid import Reference
from edm.typed_torch import eigvalsh

MOST_VALUES = 4096**2  # of an array: twice as many features as any of the feature spaces has
MOST_ITEM_BYTES = 64
PICKLES = (".pkl", ".pickle")
ROUNDING = 1e-5  # error, relative to the largest eigenvalue, of a covariance that was summed in float32


class StatisticsError(ValueError):
    """A file holds no usable reference statistics; the message says which file, why, and what to do."""


def load_statistics(path: Path, dimension: int) -> Reference:
    """Load the mean and covariance of `dimension` features (arrays `mu` and `sigma`) from an .npz file, in float64.

    NVlabs' edm (fid-refs) and pytorch-fid publish such files, without the number of images. Raises StatisticsError
    where the file is absent, of another kind or another feature space, or `sigma` is no covariance.
    """
    mean, covariance = (_float64(path, name, array) for name, array in _read(path).items())
    _require_shapes(path, mean, covariance, dimension)
    return Reference.of_moments(mean, _checked(path, covariance))


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise StatisticsError(f"{path}: no such file; give the path of an .npz file of reference statistics")
    if path.suffix in PICKLES:
        raise StatisticsError(
            f"{path}: pickles are not opened, since that would run whatever code is in them; give the .npz file instead"
        )
    try:
        return _arrays(path)
    except StatisticsError:
        raise
    except Exception as error:  # zipfile and numpy raise nearly any class for a hostile file
        raise _no_archive(path) from error


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:  # numpy would leave a damaged file open
        archive: Any = np.load(file, allow_pickle=False)
        if not isinstance(archive, NpzFile):
            raise _no_archive(path)
        for name in ("mu", "sigma"):
            if name not in archive:
                held = "".join(filter(str.isprintable, ", ".join(archive.files)))[:200]
                raise StatisticsError(
                    f"{path}: has no {name}, only {held or 'nothing'}; "
                    "give a file with the mean (mu) and the covariance (sigma) of features"
                )
            _require_size(path, archive, name)
        return {name: archive[name] for name in ("mu", "sigma")}


def _require_size(path: Path, archive: Any, name: str) -> None:
    """Refuse an array that says it is larger than its file, or than statistics are, before numpy allocates it."""
    held = archive.zip.getinfo(f"{name}.npy").file_size
    with archive.zip.open(f"{name}.npy") as member:
        version = read_magic(member)
        shape, _, dtype = (read_array_header_1_0 if version == (1, 0) else read_array_header_2_0)(member)
    values = math.prod(shape)
    if values > MOST_VALUES or dtype.itemsize > MOST_ITEM_BYTES:
        raise StatisticsError(f"{path}: {name} claims {values:,} values, more than statistics have; get the file again")
    if values * dtype.itemsize > held:
        raise StatisticsError(f"{path}: {name} claims {values:,} values and has fewer; get the file again")


def _no_archive(path: Path) -> StatisticsError:
    return StatisticsError(f"{path}: is not an .npz file of plain arrays; give one with mu and sigma")


def _float64(path: Path, name: str, array: np.ndarray) -> Float64[Tensor, "*shape"]:
    if array.dtype.kind not in "fiu":
        raise StatisticsError(f"{path}: {name} has {array.dtype} values; give a file with real numbers")
    values = torch.as_tensor(array.astype(np.float64))
    if not values.isfinite().all():
        raise StatisticsError(f"{path}: {name} has values that are not finite; get or compute the file again")
    return values


def _require_shapes(path: Path, mean: Tensor, covariance: Tensor, dimension: int) -> None:
    found = tuple(mean.shape)
    if len(found) != 1 or tuple(covariance.shape) != found * 2:
        raise StatisticsError(
            f"{path}: mu is {found} and sigma {tuple(covariance.shape)}, where a mean and its covariance are "
            f"({dimension},) and ({dimension}, {dimension}); give a file of reference statistics"
        )
    if found != (dimension,):
        raise StatisticsError(
            f"{path}: has {found[0]:,} features where {dimension:,} are compared: it is of another feature space; "
            "give statistics of the features that are compared"
        )


def _checked(path: Path, covariance: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"]:
    """Return the covariance made exactly symmetric; raises StatisticsError for deviations beyond rounding."""
    asymmetry = (covariance - covariance.T).abs().max()
    symmetric = (covariance + covariance.T) / 2
    values = eigvalsh(symmetric)
    rounding = ROUNDING * values.abs().max()
    if asymmetry > rounding or values[0] < -rounding:
        fault = "not symmetric" if asymmetry > rounding else f"of a negative eigenvalue ({float(values[0]):.3g})"
        raise StatisticsError(f"{path}: sigma is {fault}, so no covariance; get or compute the file again")
    return symmetric
