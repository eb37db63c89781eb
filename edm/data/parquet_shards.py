"""Parquet files of images: how many images each has and where they are in it, and their labels as they are written."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from edm.data.parquet_columns import Choice, Columns, find_columns, is_text
from edm.data.parquet_open import open_parquet


@dataclass(frozen=True)
class Shard:
    """A parquet file. name: relative to the folder. groups: how many rows each of its row groups has.

    content_bytes: of the images, compressed as they are.
    """

    path: Path
    name: str
    groups: tuple[int, ...]
    content_bytes: int

    @property
    def rows(self) -> int:
        """How many images it has."""
        return sum(self.groups)


@dataclass(frozen=True, eq=False)
class ParquetImages:
    """The images of parquet files, numbered in the order of the files and of their rows.

    columns: where they are. starts: the number of the first image of each file.
    """

    columns: Columns
    shards: tuple[Shard, ...]
    starts: tuple[int, ...]

    def place_of(self, number: int) -> tuple[Shard, int]:
        """Return the file and the row of an image."""
        position = bisect_right(self.starts, number) - 1
        return self.shards[position], number - self.starts[position]

    @property
    def bytes_each(self) -> int:
        """The mean size of an image's content."""
        return sum(shard.content_bytes for shard in self.shards) // max(1, sum(shard.rows for shard in self.shards))


@dataclass(frozen=True)
class Part:
    """What listing reads of a file. labels: pyarrow's array of texts or of int64; None where there are none."""

    shard: Shard
    columns: Columns
    labels: Any


def read_shard(root: Path, choice: Choice, name: str) -> Part:
    """Return what listing reads of a file. root: the folder, or the file. Raises DataError."""
    path = root / name if root.is_dir() else root
    with open_parquet(path) as file:
        columns = find_columns(file.schema_arrow, choice, path)
        shard = Shard(path, name, groups_of(file.metadata), _content_bytes(file.metadata, columns.content))
        labels = None if columns.label is None else _plain(file.read([columns.label])[columns.label])
        return Part(shard, columns, labels)


def groups_of(metadata: Any) -> tuple[int, ...]:
    """Return how many rows each row group of a file has."""
    return tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))


def _content_bytes(metadata: Any, content: str) -> int:
    """Return the size of the column that has the content of images."""
    position = [metadata.schema.column(i).path for i in range(metadata.num_columns)].index(content)
    groups = (metadata.row_group(i).column(position) for i in range(metadata.num_row_groups))
    return sum(group.total_uncompressed_size for group in groups)


def _plain(labels: Any) -> Any:
    """Return a column as one array: of texts, or of whole numbers in 64 bits."""
    pyarrow = import_module("pyarrow")
    kind = labels.type.value_type if pyarrow.types.is_dictionary(labels.type) else labels.type
    whole = pyarrow.concat_arrays([pyarrow.nulls(0, labels.type), *labels.chunks])  # array() imports pandas
    return whole.cast(kind if is_text(kind) else pyarrow.int64())
