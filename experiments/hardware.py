"""The GPUs and their driver, found without importing torch."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache

CPU = "cpu"


@cache
def gpu_names() -> tuple[str, ...]:
    """The GPUs that the driver lists, by name, without importing torch."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    done = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:
        return ()
    lines = [line for line in done.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(line.partition(": ")[2].partition(" (UUID")[0] for line in lines)  # GPU 0: NVIDIA H200 (UUID: ...)


@cache
def gpu_driver() -> str | None:
    """The version of NVIDIA's driver; None where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=20)
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else None
