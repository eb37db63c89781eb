"""The command line as a person starts it: a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

EDM_SWEEP = Path(sys.executable).parent / "edm-sweep"


def environment() -> dict[str, str]:
    """This process's, less what would send a test's record elsewhere."""
    return {k: v for k, v in os.environ.items() if k not in ("EDM_SWEEP_STORE", "MLFLOW_TRACKING_URI")}


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start a command in a session of its own, as a terminal does."""
    command = [str(EDM_SWEEP), *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment(),
        start_new_session=True,
    )


def run(*arguments: object, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    process = start(*arguments)
    try:
        output, errors = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)
