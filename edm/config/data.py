"""Configuration of the data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from edm.config.fields import added_field, display_field, require, require_seed
from edm.extension import Extension

DatasetName = Literal["digits", "fashion_mnist", "cifar10", "celeba", "folder"]
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

MIN_RESOLUTION, MAX_RESOLUTION = 4, 4096  # pixels a side


@dataclass(frozen=True)
class DataConfig:
    """Which images to use and how to prepare them.

    name: The data set.
    resolution: Pixels per side that images are cropped and resized to. Only for `celeba` (default: 128) and `folder`
        (required); the other data sets have a fixed size.
    splits: `study`: the split sizes of the 2023 study. `official`: CelebA's own partition, only for `celeba`.
    path: The folder of images, a zip archive of one, or the folder of parquet files or one of them, relative to the
        current folder. Only for `folder` (required). The content of the images is part of the signature, the path is
        not.
    channels: 3: RGB, the default of a folder. 1: grey. Only for `folder`.
    split_seed: Seed for splitting a folder that lacks a sub-folder `train`, `val` or `test`. Only for `folder`.
    image_column: The column that has the images, where parquet files have several of images, or their names, where a
        table of labels does not have these in `file_name` or its first column. Only for `folder`.
    label_column: The column of a table beside the images (`labels.csv`, `labels.tsv`, `metadata.csv` or
        `metadata.jsonl`) that has their labels; or of parquet files, where it cannot be found. `none`: no labels. Only
        for `folder`.
    """

    name: DatasetName | Extension = "digits"
    resolution: int | None = added_field(None)
    splits: Literal["study", "official"] = added_field("study")
    path: str | None = display_field(None)
    channels: Literal[1, 3] | None = added_field(None)
    split_seed: int = added_field(0)
    # images and labels are part of the signature themselves
    image_column: str | None = display_field(None, column=False)
    label_column: str | None = display_field(None, column=False)

    def __post_init__(self) -> None:
        self._require_usable_resolution()
        official = self.splits == "study" or self.name == "celeba"
        require(official, "splits", f"{self.name} has no official partition; remove it")
        if self.name == "folder":
            require(bool(self.path), "path", "is missing; say where the folder of images is")
            require(self.resolution is not None, "resolution", "is missing; images of a folder are resized to it")
        else:
            self._require_no_folder_fields()
        require_seed(self.split_seed, "split_seed")

    @property
    def title(self) -> str:
        """What people call the data set: its name, or that of its folder or file."""
        return PurePath(self.path or "").name or str(self.name)

    def _require_usable_resolution(self) -> None:
        if self.resolution is None:
            return
        adjustable = self.name in ("celeba", "folder")
        require(adjustable, "resolution", f"{self.name} has a fixed resolution; remove it")
        require(
            MIN_RESOLUTION <= self.resolution <= MAX_RESOLUTION,
            "resolution",
            f"{self.resolution} is not a possible resolution; give {MIN_RESOLUTION} to {MAX_RESOLUTION}",
        )

    def _require_no_folder_fields(self) -> None:
        name = self.name
        require(self.path is None, "path", f"{name} is not a folder of images; remove it")
        require(self.channels is None, "channels", f"{name} has a fixed number of channels; remove it")
        require(self.split_seed == 0, "split_seed", f"{name} is split by a rule that has no seed; remove it")
        for column in ("image_column", "label_column"):
            require(getattr(self, column) is None, column, f"{name} is not read from columns; remove it")
