"""Journals: files of JSON lines that only grow, each line with its checksum."""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from pathlib import Path
from typing import Any

from experiments.store import fencing
from experiments.store.files import write_bytes
from experiments.store.json_text import parse_json

LINE_CHECKSUM = re.compile(rb', ".{5}": \d+}$', re.DOTALL)  # ends a line, also where its name is damaged


class Journal:
    """A file of JSON lines; a line that is torn or damaged is ignored."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: dict[str, Any]) -> None:
        """Add one line; raises OSError, and adds nothing, where there is no room for all of it.

        Raises LeaseLost where it belongs to a task that another process has taken over.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            # whoever takes the task over replaces the file: what is written after this lands in the file of before
            fencing.require_held(self.path)
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            try:
                _write_all(descriptor, b"\n" * torn + _line(line))
            except OSError as error:
                os.ftruncate(descriptor, size)
                raise OSError(error.errno, error.strerror, str(self.path)) from None
        finally:
            os.close(descriptor)

    def read(self) -> list[dict[str, Any]]:
        """Return all whole lines."""
        return self.read_from(0)[0]

    def read_from(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """Return the whole lines from a byte offset on, and the offset after them."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                content = file.read()
        except FileNotFoundError:
            return [], offset
        whole = content[: content.rfind(b"\n") + 1]
        lines = map(_parsed_line, whole.split(b"\n"))
        return [line for line in lines if line is not None], offset + len(whole)

    @property
    def is_damaged(self) -> bool:
        """Whether a line is not as it was written; a last line that a kill has torn does not count."""
        if not self.path.exists():
            return False
        whole = self.path.read_bytes().split(b"\n")[:-1]
        return any(text and _parsed_line(text) is None for text in whole)

    def keep_rising(self, below: float = math.inf) -> None:
        """Keep the lines whose `step` is below a limit and higher than in all lines before; all others are dropped.

        Those that are torn or damaged are dropped as well. The file is a new one: whoever has the old one open, as a
        process that was suspended may have, writes into that.
        """
        lines, last = [], -math.inf
        for line in self.read():
            if last < (step := line.get("step", -math.inf)) < below:
                lines.append(line)
                last = step
        write_bytes(self.path, b"".join(map(_line, lines)))


def _line(content: dict[str, Any]) -> bytes:
    text = json.dumps(content)
    return f'{text[:-1]}, "crc32": {zlib.crc32(text.encode())}}}\n'.encode()


def _parsed_line(text: bytes) -> dict[str, Any] | None:
    """Return a line's content, None where it is damaged; lines without a checksum are older and taken as they are."""
    try:
        content = parse_json(text)
        crc = content.pop("crc32", None)
    except (ValueError, AttributeError):
        return None
    if crc is None:
        return None if LINE_CHECKSUM.search(text) else content  # the key crc32 itself is damaged
    return content if crc == zlib.crc32(json.dumps(content).encode()) else None


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
