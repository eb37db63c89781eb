"""Images and labels from parquet files as Hugging Face publishes data sets: encoded images, a class number for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edm.data.errors import DataError
from edm.data.parquet_open import PYARROW_ERRORS, import_pyarrow, reason_of

IMAGE_COLUMNS, LABEL_COLUMN = ("image", "img"), "label"
TRAIN, TEST = "train", "test"  # what the names of a split's files hold


@dataclass(frozen=True)
class EncodedSplit:
    """Images as the content of image files, and the label of each."""

    images: list[bytes]
    labels: NDArray[np.int64]


def is_parquet(name: str) -> bool:
    """Return whether a file is one of a split, by its name."""
    return name.endswith(".parquet") and (TRAIN in name) != (TEST in name)


class OtherParquetError(DataError):
    """Parquet files do not hold the images and labels that are looked for: a sentence that says what they hold."""


def read_splits(contents: dict[str, bytes], sizes: Sequence[int]) -> list[EncodedSplit]:
    """Return train and test from parquet files, by name.

    Raises OtherParquetError unless they hold images and labels of these sizes, and DataError where a file is damaged.
    """
    splits: list[EncodedSplit] = []
    for split, size in zip((TRAIN, TEST), sizes, strict=True):
        names = [name for name in sorted(contents) if split in name]
        parts = [_read(contents[name], name) for name in names]
        images = [image for part in parts for image in part.images]
        if len(images) != size:
            held = f"the parquet files of {split} ({len(names)} found) hold {len(images):,} images"
            raise OtherParquetError(f"{held}, not {size:,}; give all of its files")
        splits.append(EncodedSplit(images, np.concatenate([part.labels for part in parts])))
    return splits


def _read(content: bytes, title: str) -> EncodedSplit:
    pyarrow, parquet = import_pyarrow(title)
    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(content))
        there: list[str] = file.schema_arrow.names
        column = next((name for name in IMAGE_COLUMNS if name in there), None)
        if column is None or LABEL_COLUMN not in there:
            wanted = f"{' or '.join(IMAGE_COLUMNS)} and {LABEL_COLUMN}"
            raise OtherParquetError(f"{title} has the columns {', '.join(there)}, not {wanted}; rename them")
        table = file.read([column, LABEL_COLUMN])
        images = table[column].combine_chunks().field("bytes").to_pylist()
        return EncodedSplit(images, np.asarray(table[LABEL_COLUMN].to_numpy(), dtype=np.int64))
    except DataError:
        raise
    except PYARROW_ERRORS as error:
        problem = f"is not a parquet file of images ({reason_of(error)})"
        raise DataError(f"{title}: {problem}; download it again") from None
