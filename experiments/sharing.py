"""How cores and GPUs are shared out among trials. No Ray: what is impossible is said before it starts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import UserError
from experiments.plan import Kind, Plan
from experiments.spec import ResourcesConfig

# of NVIDIA's and AMD's drivers, and of Windows' subsystem for Linux
GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))


@dataclass(frozen=True)
class Share:
    """What one trial gets."""

    cpus: int
    gpus: float


def share(kind: Kind, plan: Plan, resources: ResourcesConfig, total: dict[str, float]) -> Share:
    """What each trial of a kind gets: as asked, else one GPU where there are any and an even part of the cores.

    The part follows from the whole plan and not from what is left of it, so that a repeated run computes with as many
    threads as the first. Raises UserError where more is asked for than there is.
    """
    cores, devices = int(total.get("CPU", 1)), total.get("GPU", 0.0)
    gpus = resources.gpus if resources.gpus is not None else min(1.0, devices)
    if gpus > devices:
        raise UserError(
            f"resources.gpus: {gpus:g} per trial but there are {devices:g}; give --gpus 0 to run on the CPU"
        )
    pieces = len(plan.trainings if kind == "training" else plan.evaluations)
    at_once = int(devices / gpus) if gpus else pieces
    cpus = resources.cpus or max(1, cores // max(1, min(at_once, cores)))
    if cpus > cores:
        raise UserError(
            f"resources.cpus: {cpus} per trial but there are {cores}; give --cpus-per-trial {cores} or fewer"
        )
    return Share(cpus, gpus)


def require_possible(plan: Plan, resources: ResourcesConfig) -> None:
    """Raise UserError where this machine cannot have what a sweep asks for; how many GPUs there are, Ray will say."""
    may_have_gpus = any(device.exists() for device in GPU_DEVICES)
    devices = (resources.gpus or 0.0) if may_have_gpus else 0.0
    share("training", plan, resources, {"CPU": os.cpu_count() or 1, "GPU": devices})
