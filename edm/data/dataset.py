"""A prepared data set as memory-mapped tensors, and the scaling of images between uint8 and [-1, 1]."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from edm.config import Split
from edm.data.prepare import IMAGES, LABELS, SPLIT_INDICES


@dataclass(frozen=True)
class Dataset:
    """A prepared data set.

    images: in [0, 255], in the data set's order. labels: class of each image; 0 where there are no classes. splits:
    indices into both. sigma_data: standard deviation of all pixels of the train split, scaled to [-1, 1].
    """

    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    splits: dict[Split, list[int]]
    sigma_data: float

    def indices(self, name: Split) -> Int64[Tensor, " m"]:
        """Return the indices of one split, for reading its images in parts."""
        return torch.tensor(self.splits[name], dtype=torch.int64)

    def split(self, name: Split) -> tuple[UInt8[Tensor, "m c h w"], Int64[Tensor, " m"]]:
        """Return images and labels of one split, copied into memory."""
        indices = self.indices(name)
        return self.images[indices], self.labels[indices]


def to_unit(images: UInt8[Tensor, "*shape"]) -> Tensor:
    """Scale uint8 images from [0, 255] to float32 in [-1, 1]; inverse of `to_uint8` except for rounding."""
    return images.to(torch.float32) / 127.5 - 1


def to_uint8(images: Tensor) -> UInt8[Tensor, "*shape"]:
    """Quantise images from [-1, 1] to uint8, as EDM does before scoring: (x * 127.5 + 128).clip(0, 255)."""
    return (images * 127.5 + 128).clip(0, 255).to(torch.uint8)


def open_prepared(folder: Path, sigma_data: float) -> Dataset:
    """Open the data set that `prepare` wrote into `folder`; its images are memory-mapped, copy-on-write."""
    images: NDArray[np.uint8] = np.load(folder / IMAGES, mmap_mode="c")
    labels: NDArray[np.int64] = np.load(folder / LABELS)
    splits = json.loads((folder / SPLIT_INDICES).read_text())
    return Dataset(torch.as_tensor(images), torch.as_tensor(labels), splits, sigma_data)
