"""The data sets, what is known of each before it is opened, and the published rule of their splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from edm.config import DataConfig, Split


@dataclass(frozen=True)
class DatasetFacts:
    """What a plan needs to know of a data set without opening it.

    fingerprint: SHA-256 of the prepared images and labels (uint8, in index order); preparation checks it.
    splits: how many images each split has; together all of them.
    """

    channels: int
    resolution: int
    num_classes: int
    splits: dict[Split, int]
    fingerprint: str


CATALOGUE: dict[str, DatasetFacts] = {
    "digits": DatasetFacts(
        channels=1,
        resolution=8,
        num_classes=10,
        splits={"train": 1197, "val": 300, "test": 300},
        fingerprint="0b7e9c3202d7bcd255d6a19a238d3743bf5e320ba74812a6679958a017c55382",
    ),
}


def facts(config: DataConfig) -> DatasetFacts:
    """What is known of the data set that `config` names."""
    return CATALOGUE[config.name]


def split_indices(name: str, sizes: dict[Split, int]) -> dict[Split, list[int]]:
    """Carve the images of a data set into splits, for good and the same for every model.

    The rule: image i has the rank of SHA-256("NAME/i") among all images; the first ranks are test, the next val, the
    rest train. Within a split the order is that of the data set. No library's random generator is involved.
    """
    total = sum(sizes.values())
    ranked = sorted(range(total), key=lambda i: hashlib.sha256(f"{name}/{i}".encode()).digest())
    test, val = sizes["test"], sizes["val"]
    return {
        "train": sorted(ranked[test + val :]),
        "val": sorted(ranked[test : test + val]),
        "test": sorted(ranked[:test]),
    }
