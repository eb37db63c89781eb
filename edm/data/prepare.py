"""Data sets prepared once: decoded to uint8 arrays with labels and split indices, then memory-mapped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from edm.config import DataConfig, Split
from edm.data.catalogue import facts, split_indices

Arrays = tuple[np.ndarray, np.ndarray]


class DataError(ValueError):
    """A data set is not what it should be; the message says which file and what to do."""


@dataclass(frozen=True)
class Dataset:
    """A prepared data set: images [0, 255] and labels in the data set's order, indices per split.

    sigma_data: standard deviation of the whole train split scaled to [-1, 1].
    """

    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    splits: dict[Split, list[int]]
    sigma_data: float

    def split(self, name: Split) -> tuple[UInt8[Tensor, "m c h w"], Int64[Tensor, " m"]]:
        """Images and labels of one split."""
        indices = torch.tensor(self.splits[name])
        return self.images[indices], self.labels[indices]


def to_unit(images: UInt8[Tensor, "*shape"]) -> Tensor:
    """uint8 [0, 255] -> float32 [-1, 1]; the inverse of `to_uint8` but for its rounding."""
    return images.to(torch.float32) / 127.5 - 1


def to_uint8(images: Tensor) -> UInt8[Tensor, "*shape"]:
    """[-1, 1] -> uint8 [0, 255], quantised as EDM does before scoring: (x * 127.5 + 128).clip(0, 255)."""
    return (images * 127.5 + 128).clip(0, 255).to(torch.uint8)


def fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 over the bytes of uint8 images and of int64 little-endian labels."""
    digest = hashlib.sha256(np.ascontiguousarray(images).tobytes())
    digest.update(np.ascontiguousarray(labels, dtype="<i8").tobytes())
    return digest.hexdigest()


def load_digits() -> Arrays:
    """scikit-learn's digits: 1,797 8x8 scans of handwritten digits, 17 grey levels, shipped with the package."""
    from sklearn.datasets import load_digits as sklearn_digits  # heavy

    digits: Any = sklearn_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    return images, digits.target.astype(np.int64)


LOADERS: dict[str, Callable[[], Arrays]] = {"digits": load_digits}


def prepare(config: DataConfig, folder: Path) -> dict[str, object]:
    """Write images.npy, labels.npy and splits.json of a data set into `folder`; return what is worth recording.

    Raises DataError where the images are not those the catalogue knows by that name.
    """
    known = facts(config)
    images, labels = LOADERS[config.name]()
    found = fingerprint(images, labels)
    if found != known.fingerprint:
        raise DataError(
            f"data.name: {config.name}: the images have fingerprint {found[:16]}, expected {known.fingerprint[:16]}; "
            "reinstall the package that ships them, or report a new release of the data set"
        )
    splits = split_indices(config.name, known.splits)
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)
    (folder / "splits.json").write_text(json.dumps(splits))
    # float64, and over the whole train split: the 2023 study took one random batch
    sigma_data = float((images[splits["train"]].astype(np.float64) / 127.5 - 1).std())
    return {"name": config.name, "fingerprint": found, "images": len(images), "sigma_data": sigma_data}


def open_prepared(folder: Path, sigma_data: float) -> Dataset:
    """The data set that `prepare` wrote into `folder`, memory-mapped copy-on-write."""
    images = np.load(folder / "images.npy", mmap_mode="c")
    labels = np.load(folder / "labels.npy")
    splits = json.loads((folder / "splits.json").read_text())
    return Dataset(torch.from_numpy(images), torch.from_numpy(labels), splits, sigma_data)
