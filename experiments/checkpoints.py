"""What work leaves behind as it goes: checkpoints, journals, and files that carry their own checksum in their name."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from edm.files import load_tensors, save_tensors
from edm.train import TrainState
from experiments.store import JOURNAL, Journal, publish, sha256_file

JOURNAL_LINES = 200  # of a whole training

log = logging.getLogger("edm_sweep")


class DivergedError(RuntimeError):
    """A training whose loss is no longer a number."""


def write_sealed(folder: Path, stem: str, tensors: dict[str, Tensor]) -> None:
    """Write tensors under a name that holds the file's checksum."""
    folder.mkdir(exist_ok=True)
    temporary = folder / f".{stem}.part"
    save_tensors(tensors, temporary)
    publish(temporary, folder / f"{stem}-{sha256_file(temporary)[:16]}.safetensors")


def read_sealed(path: Path) -> dict[str, Tensor] | None:
    """What `write_sealed` wrote; None where the file is damaged, which is then dropped."""
    if sha256_file(path)[:16] != path.stem.rpartition("-")[2]:
        log.warning("%s is damaged and will be redone", path)
        path.unlink()
        return None
    return load_tensors(path)


class Ledger:
    """What a training writes as it goes: the journal and the checkpoints, in step with each other."""

    def __init__(self, folder: Path, state: TrainState) -> None:
        self.state = state
        self.checkpoints = folder / "checkpoints"
        self.journal = Journal(folder / JOURNAL)
        self.interval = math.ceil(state.config.num_steps / JOURNAL_LINES)
        self.window = torch.zeros((), dtype=torch.float64, device=state.device)
        self.seconds = 0.0  # spent in steps so far, in this process and earlier ones
        self.last_loss = math.nan
        self._restore()

    def _restore(self) -> None:
        for path in sorted(self.checkpoints.glob("*-*.safetensors"), reverse=True):
            tensors = read_sealed(path)
            if tensors is not None:
                self.window.copy_(tensors.pop("window"))
                self.seconds = float(tensors.pop("seconds"))
                self.state.load(tensors)
                break
        self.journal.keep(lambda line: line["step"] <= self.state.step)
        lines = self.journal.read()
        self.last_loss = lines[-1]["loss"] if lines else math.nan

    def checkpoint(self) -> None:
        """Save all of the state; the one before it stays, in case this one is damaged on disk."""
        extra = {"window": self.window, "seconds": torch.tensor(self.seconds, dtype=torch.float64)}
        write_sealed(self.checkpoints, f"{self.state.step:010d}", {**self.state.tensors(), **extra})
        for old in sorted(self.checkpoints.glob("*-*.safetensors"))[:-2]:
            old.unlink()

    def drop_checkpoints(self) -> None:
        """Remove them all: the training is done."""
        for path in self.checkpoints.glob("*"):
            path.unlink()
        if self.checkpoints.exists():
            self.checkpoints.rmdir()

    def note(self, loss: Tensor) -> None:
        """Take in one step's loss and write a line where a window of steps is full."""
        self.window += loss
        step = self.state.step
        if step % self.interval and step != self.state.config.num_steps:
            return
        count = (step - 1) % self.interval + 1
        self.last_loss = float(self.window) / count
        if not math.isfinite(self.last_loss):
            raise DivergedError(
                f"the loss is {self.last_loss} after step {step} ({self.state.kimg:g} kimg); "
                f"lower training.lr (it is {self.state.config.lr:g}) and run again"
            )
        self.window.zero_()
        rate = self.state.kimg * 1000 / self.seconds if self.seconds else 0.0
        line = {
            "step": step,
            "kimg": self.state.kimg,
            "loss": self.last_loss,
            "images_per_s": rate,
            "time": time.time(),
        }
        if self.state.device.type == "cuda":
            line["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        self.journal.append(line)
