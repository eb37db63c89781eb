"""What a training leaves behind as it goes: checkpoints and journals, in step with each other."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

import psutil
import torch
from torch import Tensor

from edm.files import load_tensors, model_metadata
from edm.train import TrainState
from edm.validation import total_loss
from experiments.store.checksummed import is_whole, write_checksummed
from experiments.store.damage import copy_aside_file
from experiments.store.journal import Journal
from experiments.store.layout import CHECKPOINTS, JOURNAL, KEPT, SNAPSHOTS, VALIDATION
from experiments.store.training_records import best_kept

JOURNAL_LINES = 200  # of a whole training
CURVES: tuple[str, str] = ("journal", "validation")  # whose numbers of lines a checkpoint remembers
EXPLODED = 20.0  # times the lowest loss so far: no training comes back from there

log = logging.getLogger("edm_sweep")


class DivergedError(RuntimeError):
    """A training whose loss is no longer a number, or explodes."""


class CheckpointManager:
    """What a training writes as it goes: journals and checkpoints, in step with each other."""

    def __init__(self, folder: Path, state: TrainState) -> None:
        self.state = state
        self.checkpoints, self.kept, self.snapshots = (folder / name for name in (CHECKPOINTS, KEPT, SNAPSHOTS))
        self.journal, self.validation = Journal(folder / JOURNAL), Journal(folder / VALIDATION)
        self.interval = math.ceil(state.config.num_steps / JOURNAL_LINES)
        self.window = torch.zeros((), dtype=torch.float64, device=state.device)
        self.first_bad = torch.full((), -1, device=state.device)  # step after which the loss was no number
        self.seconds = 0.0  # spent in steps so far, in this process and earlier ones
        self.other_seconds = 0.0  # spent in looking at what has been learnt
        self._restore()

    def _restore(self) -> None:
        expected: dict[str, int] = dict.fromkeys(CURVES, 0)
        for path in self._checkpoint_files(newest_first=True):
            if is_whole(path):
                tensors = load_tensors(path)
                self.window.copy_(tensors.pop("window"))
                self.seconds = float(tensors.pop("seconds"))
                self.other_seconds = float(tensors.pop("other_seconds", 0.0))
                expected = {name: int(tensors.pop(f"{name}_lines", 0)) for name in CURVES}
                self.state.load(tensors)
                break
        for name, journal in self._curves.items():
            reached = [line for line in journal.read() if line["step"] <= self.state.step]
            missing = expected[name] - len(reached)
            if journal.is_damaged:
                copy_aside_file(journal.path, "a line is not as it was written")
            elif missing > 0:  # nothing that is computed depends on them: to go further back would be a loss
                copy_aside_file(journal.path, f"{missing} of its lines are missing")
            journal.keep(lambda line: line["step"] <= self.state.step)
        losses = [line["loss"] for line in self.journal.read()]
        self.last_loss = losses[-1] if losses else math.nan
        self.lowest_loss = min(losses, default=math.inf)

    @property
    def _curves(self) -> dict[str, Journal]:
        return dict(zip(CURVES, (self.journal, self.validation), strict=True))

    def _checkpoint_files(self, newest_first: bool = False) -> list[Path]:
        return sorted(self.checkpoints.glob("*-*.safetensors"), reverse=newest_first)

    def _all(self) -> dict[str, Tensor]:
        numbers = {"seconds": self.seconds, "other_seconds": self.other_seconds}
        numbers |= {f"{name}_lines": float(len(journal.read())) for name, journal in self._curves.items()}
        extra = {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
        return {**self.state.tensors(), "window": self.window, **extra}

    def save(self) -> None:
        """Save all of the state; the one before it stays, in case this one is damaged on disk."""
        self.raise_if_bad()
        metadata = model_metadata(self.state.denoiser)
        write_checksummed(self.checkpoints, f"{self.state.step:010d}", self._all(), metadata)
        for old in self._checkpoint_files()[:-2]:
            old.unlink()

    def keep_checkpoint(self) -> None:
        """Save all of the state for good; the caller has given the averaged model its statistics."""
        self.raise_if_bad()
        write_checksummed(self.kept, _kimg_name(self.state), self._all(), model_metadata(self.state.denoiser))

    def keep_best(self) -> None:
        """Of the checkpoints that were kept, drop all but the one with the lowest loss on the val split."""
        files = sorted(self.kept.glob("[!.]*"))
        stay = best_kept(files, self.validation.read())
        for path in files:
            if path not in stay:
                path.unlink()

    def keep_snapshot(self) -> None:
        """Save the power-function averages as they are now."""
        self.raise_if_bad()
        write_checksummed(self.snapshots, f"{self.state.step:010d}", self.state.power.tensors())

    def drop_checkpoints(self) -> None:
        """Remove those that served resuming: the training is done."""
        for path in self.checkpoints.glob("*"):
            path.unlink()
        if self.checkpoints.exists():
            self.checkpoints.rmdir()

    def permanent_files(self) -> list[str]:
        """What stays beside the model: kept checkpoints and snapshots, by their place in the training's folder."""
        return [
            f"{place.name}/{path.name}" for place in (self.kept, self.snapshots) for path in sorted(place.glob("[!.]*"))
        ]

    def record_loss(self, loss: Tensor) -> None:
        """Take in one step's loss and write a line where a window of steps is full; raises DivergedError."""
        state, step = self.state, self.state.step
        self.window += loss
        self.first_bad = torch.where((self.first_bad < 0) & ~loss.isfinite(), step, self.first_bad)
        if step % self.interval and step != state.config.num_steps:
            return
        self.raise_if_bad()
        self.last_loss = float(self.window) / ((step - 1) % self.interval + 1)
        self.lowest_loss = min(self.lowest_loss, self.last_loss)
        if self.last_loss > EXPLODED * self.lowest_loss:
            self._diverged(f"the loss rose to {self.last_loss:.3g} from {self.lowest_loss:.3g}", step)
        self.window.zero_()
        self.journal.append(
            {
                "step": step,
                "kimg": state.kimg,
                "loss": self.last_loss,
                "images_per_s": state.kimg * 1000 / self.seconds if self.seconds else 0.0,
                "memory_gib": _memory_gib(state.device),
                "time": time.time(),
            }
        )

    def record_validation(self, losses: dict[float, float]) -> float:
        """Write a line of the loss on the val split, per noise level and in total; returns the total."""
        total = total_loss(losses)
        levels = {f"{sigma:g}": loss for sigma, loss in losses.items()}
        line = {"step": self.state.step, "kimg": self.state.kimg, "val_loss": total, "levels": levels}
        self.validation.append({**line, "time": time.time()})
        return total

    def raise_if_bad(self) -> None:
        """Raise DivergedError where the loss or a weight is no number, so that no such state is ever saved."""
        step = int(self.first_bad)
        if step >= 0:
            self._diverged("the loss is not a finite number", step)
        norms = torch.stack(torch._foreach_norm(list(self.state.denoiser.parameters())))  # pyright: ignore[reportPrivateImportUsage]
        if not bool(norms.isfinite().all()):
            self._diverged("the weights are not finite numbers any more", self.state.step)

    def _diverged(self, what: str, step: int) -> None:
        config = self.state.config
        good = self._checkpoint_files(newest_first=True)
        remedies = [f"lower training.lr (it is {config.lr:g})"]
        if not config.warmup_kimg:
            remedies.append("give it a training.warmup_kimg")
        if config.clip_norm is None:
            remedies.append("clip the gradient (training.clip_norm: 1)")
        if self.state.computing.precision != "fp32":
            remedies.append(f"set training.precision: fp32 (it computed in {self.state.computing.precision})")
        raise DivergedError(
            f"{what} at step {step} ({step * config.batch_size / 1000:g} kimg); "
            f"{f'the last good checkpoint is {good[0]}' if good else 'there is no checkpoint yet'}. "
            f"What may help: {', or '.join(remedies)}"
        )


def _kimg_name(state: TrainState) -> str:
    return f"kimg{state.kimg:012.3f}"


def _memory_gib(device: torch.device) -> float:
    """The most memory so far on a GPU; of the process now on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return psutil.Process().memory_info().rss / 2**30
