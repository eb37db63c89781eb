"""Shows how far the reading of a sweep's files is, where that takes long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from experiments.cli.output import console_for

if TYPE_CHECKING:
    from edm.data.progress import OnProgress

LATE_S = 2.0  # what takes less long shows nothing


@contextmanager
def reading(path: str) -> Iterator[OnProgress]:
    """Show progress on standard error, once the reading of a folder has taken two seconds."""
    began = time.monotonic()
    shown: list[OnProgress] = []
    with ExitStack() as stack:

        def on_progress(step: str, done: int, total: int) -> None:
            if not shown and time.monotonic() - began >= LATE_S:
                from experiments.cli.views.progress import showing_progress  # heavy: rich

                shown.append(stack.enter_context(showing_progress(console_for(as_json=True), path, "reading")))
            for show in shown:
                show(step, done, total)

        yield on_progress
