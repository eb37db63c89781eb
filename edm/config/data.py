"""Which images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edm.config.fields import added_field, display_field, require, require_seed

Split = Literal["train", "val", "test"]
DatasetName = Literal["digits", "fashion_mnist", "cifar10", "celeba", "folder"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class DataConfig:
    """A data set, by name, and how its images are prepared.

    resolution: of celeba (128 by default) and folder (needed), which are cropped to a square and resized; the others
    have one of their own. splits: `study` has the 2023 study's sizes, `official` CelebA's own partition.
    path, channels, split_seed: of a folder of images alone; 3 channels are RGB (the default), 1 is gray.
    """

    name: DatasetName = "digits"
    resolution: int | None = added_field(None)
    splits: Literal["study", "official"] = added_field("study")
    path: str | None = display_field(None)  # where a folder is does not matter: its content enters the signature
    channels: Literal[1, 3] | None = added_field(None)
    split_seed: int = added_field(0)

    def __post_init__(self) -> None:
        name, folder = self.name, self.name == "folder"
        if self.resolution is not None:
            require(name in ("celeba", "folder"), "resolution", f"{name} has a resolution of its own; drop it")
            require(
                4 <= self.resolution <= 4096, "resolution", f"{self.resolution} pixels make no image; give 4 to 4096"
            )
        require(self.splits == "study" or name == "celeba", "splits", f"{name} has no official partition; drop it")
        require(not folder or bool(self.path), "path", "is missing; say where the folder of images is")
        require(
            not folder or self.resolution is not None, "resolution", "is missing; images of a folder are resized to it"
        )
        require(
            folder or self.path is None, "path", f"{name} is found by its name; use 'edm-sweep data prepare --from'"
        )
        require(folder or self.channels is None, "channels", f"{name} has a number of its own; drop it")
        require(folder or self.split_seed == 0, "split_seed", f"{name} is split by a rule without a seed; drop it")
        require_seed(self.split_seed, "split_seed")
