"""The log of a task: what it says of itself, and what it prints."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

from experiments.store.fencing import require_held
from experiments.store.leases import LeaseLost

log = logging.getLogger("edm_sweep")


class TaskLog(io.TextIOBase):
    """Appends to a task's log; drops what it is given once another process has the task, or while the disk is full.

    The task itself meets a full disk where it writes a result, and says so.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("a", encoding="utf-8", buffering=1)

    def write(self, text: str) -> int:
        """Append a text."""
        with suppress(LeaseLost, OSError):
            require_held(self._path)
            self._file.write(text)
        return len(text)

    def fileno(self) -> int:
        """Return the descriptor of the file."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # of what it could not write before
            self._file.close()
        super().close()


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Append what this process logs to a file while the block lasts."""
    with TaskLog(path) as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        try:
            yield
        finally:
            log.removeHandler(handler)


@contextmanager
def prints_to(path: Path) -> Iterator[None]:
    """Append warnings and prints of this process to a file while the block lasts."""
    with TaskLog(path) as file, redirect_stdout(file), redirect_stderr(file):
        yield
