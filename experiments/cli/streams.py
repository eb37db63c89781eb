"""Standard output and error that take what a terminal cannot show, and whose end does not end a command."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import TextIO, cast

# what is printed, in letters that every terminal has
PLAIN = {
    "±": "+-",
    "≈": "~",
    "×": "x",
    "…": "...",
    "—": "-",
    "–": "-",  # noqa: RUF001 - a dash is meant
    "→": "->",
    "─": "-",
    "━": "-",
    "│": "|",
    "•": "*",
    "·": ".",
}
HANDLER = "edm-sweep-plain"


class LenientStream(io.TextIOWrapper):
    """A stream that drops what cannot be written, as when `| head` has left or a disk is full, and says so once."""

    def write(self, text: str, /) -> int:
        """Write text; without effect once that is no longer possible."""
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        """Flush the stream; without effect once that is no longer possible."""
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())  # what is buffered goes there, and whatever follows
        os.close(nowhere)
        if error.errno != errno.EPIPE and self is sys.stdout:
            print(f"standard output: {error.strerror}; what follows is not shown", file=sys.stderr)


def make_lenient() -> None:
    """Replace sys.stdout and sys.stderr by streams that never raise."""
    codecs.register_error(HANDLER, _in_plain_letters)
    sys.stdout, sys.stderr = _lenient(sys.stdout, 1), _lenient(sys.stderr, 2)


def _lenient(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:  # it was closed before Python started
        return open(os.devnull, "w")  # noqa: PTH123 - for as long as the process lives
    if not isinstance(stream, io.TextIOWrapper) or stream.fileno() != descriptor:
        return stream
    options = {"encoding": stream.encoding, "errors": HANDLER, "line_buffering": stream.line_buffering}
    return LenientStream(stream.detach(), write_through=descriptor == 2, **options)


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    """Return for letters that an encoding lacks what stands for them, in letters that every encoding has."""
    failed = cast(UnicodeEncodeError, error)
    return "".join(PLAIN.get(letter, "?") for letter in failed.object[failed.start : failed.end]), failed.end
