"""Decoded images on their way into one file, in pieces, so that a preparation that is killed goes on from there."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

CONTENT, JOURNAL = "decoded.npy", "decoded.jsonl"


@dataclass(frozen=True)
class Chunk:
    """Some images as bytes, and over those in the train split the sums of pixel values and of their squares.

    digests: of the files that they were read from, as `Pictures.digests` has them. sha256: of the content, in
    hexadecimal.
    """

    content: bytes
    sum: int
    squares: int
    digests: str
    sha256: str

    @classmethod
    def of(cls, content: bytes, sum: int, squares: int, digests: str = "") -> Chunk:
        """Return a chunk with the digest of its content."""
        return cls(content, sum, squares, digests, hashlib.sha256(content).hexdigest())


class Decoded:
    """A file of images that grows by whole chunks, with a journal of what is in it.

    shape: of all images together. size: images of a chunk; the last one may have fewer.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], size: int) -> None:
        self.path, self.journal = folder / CONTENT, folder / JOURNAL
        self.count, self.size, self.bytes_each = shape[0], size, math.prod(shape[1:])
        self.header = _header(shape)
        self.lines = [json.dumps({"shape": shape, "size": size})]
        self._files = ExitStack()

    def kept(self) -> Iterator[Chunk]:
        """Yield the chunks that an earlier process has left, as far as they are whole and in order."""
        try:
            first, *lines = self.journal.read_text().splitlines()
            with self.path.open("rb") as file:
                if first != self.lines[0] or file.read(len(self.header)) != self.header:
                    return
                for number, line in enumerate(lines):
                    chunk = _chunk_of(line, file.read(self._images_of(number) * self.bytes_each))
                    if chunk is None:
                        return
                    self.lines.append(line)
                    yield chunk
        except (OSError, ValueError):
            return  # there is none, or the journal is empty

    def _images_of(self, number: int) -> int:
        return max(0, min(self.size, self.count - number * self.size))

    def __enter__(self) -> Decoded:
        """Open the files for the chunks that follow those that `kept` has yielded."""
        whole = sum(map(self._images_of, range(len(self.lines) - 1))) * self.bytes_each
        if len(self.lines) == 1:
            self.path.write_bytes(self.header)
        self.journal.write_text("".join(f"{line}\n" for line in self.lines))
        self._content = self._files.enter_context(self.path.open("r+b"))
        self._content.truncate(len(self.header) + whole)
        self._content.seek(0, io.SEEK_END)
        self._journal = self._files.enter_context(self.journal.open("a"))
        return self

    def add(self, chunk: Chunk) -> None:
        """Append a chunk; a kill leaves it whole or not at all, as its line comes last and has its checksum."""
        self._content.write(chunk.content)
        self._content.flush()
        self._journal.write(_line_of(chunk) + "\n")
        self._journal.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the files."""
        self._files.close()

    def finish(self, path: Path) -> None:
        """Give the file its name, once all chunks are in it."""
        self.path.replace(path)
        self.journal.unlink()


def _header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def _line_of(chunk: Chunk) -> str:
    known = {"sha256": chunk.sha256, "sum": chunk.sum, "squares": chunk.squares, "digests": chunk.digests}
    return json.dumps(known)


def _chunk_of(line: str, content: bytes) -> Chunk | None:
    """Return a chunk from its line and its bytes; None where they do not belong together. Raises ValueError."""
    known = json.loads(line)
    found = Chunk.of(content, known["sum"], known["squares"], known["digests"])
    return found if content and found.sha256 == known["sha256"] else None
