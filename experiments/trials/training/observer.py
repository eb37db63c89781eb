"""Validates, draws and saves a training along the way and at its end."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import NoReturn

import torch

from edm.batches import TrainingSet
from edm.data.dataset import Dataset
from edm.files import MODEL, save_model
from edm.generate import generate
from edm.pictures import save_grid
from edm.precondition import Denoiser
from edm.train import averaged_model
from edm.validation import VALIDATION_IMAGES, validation_losses
from experiments.store.files import replacing
from experiments.store.layout import GRIDS, PRUNE
from experiments.store.training_records import Pruning, kimg_stem
from experiments.trials.context import Pruned, TrialContext
from experiments.trials.training.checkpoints import CheckpointManager
from experiments.trials.training.distributed import WorkerGroup
from experiments.trials.training.intervals import GRID_IMAGES, GRID_SAMPLING, STATISTICS_BATCHES, Intervals


class TrainingObserver:
    """Validates a training, draws sample grids and keeps checkpoints and snapshots, as its configuration asks."""

    def __init__(
        self,
        folder: Path,
        checkpoints: CheckpointManager,
        data: Dataset,
        examples: TrainingSet,
        context: TrialContext,
        group: WorkerGroup,
    ) -> None:
        self.folder, self.checkpoints, self.state, self.examples = folder, checkpoints, checkpoints.state, examples
        self.group, self.on_validated = group, context.on_validated
        self.intervals = due = Intervals.of(self.state.config)
        self.steps = due.snapshot | due.validate | due.grid | due.keep | due.save
        rows = torch.as_tensor(data.splits["val"][:VALIDATION_IMAGES])
        self.images, self.labels, self.sigma_data = data.images[rows], data.labels[rows], data.sigma_data
        if self.state.config.label_dropout == 1:  # no label was trained, and each would be a random input
            self.labels = torch.full_like(self.labels, self.state.denoiser.null_label)

    def after_step(self) -> bool:
        """Do whatever is due after this step; return whether a checkpoint is due as well."""
        due, step = self.intervals, self.state.step
        if step not in self.steps:
            return False
        self.group.synchronize()
        if step in due.snapshot:
            self.checkpoints.keep_snapshot()
        if step == self.state.config.num_steps:
            return False
        if step in due.validate | due.grid | due.keep:
            model = averaged_model(self.state, self.examples, STATISTICS_BATCHES)
            if step in due.validate:
                self._validate(model)
            if step in due.grid:
                self._draw_grid(model)
            if step in due.keep:
                self.checkpoints.keep_checkpoint()
                if self.state.config.keep == "best":
                    self.checkpoints.keep_best()
        return step in due.save

    def finish(self) -> float:
        """Save the finished model, draw a last grid, and return its loss on the val split."""
        began = time.monotonic()
        model = averaged_model(self.state, self.examples)
        with replacing(self.folder / MODEL) as temporary:
            save_model(model, temporary)
        # an earlier try may have been killed after it wrote the last line
        self.checkpoints.validation.keep_rising(below=self.state.step)
        self._draw_grid(model)
        loss = self._validate(model)
        self.checkpoints.other_seconds += time.monotonic() - began
        return loss

    def end_early(self) -> NoReturn:
        """Record how far the training got, once its state has been saved, and raise Pruned."""
        losses = [line["val_loss"] for line in self.checkpoints.validation.read()]
        pruning = Pruning(self.state.kimg, losses[-1] if losses else None)
        pruning.write(self.folder)
        (self.folder / PRUNE).unlink()
        raise Pruned(pruning.text)

    def _validate(self, model: Denoiser) -> float:
        losses = validation_losses(model, self.images, self.labels, self.sigma_data)
        loss = self.checkpoints.record_validation(losses)
        if self.on_validated is not None:
            self.on_validated(self.state.kimg, loss)
        return loss

    def _draw_grid(self, model: Denoiser) -> None:
        sampling = GRID_SAMPLING
        if self.state.config.label_dropout == 1:
            sampling = dataclasses.replace(sampling, guidance=0.0)
        drawn = next(generate(model, sampling, 0, GRID_IMAGES, GRID_IMAGES))
        folder = self.folder / GRIDS
        folder.mkdir(exist_ok=True)
        with replacing(folder / f"{kimg_stem(self.state.kimg)}.png") as temporary:
            save_grid(drawn.images, temporary, columns=8)
