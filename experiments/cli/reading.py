"""Shows how far the reading of a sweep and of its files is, where that takes long."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from experiments.cli.late import called_after
from experiments.cli.output import console_for, waiting

if TYPE_CHECKING:
    from edm.data.progress import OnProgress

LATE_S = 2.0  # what takes less long shows nothing


class Reading:
    """What a command shows on standard error of what it reads: one thing at a time."""

    def __init__(self) -> None:
        self._shown = ExitStack()
        self._lock = threading.Lock()  # the spinner appears from a thread of its own
        self._may_spin = True

    @contextmanager
    def sweep(self, path: str) -> Iterator[None]:
        """Show a spinner on a terminal, once a sweep file and its extensions have taken two seconds."""
        if not sys.stderr.isatty():
            yield
            return
        try:
            with called_after(LATE_S, partial(self._spin, path)):
                yield
        finally:
            with self._lock:
                self._may_spin = False
                self._shown.close()

    def _spin(self, path: str) -> None:
        with self._lock:
            if self._may_spin:
                self._shown.enter_context(waiting(console_for(as_json=True), f"reading {path}"))

    @contextmanager
    def folder(self, path: str) -> Iterator[OnProgress]:
        """Show progress, once the reading of a folder has taken two seconds."""
        began = time.monotonic()
        shown: list[OnProgress] = []
        with ExitStack() as stack:

            def on_progress(step: str, done: int, total: int) -> None:
                if not shown and time.monotonic() - began >= LATE_S:
                    from experiments.cli.views.progress import showing_progress  # heavy: rich

                    with self._lock:
                        self._may_spin = False
                        self._shown.close()
                    shown.append(stack.enter_context(showing_progress(console_for(as_json=True), path, "reading")))
                for show in shown:
                    show(step, done, total)

            yield on_progress
