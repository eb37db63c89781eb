"""Memory that a worker's C library keeps."""

import ctypes
import sys
from contextlib import suppress


def return_freed_memory() -> None:
    """Return memory that is no longer used to the system, where the C library can (glibc).

    A worker keeps it during a task, which makes tensors faster (runner/ray_environment.py); an idle one would keep it
    from others.
    """
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
