"""The command line as a person starts it: a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

EDM_SWEEP = Path(sys.executable).parent / "edm-sweep"


OWN = ("EDM_SWEEP_STORE", "EDM_SWEEP_DATA", "MLFLOW_TRACKING_URI", "UV_RUN_RECURSION_DEPTH")


def environment() -> dict[str, str]:
    """This process's, less what would send a test's record elsewhere or change what is printed, and without a GPU."""
    return {name: value for name, value in os.environ.items() if name not in OWN} | {"CUDA_VISIBLE_DEVICES": ""}


def start(*arguments: object, **variables: str) -> subprocess.Popen[str]:
    """Start a command in a session of its own, as a terminal does; `variables` go into its environment."""
    command = [str(EDM_SWEEP), *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment() | variables,
        start_new_session=True,
    )


def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    process = start(*arguments, **variables)
    try:
        output, errors = process.communicate(timeout=280)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)
