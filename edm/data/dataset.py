"""A prepared data set as tensors, memory-mapped, and the two ways that images are scaled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from edm.config import Split
from edm.data.prepare import IMAGES, LABELS, SPLIT_INDICES


@dataclass(frozen=True)
class Dataset:
    """A prepared data set: images [0, 255] and labels in the data set's order, indices per split.

    sigma_data: standard deviation of the whole train split scaled to [-1, 1].
    """

    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    splits: dict[Split, list[int]]
    sigma_data: float

    def indices(self, name: Split) -> Int64[Tensor, " m"]:
        """Where the images of one split are; for those who read them piece by piece."""
        return torch.tensor(self.splits[name], dtype=torch.int64)

    def split(self, name: Split) -> tuple[UInt8[Tensor, "m c h w"], Int64[Tensor, " m"]]:
        """Images and labels of one split, copied into memory."""
        indices = self.indices(name)
        return self.images[indices], self.labels[indices]


def to_unit(images: UInt8[Tensor, "*shape"]) -> Tensor:
    """uint8 [0, 255] -> float32 [-1, 1]; the inverse of `to_uint8` but for its rounding."""
    return images.to(torch.float32) / 127.5 - 1


def to_uint8(images: Tensor) -> UInt8[Tensor, "*shape"]:
    """[-1, 1] -> uint8 [0, 255], quantised as EDM does before scoring: (x * 127.5 + 128).clip(0, 255)."""
    return (images * 127.5 + 128).clip(0, 255).to(torch.uint8)


def open_prepared(folder: Path, sigma_data: float) -> Dataset:
    """The data set that `prepare` wrote into `folder`, memory-mapped copy-on-write."""
    images = np.load(folder / IMAGES, mmap_mode="c")
    labels = np.load(folder / LABELS)
    splits = json.loads((folder / SPLIT_INDICES).read_text())
    return Dataset(torch.from_numpy(images), torch.from_numpy(labels), splits, sigma_data)
