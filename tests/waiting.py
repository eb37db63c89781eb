"""Waiting for what other processes do, and the ports on which they do it."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from typing import Any


def until(
    condition: Callable[[], Any],
    seconds: float = 240,
    running: Iterable[subprocess.Popen[Any]] = (),
    told: Callable[[], object] = lambda: "it never came",
) -> Any:
    """Wait until something is so; what it is. Fails with what is `told`, after so many seconds or if a process ends."""
    processes, deadline = list(running), time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, told()
        assert all(process.poll() is None for process in processes), f"a process has ended before: {told()}"
        time.sleep(0.02)
    return found


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
