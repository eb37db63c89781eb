"""The GPUs of this machine and their driver, found without importing torch."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from typing import Literal

CPU = "cpu"  # how results name the device where there is no GPU


@cache
def gpu_names() -> tuple[str, ...]:
    """Return the names of the GPUs that NVIDIA's driver lists, such as "NVIDIA H200"; none where there is no driver."""
    output = _nvidia_smi("-L")
    lines = [line for line in (output or "").splitlines() if line.startswith("GPU ")]
    return tuple(line.partition(": ")[2].partition(" (UUID")[0] for line in lines)  # GPU 0: NVIDIA H200 (UUID: ...)


@cache
def gpu_driver() -> str | None:
    """Return the version of NVIDIA's driver; None where there is no driver."""
    output = (_nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader") or "").strip()
    return output.splitlines()[0].strip() if output else None


def device_of(gpus: float | Literal["auto"] | None) -> str:
    """Return the name of the device that trials compute on here, given the sweep's resources.gpus."""
    return gpu_names()[0] if gpus != 0 and gpu_names() else CPU


def _nvidia_smi(*arguments: str) -> str | None:
    """What nvidia-smi prints; None where it is not installed or fails."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False, timeout=20)
    return done.stdout if done.returncode == 0 else None
