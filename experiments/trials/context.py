"""Where and how a trial runs, and how it is asked to stop."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from experiments.store.files import replacing
from experiments.store.layout import CONFIG
from experiments.store.provenance import RunInfo
from experiments.sweep.tasks import SweepTask

if TYPE_CHECKING:
    import torch


class Stopped(Exception):
    """The run was asked to stop; progress has been saved."""


class Pruned(Exception):
    """A training was asked to end early, as others do better; progress has been saved."""


@dataclass(frozen=True)
class TrialContext:
    """Where and how a trial runs; nothing here changes a result on the same kind of machine.

    run_id: of the run that it belongs to, which may be asked to stop. gpus: 2 or more train one network on several.
    report_s: how often it writes its progress and looks for a request to stop. on_validated: called with (kimg, loss on
    the val split) along the way. run_info: what is recorded of the run with every result. wait_s: between
    looks for segments that other trials draw.
    """

    run_id: str
    threads: int = 1
    gpus: float = 0.0
    sampling_batch: int = 250
    checkpoint_s: float = 15.0
    report_s: float = 0.5
    wait_s: float = 0.5
    compile: bool | None = None
    on_validated: Callable[[float, float], None] | None = None
    run_info: RunInfo = field(default_factory=RunInfo)

    @property
    def device(self) -> torch.device:
        """The device that the trial computes on: the CPU where torch sees no GPU."""
        import torch

        return torch.device("cuda" if self.gpus > 0 and torch.cuda.is_available() else "cpu")

    def limit_threads(self) -> None:
        """Let torch compute with as many threads as the trial was given."""
        import torch

        torch.set_num_threads(self.threads)


def device_name(device: torch.device) -> str:
    """Return what to call a device in records: "cpu", or the name of the GPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def write_config(folder: Path, task: SweepTask) -> None:
    """Write a task's config.yaml, for people and for commands that find tasks by their fields."""
    content = json.loads(json.dumps(asdict(task)))
    with replacing(folder / CONFIG) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False))
