"""The conditions a trial runs under, and the exceptions that end it early."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from experiments.hardware import CPU
from experiments.store.files import replacing
from experiments.store.layout import CONFIG
from experiments.store.provenance import RunInfo
from experiments.sweep.preparations import Preparation
from experiments.sweep.shorter import Shorter
from experiments.sweep.tasks import DataSource, SweepTask

if TYPE_CHECKING:
    import torch


class Interrupted(Exception):
    """Raised once the run was asked to stop and progress has been saved."""


class Pruned(Exception):
    """Raised once a training was asked to end early because others do better, and progress has been saved."""


@dataclass(frozen=True)
class TrialContext:
    """Describes where and how a trial runs; no field changes a result on the same kind of machine.

    run_id: the run that the trial belongs to; requests to stop name it.
    gpus: a fraction is a share of one GPU; with 2 or more, as many processes train one network together.
    sampling_batch: images drawn at a time.
    checkpoint_s: seconds between checkpoints; longer where writing one takes long.
    report_s: seconds between writes of progress, each followed by a check for a request to stop.
    wait_s: seconds between checks for segments that other trials draw.
    compile: whether to compile the network; None leaves the choice to the device.
    cuda_graphs: whether a GPU may get a training step as one CUDA graph.
    on_validated: called during training with (kimg, loss on the val split).
    shorter: by signature, the trainings at whose ends others may begin.
    run_info: recorded with every result.
    """

    run_id: str
    threads: int = 1
    gpus: float = 0.0
    sampling_batch: int = 250
    checkpoint_s: float = 15.0
    report_s: float = 0.5
    wait_s: float = 0.5
    compile: bool | None = None
    cuda_graphs: bool = True
    on_validated: Callable[[float, float], None] | None = None
    shorter: Mapping[str, tuple[Shorter, ...]] = field(default_factory=dict[str, tuple[Shorter, ...]])
    run_info: RunInfo = field(default_factory=RunInfo)

    @property
    def device(self) -> torch.device:
        """The device that the trial computes on; the CPU if torch sees no GPU."""
        import torch

        return torch.device("cuda" if self.gpus > 0 and torch.cuda.is_available() else "cpu")

    def limit_threads(self) -> None:
        """Limit torch to the number of threads that the trial was given."""
        import torch

        torch.set_num_threads(self.threads)


def device_name(device: torch.device) -> str:
    """Return the name of a device for records: CPU, or the model of the GPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else CPU


def write_config(folder: Path, task: SweepTask | Preparation | DataSource) -> None:
    """Write a task's config.yaml, for people and for commands that find tasks by their fields."""
    content = json.loads(json.dumps(asdict(task)))
    with replacing(folder / CONFIG) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False))
