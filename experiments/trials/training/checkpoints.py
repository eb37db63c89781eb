"""Writes the checkpoints and journals of a training so that they agree with each other."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

import psutil
import torch
from torch import Tensor

from edm.config import Extension, extensions_in
from edm.files import load_tensors, model_metadata
from edm.train import TrainState
from edm.validation import total_loss
from experiments.store.checksummed import is_whole, write_checksummed
from experiments.store.damage import copy_aside_file
from experiments.store.journal import Journal
from experiments.store.layout import BEGUN_WITH, CHECKPOINTS, CONTINUES, JOURNAL, KEPT, SNAPSHOTS, VALIDATION
from experiments.store.training_records import best_kept, kimg_stem, step_stem
from experiments.sweep.shorter import journal_interval

CURVES: tuple[str, str] = ("journal", "validation")  # a checkpoint holds how many lines each had
EXPLODED = 20.0  # times the lowest loss so far, or more than a lowest logarithm; no training recovers from there

log = logging.getLogger("edm_sweep")


class DivergedError(RuntimeError):
    """Raised when a loss or a weight is no longer finite, or the loss explodes."""


class CheckpointManager:
    """Restores a training from its newest sound checkpoint, and writes checkpoints and journals from there."""

    def __init__(self, folder: Path, state: TrainState) -> None:
        self.state = state
        self.checkpoints, self.kept, self.snapshots = (folder / name for name in (CHECKPOINTS, KEPT, SNAPSHOTS))
        self._continues, self._begun_with = folder / CONTINUES, folder / BEGUN_WITH  # of what checkpoints hold
        self.journal, self.validation = Journal(folder / JOURNAL), Journal(folder / VALIDATION)
        self.interval = journal_interval(state.config)
        self.window = torch.zeros((), dtype=torch.float64, device=state.device)  # the sum of losses since the last line
        self.window_steps = 0
        self.first_bad = torch.full((), -1, device=state.device)  # the first step whose loss was not finite
        self.seconds = 0.0  # spent in training steps, in this process and earlier ones
        self.other_seconds = 0.0  # spent in validation, pictures and snapshots
        self._restore_journals(self._restore_state())
        losses = [line["loss"] for line in self.journal.read()]
        self.last_loss = losses[-1] if losses else math.nan
        self.lowest_loss = min(losses, default=math.inf)

    def _restore_state(self) -> dict[str, int]:
        """Load the newest sound checkpoint, if there is one; return how many lines each curve had then."""
        for path in self._checkpoint_files(newest_first=True):
            if is_whole(path):
                tensors = load_tensors(path)
                self.window.copy_(tensors.pop("window"))
                self.window_steps = int(tensors.pop("window_steps", tensors["step"] % self.interval))
                self.seconds = float(tensors.pop("seconds"))
                self.other_seconds = float(tensors.pop("other_seconds", 0.0))
                num_lines = {name: int(tensors.pop(f"{name}_lines", 0)) for name in CURVES}
                self.state.load(tensors)
                return num_lines
        self._continues.unlink(missing_ok=True)
        return dict.fromkeys(CURVES, 0)

    def _restore_journals(self, num_lines: dict[str, int]) -> None:
        """Drop lines from after the checkpoint; keep a copy of a curve that is damaged or lacks some of `num_lines`."""
        for name, journal in self._curves.items():
            reached = [line for line in journal.read() if line["step"] <= self.state.step]
            missing = num_lines[name] - len(reached)
            if journal.is_damaged:
                copy_aside_file(journal.path, "a line is not as it was written")
            elif missing > 0:  # no result depends on them, so that an earlier checkpoint would only lose work
                copy_aside_file(journal.path, f"{missing} of its lines are missing")
            journal.keep_rising(below=self.state.step + 1)

    @property
    def _curves(self) -> dict[str, Journal]:
        return dict(zip(CURVES, (self.journal, self.validation), strict=True))

    def _checkpoint_files(self, newest_first: bool = False) -> list[Path]:
        return sorted(self.checkpoints.glob("*-*.safetensors"), reverse=newest_first)

    def _tensors(self) -> dict[str, Tensor]:
        numbers = {"seconds": self.seconds, "other_seconds": self.other_seconds, "window_steps": self.window_steps}
        numbers |= {f"{name}_lines": float(len(journal.read())) for name, journal in self._curves.items()}
        extra = {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
        return {**self.state.tensors(), "window": self.window, **extra}

    def save(self) -> None:
        """Save the whole state for resuming; the checkpoint before it stays, in case this one gets damaged on disk."""
        self.raise_if_bad()
        metadata = model_metadata(self.state.denoiser)
        write_checksummed(self.checkpoints, step_stem(self.state.step), self._tensors(), metadata)
        for old in self._checkpoint_files()[:-2]:
            old.unlink()

    def keep_checkpoint(self) -> None:
        """Save the whole state for good; the caller has computed the averaged model's batch-norm statistics."""
        self.raise_if_bad()
        write_checksummed(self.kept, kimg_stem(self.state.kimg), self._tensors(), model_metadata(self.state.denoiser))

    def keep_best(self) -> None:
        """Delete all kept checkpoints but the one with the lowest loss on the val split."""
        files = sorted(self.kept.glob("[!.]*"))
        best = best_kept(files, self.validation.read())
        for path in files:
            if path not in best:
                path.unlink()

    def keep_snapshot(self) -> None:
        """Save the power-function averages of this step."""
        self.raise_if_bad()
        write_checksummed(self.snapshots, step_stem(self.state.step), self.state.power.tensors())

    def drop_checkpoints(self) -> None:
        """Delete the checkpoints that served resuming, once the training is done, but for its state at the end."""
        last = self._checkpoint_files()[-1:] if self.state.config.keep_state else []
        for path in self.checkpoints.glob("*"):
            if path not in last:
                path.unlink()
        if self.checkpoints.exists() and not last:
            self.checkpoints.rmdir()
            self._begun_with.unlink(missing_ok=True)

    def permanent_files(self) -> list[str]:
        """Return the kept checkpoints and snapshots, as paths within the folder of the training."""
        return [
            f"{place.name}/{path.name}" for place in (self.kept, self.snapshots) for path in sorted(place.glob("[!.]*"))
        ]

    def record_loss(self, loss: Tensor) -> None:
        """Record the loss of a step, with a line in the journal at the end of each window; raises DivergedError."""
        state, step = self.state, self.state.step
        self.window += loss
        self.window_steps += 1
        self.first_bad.masked_fill_((self.first_bad < 0) & ~loss.isfinite(), step)
        if step % self.interval and step != state.config.num_steps:
            return
        self.raise_if_bad()
        self.last_loss = float(self.window) / self.window_steps
        self.lowest_loss = min(self.lowest_loss, self.last_loss)
        if self.last_loss > self._most():
            raise self._diverged(f"the loss rose to {self.last_loss:.3g} from {self.lowest_loss:.3g}", step)
        self.window.zero_()
        self.window_steps = 0
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
        """Record the loss on the val split, for each noise level and in total; return the total."""
        total = total_loss(losses)
        levels = {f"{sigma:g}": loss for sigma, loss in losses.items()}
        line = {"step": self.state.step, "kimg": self.state.kimg, "val_loss": total, "levels": levels}
        self.validation.append({**line, "time": time.time()})
        return total

    def raise_if_bad(self) -> None:
        """Raise DivergedError if a loss or a weight is not finite, so that no such state is ever saved."""
        step = int(self.first_bad)
        if step >= 0:
            raise self._diverged("the loss is not a finite number", step)
        norms = torch.stack(torch._foreach_norm(list(self.state.denoiser.parameters())))  # pyright: ignore[reportPrivateImportUsage]
        if not bool(norms.isfinite().all()):
            raise self._diverged("the weights are not finite numbers any more", self.state.step)

    def _most(self) -> float:
        """Return the loss above which a training has diverged."""
        relative, absolute = EXPLODED * self.lowest_loss, self.lowest_loss + EXPLODED
        if self.state.config.loss == "uncertainty":  # about the logarithm of the error, plus 1
            return absolute
        return max(relative, absolute) if isinstance(self.state.config.loss, Extension) else relative

    def _diverged(self, problem: str, step: int) -> DivergedError:
        config = self.state.config
        own = extensions_in((config, self.state.denoiser.config))
        files = self._checkpoint_files(newest_first=True)
        saved = f"the last good checkpoint is {files[0]}" if files else "there is no checkpoint yet"
        remedies = [f"check {extension} ({extension.where})" for extension in own]
        remedies += [f"lower training.lr (it is {config.lr:g})"]
        if not config.warmup_kimg:
            remedies.append("set training.warmup_kimg")
        if config.clip_norm is None:
            remedies.append("clip the gradient (training.clip_norm: 1)")
        if self.state.computing.precision != "fp32":
            remedies.append(f"set training.precision: fp32 (it computed in {self.state.computing.precision})")
        kimg = config.kimg_after(step)
        return DivergedError(
            f"{problem} at step {step} ({kimg:g} kimg); {saved}. What may help: {', or '.join(remedies)}"
        )


def _memory_gib(device: torch.device) -> float:
    """Return the peak memory of a GPU, or on a CPU the memory that this process uses now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return psutil.Process().memory_info().rss / 2**30
