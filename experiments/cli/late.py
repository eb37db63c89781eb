"""Says something only where work takes long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def called_after(seconds: float, function: Callable[[], None]) -> Iterator[None]:
    """Call a function from another thread if the block takes longer than so many seconds."""
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # a thread that still runs would cut the end of a command short
