"""One small training on the digits, and what is in its folder: for tests of how trainings run."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from experiments.store.journal import Journal
from experiments.store.store import Store
from experiments.sweep.tasks import Training
from experiments.trials.assets import ensure_data
from experiments.trials.context import TrialContext
from tests.planning import load_sweep, plan_sweep

SMALL = """\
name: small
model:      {preset: nano, channels: 8}
training:   {kimg: 0.64, batch_size: 32, lr: 2.0e-3, ema_halflife_kimg: 0.1, label_dropout: 0.1}
sampling:   {steps: 3}
evaluation: {images: 120, features: classifier}
"""
CONTEXT = TrialContext(run_id="test")
WATCHFUL = replace(CONTEXT, report_s=0.0)  # looks for a request to stop after every step


def small_training(folder: Path, *overrides: str) -> Training:
    """A training of 20 steps, or as `overrides` change it."""
    file = folder / "small.yaml"
    file.write_text(SMALL)
    (training,) = plan_sweep(load_sweep(file, overrides)).trained.values()
    return training


def store_with_digits(folder: Path) -> Store:
    """A store that holds the digits, made ready."""
    store = Store(folder).create()
    ensure_data(store, small_training(folder.parent).data)
    return store


def copy_of(store: Store, folder: Path) -> Store:
    """A store of its own for one test."""
    shutil.copytree(store.root, folder)
    return Store(folder)


def losses(store: Store, training: Training) -> list[float]:
    """The loss after every line of the journal."""
    return [line["loss"] for line in Journal(store.folder("trainings", training.signature) / "journal.jsonl").read()]


def weights(store: Store, training: Training) -> dict[str, torch.Tensor]:
    """Return the weights of the finished model."""
    return load_file(store.folder("trainings", training.signature) / "model.safetensors")


def log_of(store: Store, training: Training) -> str:
    """Return the log.txt of a training."""
    return (store.folder("trainings", training.signature) / "log.txt").read_text()


class StopAfter(Store):
    """A store that requests a stop after being asked `looks` times."""

    looks = 0

    def stop_requested(self, run_id: str, signature: str | None = None) -> bool:
        self.looks -= 1
        return self.looks < 0


def at_step(step: int, act: Callable[[], None], record_loss: Callable) -> Callable:
    """Return a CheckpointManager.record_loss that first calls `act` after one step."""

    def recording(manager, loss):
        if manager.state.step == step:
            act()
        record_loss(manager, loss)

    return recording
