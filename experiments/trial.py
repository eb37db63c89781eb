"""What every trial shares: where and how it runs, how it tells how far it is, how it is asked to stop."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from experiments import leases
from experiments.leases import LeaseLost
from experiments.planning import Piece
from experiments.provenance import Told
from experiments.store import CONFIG, PROGRESS, Store, replacing, write_soon

if TYPE_CHECKING:  # heavy, and a run's driver has settings without it
    import torch

PULSE_S = 0.5  # how often progress is written and a request to stop is looked for

log = logging.getLogger("edm_sweep")


class Stopped(Exception):
    """The run was asked to stop; what there is has been saved."""


class Pruned(Exception):
    """A training was asked to end early, as others do better; what there is has been saved."""


@dataclass(frozen=True)
class Setting:
    """Where and how a trial runs; nothing here changes a result on the same kind of machine.

    gpus: 2 or more train one network on several. on_validated: told of (kimg, loss on the val split) along the way.
    told: what the run says of itself, for the record.
    """

    session: str
    threads: int = 1
    gpus: float = 0.0
    sampling_batch: int = 250
    checkpoint_s: float = 15.0
    compile: bool | None = None
    on_validated: Callable[[float, float], None] | None = None
    told: Told = field(default_factory=Told)

    @property
    def device(self) -> torch.device:
        """The device that the trial computes on."""
        import torch

        return torch.device("cuda" if self.gpus > 0 and torch.cuda.is_available() else "cpu")


class Pulse:
    """Tells how far a piece of work is, and raises Stopped where that is asked for, at most twice a second."""

    def __init__(self, store: Store, setting: Setting, folder: Path, unit: str, total: float) -> None:
        self.store, self.setting, self.path = store, setting, folder / PROGRESS
        self.unit, self.total = unit, total
        self.started = time.monotonic()
        self.begun_at: float | None = None
        self.last = -math.inf
        self.silent = False  # where another trial tells of the same piece of work

    def beat(self, done: float, **more: float) -> bool:
        """Report `done` of the total; True where it is time to look whether to stop."""
        now = time.monotonic()
        if now - self.last < PULSE_S:
            return False
        raise_if_taken_over(self.path.parent)
        if self.begun_at is None:
            self.begun_at = done
        self.last = now
        elapsed = now - self.started
        rate = (done - self.begun_at) / elapsed if elapsed > 1 else 0.0
        self._tell({"done": done, "total": self.total, "unit": self.unit, "rate": rate, **more})
        return True

    def other_work(self, what: str, done: int, total: int) -> None:
        """Report work on something else than the images that are counted; raises Stopped where that is asked for."""
        now = time.monotonic()
        if now - self.last < PULSE_S:
            return
        self.last = now
        self.raise_if_stopped()
        self._tell({"done": done, "total": max(total, 1), "unit": what, "rate": 0.0})

    def _tell(self, progress: dict[str, Any]) -> None:
        if not self.silent:
            with suppress(OSError):  # of a full disk: what matters more will meet it, too
                write_soon(self.path, {**progress, "time": time.time()})

    @property
    def stop_requested(self) -> bool:
        """Whether the run was asked to stop, or to leave this piece of work."""
        return self.store.stop_requested(self.setting.session, self.path.parent.name)

    def raise_if_stopped(self) -> None:
        """Raise Stopped where that was asked."""
        if self.stop_requested:
            raise Stopped


def raise_if_taken_over(folder: Path) -> None:
    """Raise LeaseLost where another run took over what this one is at."""
    lease = leases.own(folder)
    if lease is not None and lease.lost:
        raise LeaseLost(f"{folder}: was taken over by another run")


def device_name(device: torch.device) -> str:
    """What to call the device that something was computed on."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def write_config(folder: Path, piece: Piece) -> None:
    """config.yaml: for people, and for those who name a piece of work later (experiments/names.py)."""
    content = json.loads(json.dumps(asdict(piece)))
    with replacing(folder / CONFIG) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False))
