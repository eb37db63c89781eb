"""Reads the images in parquet files in their order, from several threads, without holding a whole file in memory."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from pathlib import Path

from edm.data.errors import DataError, FileProblem, FilesError
from edm.data.files import MAX_FILE_BYTES, Files, require_size
from edm.data.parquet_columns import BYTES
from edm.data.parquet_open import open_parquet
from edm.data.parquet_shards import ParquetImages, Shard, groups_of

BLOCK_BYTES = 2**22  # of images that are read at once
MOST_ROWS = 256  # that are read at once
HELD_BYTES = 2**28  # of images that were passed on the way to another one, and that nobody has asked for yet

Row = tuple[int, bytes | None]  # number and content of an image


class ParquetFiles(Files):
    """The images in parquet files by name, which ends in their number.

    Threads that ask for images one after the other share one pass through the files: a row can only be reached through
    those before it in its row group, which may be gigabytes. So images that are passed on the way are held for a while.
    """

    def __init__(self, root: Path, images: ParquetImages) -> None:
        super().__init__(root)
        self.images = images
        self._lock = threading.Lock()
        self._next = -1  # number of the image that comes next in _rows
        self._held: dict[int, bytes | None] = {}
        self._held_bytes = 0
        self._broken: dict[Shard, FilesError] = {}
        self._rows = self._rows_from(0)

    def at_once(self, most: int) -> int:
        """Return how many images a thread should read at once, so that those in memory are few where they are large."""
        return max(1, min(most, BLOCK_BYTES // max(1, self.images.bytes_each)))

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return the content of an image."""
        number = int(name.rpartition("/")[2])
        shard, row = self.images.place_of(number)
        title = f"{shard.path} row {row}"
        with self._lock:
            content = self._read(number, shard)
        if content is None:
            problem = f"has nothing in the column {self.images.columns.content}"
            remedy = "write the images themselves into the file, or remove such rows"
            raise FilesError(FileProblem(title, problem, remedy, remedy))
        require_size(title, len(content), limit)
        return content

    def close(self) -> None:
        """Close the file that is being read."""
        with self._lock:
            self._rows.close()

    def _read(self, number: int, shard: Shard) -> bytes | None:
        if shard in self._broken:
            raise self._broken[shard]
        if number not in self._held:
            try:
                self._advance(number)
            except FilesError as error:
                self._broken[shard], self._next = error, -1
                raise
        content = self._held.pop(number)
        self._held_bytes -= len(content or b"")
        return content

    def _advance(self, number: int) -> None:
        """Pass through rows until that of a number is held; begin anew where it lies behind, or far ahead."""
        ahead = (number - self._next) * self.images.bytes_each
        if self._next < 0 or number < self._next or ahead > HELD_BYTES:
            self._rows, self._next = self._rows_from(number), number
        while number not in self._held:
            found, content = next(self._rows)
            self._next = found + 1
            self._hold(found, content)

    def _hold(self, number: int, content: bytes | None) -> None:
        self._held[number] = content
        self._held_bytes += len(content or b"")
        while self._held_bytes > HELD_BYTES and len(self._held) > 1:
            oldest = next(iter(self._held))
            self._held_bytes -= len(self._held.pop(oldest) or b"")

    def _rows_from(self, number: int) -> Generator[Row, None, None]:
        """Yield the rows from that of a number on."""
        for start, shard in zip(self.images.starts, self.images.shards, strict=True):
            if number < start + shard.rows:
                yield from enumerate(self._contents(shard, max(0, number - start)), max(number, start))

    def _contents(self, shard: Shard, first: int) -> Iterator[bytes | None]:
        """Yield the images of a file from row `first` on; row groups that lie wholly before it are passed over."""
        columns, before, group = self.images.columns, 0, 0
        while group < len(shard.groups) and before + shard.groups[group] <= first:
            before, group = before + shard.groups[group], group + 1
        with open_parquet(shard.path) as file:
            if groups_of(file.metadata) != shard.groups:
                raise DataError(f"{shard.path}: has changed while it was read; leave it alone and run this again")
            wanted, passed = range(group, len(shard.groups)), first - before
            for batch in file.iter_batches(self.at_once(MOST_ROWS), wanted, [columns.content], use_threads=False):
                images = batch.column(0) if columns.content == columns.image else batch.column(0).field(BYTES)
                for position in range(min(passed, len(images)), len(images)):
                    yield images[position].as_py()
                passed = max(0, passed - len(images))
