"""The GPUs that this process may use and their driver, found without importing torch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from experiments.environment import inherited

CPU = "cpu"  # how results name the device where there is no GPU
VISIBLE = "CUDA_VISIBLE_DEVICES"
GPU_LINE = re.compile(r"GPU \d+: (.+) \(UUID: (\S+)\)")  # of nvidia-smi -L
PART_LINE = re.compile(r"\s+(MIG \S+)\s+Device\s+\d+: \(UUID: (\S+)\)")  # a part of the GPU above it
ANSWER_S = 20.0  # a driver with a broken GPU may never answer


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one that MIG has made, as NVIDIA's driver lists it."""

    name: str
    identifier: str
    is_part: bool = False


@cache
def gpu_names() -> tuple[str, ...]:
    """Return the names of the GPUs that this process may use, such as "NVIDIA H200"; none where there is no driver."""
    return tuple(gpu.name for gpu in visible(all_gpus(), os.environ.get(VISIBLE)))


def visible(gpus: Sequence[Gpu], chosen: str | None) -> list[Gpu]:
    """Return the GPUs that CUDA shows a process whose CUDA_VISIBLE_DEVICES is `chosen`: all whole ones for None.

    It holds numbers or the beginnings of identifiers; as in CUDA, the first that fits none hides itself and the rest.
    """
    whole = [gpu for gpu in gpus if not gpu.is_part]
    if chosen is None:
        return whole
    shown: list[Gpu] = []
    for word in map(str.strip, chosen.split(",")):
        if word.isdecimal():
            found = whole[int(word) :][:1]
        else:
            found = [gpu for gpu in gpus if word and gpu.identifier.startswith(word)][:1]
        if not found:
            break
        shown += found
    return shown


@cache
def all_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs of this machine and their parts, each after its GPU, whether this process may use them or not."""
    gpus: list[Gpu] = []
    whole = ""
    for line in (_nvidia_smi("-L") or "").splitlines():
        if found := GPU_LINE.match(line):
            whole = found[1]
            gpus.append(Gpu(whole, found[2]))
        elif found := PART_LINE.match(line):
            gpus.append(Gpu(f"{whole} {found[1]}", found[2], is_part=True))
    return tuple(gpus)


@cache
def gpu_driver() -> str | None:
    """Return the version of NVIDIA's driver; None where there is no driver."""
    output = (_nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader") or "").strip()
    return output.splitlines()[0].strip() if output else None


def device_of(gpus: float | Literal["auto"] | None) -> str:
    """Return the name of the device that trials compute on here, given the sweep's resources.gpus."""
    return gpu_names()[0] if gpus != 0 and gpu_names() else CPU


def is_driver_silent() -> bool:
    """Return whether NVIDIA's tool is installed and does not list any GPU, as where the driver is broken."""
    return shutil.which("nvidia-smi") is not None and not all_gpus()


def _nvidia_smi(*arguments: str) -> str | None:
    """What nvidia-smi prints; None where it is not installed, fails or does not end."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        done = subprocess.run(
            [tool, *arguments], env=inherited(), capture_output=True, text=True, check=False, timeout=ANSWER_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
