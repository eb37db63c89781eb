"""Signals that end a command as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = (signal.SIGTERM, signal.SIGHUP)  # of a batch system or `timeout`; of a terminal that is closed


def accept_ctrl_c() -> None:
    """Let Ctrl-C and SIGTERM raise KeyboardInterrupt, also where they are ignored, as in a shell's background job."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """While the block lasts, let SIGTERM and SIGHUP raise KeyboardInterrupt, unless they are ignored, as under nohup.

    A run takes care of them itself while tasks run.
    """
    if threading.current_thread() is not threading.main_thread():  # of a program that calls this one
        yield
        return
    ours = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
