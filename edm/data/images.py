"""The images of a data set as its loader hands them out: in order, decoded on request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edm.data.catalogue import CATALOGUE
from edm.data.errors import DataError, caught, require_all
from edm.data.files import contents
from edm.data.parquet import EncodedSplit, OtherParquetError, is_parquet, read_splits
from edm.data.readers import Bytes, Labels
from edm.data.sources import Origin

PARQUET_DEPTH = 2  # Hugging Face's converted files lie in train/ and test/

Item = TypeVar("Item")


class Pictures(ABC):
    """The images of a data set, in its order, decoded on request.

    labels: class of each image; 0 where there are none. source: the files read and how they were checked, for the
    record.
    """

    def __init__(self, labels: Labels, source: dict[str, object]) -> None:
        self.labels = labels
        self.source = source

    @abstractmethod
    def read(self, start: int, stop: int) -> Bytes:
        """Decode images start to stop - 1: uint8 (n, c, h, w). May be called from several threads at once.

        Raises FilesError, which names all of them that cannot be decoded.
        """

    def at_once(self, most: int) -> int:
        """Return how many images, at most `most`, one thread should read at once."""
        return most

    def digests(self, start: int, stop: int) -> str:
        """Return what `verify` needs to know of images that were read, as text in one line; most need nothing."""
        del start, stop
        return ""

    def restore(self, start: int, digests: str) -> None:  # noqa: B027 - most need nothing
        """Take in what `digests` returned in a process that read images from number `start` on."""

    def verify(self, fingerprint: str) -> None:  # noqa: B027 - most files are verified before they are read
        """Raise DataError unless the images and labels, all read and of this fingerprint, are the expected ones."""

    def close(self) -> None:  # noqa: B027 - most keep no file open
        """Close open files."""


def joined(read_one: Callable[[Item], Bytes], items: Sequence[Item]) -> Bytes:
    """Return the pictures of one size that are read for some items as one array, in the order in which it is written.

    Raises FilesError, which names all that cannot be read.
    """
    each = require_all(map(caught(read_one), items))
    first = next(each)
    images = np.empty((len(items), *first.shape), dtype=np.uint8)  # np.stack keeps the decoder's order, channels last
    images[0] = first
    for i, picture in enumerate(each, 1):
        images[i] = picture
    return images


class ArrayPictures(Pictures):
    """Pictures held in one array.

    padding: width of the black border to add. pinned: the fingerprint that they must have; empty for any.
    """

    def __init__(
        self, images: Bytes, labels: Labels, source: dict[str, object], padding: int = 0, pinned: str = ""
    ) -> None:
        super().__init__(labels, source)
        self.images, self.padding, self.pinned = images, padding, pinned

    def read(self, start: int, stop: int) -> Bytes:
        """Return images start to stop - 1 with their border."""
        border = (self.padding, self.padding)
        return np.pad(self.images[start:stop], ((0, 0), (0, 0), border, border))

    def verify(self, fingerprint: str) -> None:
        """Raise DataError unless the images have the pinned fingerprint."""
        if self.pinned and fingerprint != self.pinned:
            raise DataError(
                f"digits: the images have fingerprint {fingerprint[:16]}, expected {self.pinned[:16]}; "
                "reinstall scikit-learn, which ships them, or report that it ships a new release"
            )


def checked_labels(labels: NDArray[Any], num_classes: int, path: Path) -> Labels:
    """Return labels as int64; raises DataError unless all lie in 0 to `num_classes` - 1."""
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(f"{path}: has labels outside 0 to {num_classes - 1}; replace it by the published file")
    return labels.astype(np.int64)


def require_count(path: Path, found: int, expected: int) -> None:
    """Raise DataError unless a file has as many images as the published one."""
    if found != expected:
        raise DataError(f"{path}: has {found:,} images, not {expected:,}; replace it by the published one")


def source_record(paths: list[Path], checked: str = "content") -> dict[str, object]:
    """Return the record of the files that were read. checked: what of them was compared with the published ones."""
    return {"files": [str(path) for path in paths], "checked": checked}


def parquet_splits(origin: Origin, dataset: str) -> tuple[Path, list[EncodedSplit]] | None:
    """Return train and test of a data set from parquet files, and where they lie; None where there are none.

    Raises DataError where somebody gave parquet files that hold something else; where they only lie about, None.
    """
    sizes, other = list(CATALOGUE[dataset].official.values()), None
    for place in (*origin.archives(dataset), *origin.folders(dataset)):
        found = contents(place, is_parquet, PARQUET_DEPTH) if place.exists() else {}
        try:
            if found:
                return place, read_splits(found, sizes)
        except OtherParquetError as error:
            other = other or DataError(f"{place}: {error}, or give another packing of {dataset}")
    if other is not None and not origin.download:
        raise other
    return None
