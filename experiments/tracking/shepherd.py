"""Runs a command, and ends all its processes once standard input ends: a script, of the standard library alone.

Whoever starts it holds the other end of that pipe, which closes however that process ends, even by SIGKILL.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

GRACE_S = 3.0  # between asking the processes to end and killing them


def shepherd(command: list[str]) -> int:
    """Run a command in a process group of its own; return its exit code, as a shell would."""
    process = subprocess.Popen(command, env=os.environ.copy(), stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_end_with_input, args=(process,), daemon=True).start()
    code = process.wait()
    _signal_group(process, signal.SIGKILL)  # what it has left behind
    return code if code >= 0 else 128 - code


def _end_with_input(process: subprocess.Popen[bytes]) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    _signal_group(process, signal.SIGTERM)
    threading.Event().wait(GRACE_S)
    _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


if __name__ == "__main__":
    code = shepherd(sys.argv[1:])
    os._exit(code)  # the thread still reads
