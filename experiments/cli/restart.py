"""Starts the command again in a new process: one that has lost Ray cannot reliably end it and start another."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from experiments.environment import inherited

RESTARTED = "EDM_SWEEP_RESTARTED"  # how often this command was started again, and the seconds of its budget it had used
RESTARTS = 3  # of one command

_restarted = os.environ.pop(RESTARTED, "0 0").split()  # taken away: commands that a hook starts are others


def restarts_left() -> int:
    """Return how often this command may be started again."""
    return RESTARTS - int(_restarted[0])


def spent_s() -> float:
    """Return how many seconds of its budget the command had used when it was started again."""
    return float(_restarted[1])


def start_again(spent_s: float) -> NoReturn:
    """Replace this process by one that runs the same command, under the same number."""
    restarted = f"{int(_restarted[0]) + 1} {spent_s:.1f}"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], inherited(**{RESTARTED: restarted}))
