"""Train a network from its last checkpoint, or from nothing, and look at it along the way."""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path

import torch

from edm.data.prepare import Dataset
from edm.files import MODEL, save_model
from edm.generate import generate
from edm.pictures import save_grid
from edm.precondition import Denoiser
from edm.train import Computing, TrainingSet, TrainState, averaged_model, train
from edm.validation import VALIDATION_IMAGES, validation_losses
from experiments.checkpoints import Ledger
from experiments.ingredients import ensure_data
from experiments.milestones import GRID_IMAGES, GRID_SAMPLING, LOOK_BATCHES, Milestones
from experiments.plan import Training
from experiments.provenance import provenance
from experiments.store import GRIDS, JOURNAL, VALIDATION, Store, replacing
from experiments.trial import Pulse, Setting, Stopped, device_name, write_config

CHECKPOINT_SHARE = 0.02  # at most this share of the time goes into checkpoints

log = logging.getLogger("edm_sweep")


def run_training(store: Store, training: Training, setting: Setting) -> None:
    """Train a network from its last checkpoint, or from nothing, to the end; the caller holds its lock."""
    if store.result("trainings", training.signature) is not None:
        return
    folder = store.folder("trainings", training.signature)
    write_config(folder, training)
    device, config = setting.device, training.config
    data = ensure_data(store, training.data)
    computing = Computing.choose(config, device, setting.compile)
    state = TrainState(training.network, config, data.sigma_data, training.seed, device, computing)
    ledger = Ledger(folder, state)
    examples = TrainingSet.of(data, device)
    log.info(
        "training %s on %s, %d threads, %s, from step %d",
        *(training.signature, device, setting.threads, computing, state.step),
    )
    lookout = Lookout(folder, ledger, data, examples)
    _train_to_the_end(lookout, Pulse(store, setting, folder, "kimg", _total_kimg(state)), setting)
    val_loss = lookout.finish()
    result = {
        "kimg": state.kimg,
        "loss": ledger.last_loss,
        "val_loss": val_loss,
        "seconds": ledger.seconds + ledger.other_seconds,
        "flops": training.flops,
        "device": device_name(device),
        "threads": setting.threads,
        "computing": dataclasses.asdict(computing),
        "parameters": sum(p.numel() for p in state.denoiser.parameters()),
        "provenance": provenance(),
    }
    files = [MODEL, JOURNAL, VALIDATION, *ledger.permanent_files()]
    store.finish("trainings", training.signature, result, files)
    ledger.drop_checkpoints()
    log.info("done in %.1f s", result["seconds"])


def _total_kimg(state: TrainState) -> float:
    return state.config.num_steps * state.config.batch_size / 1000


class Lookout:
    """Looks at a training along the way, and keeps of it what its configuration asks for."""

    def __init__(self, folder: Path, ledger: Ledger, data: Dataset, examples: TrainingSet) -> None:
        self.folder, self.ledger, self.state, self.examples = folder, ledger, ledger.state, examples
        self.milestones = Milestones.of(self.state.config)
        rows = torch.as_tensor(data.splits["val"][:VALIDATION_IMAGES])
        self.images, self.labels = data.images[rows], data.labels[rows]

    def look(self) -> bool:
        """Do what is due after this step; True where the state ought to be saved as well."""
        due, step = self.milestones, self.state.step
        if step in due.snapshot:
            self.ledger.keep_snapshot()
        if step == self.state.config.num_steps:
            return False
        if step in due.validate | due.grid | due.keep:
            model = averaged_model(self.state, self.examples, LOOK_BATCHES)
            if step in due.validate:
                self._validate(model)
            if step in due.grid:
                self._draw_grid(model)
            if step in due.keep:
                self.ledger.keep_checkpoint()
        return step in due.save

    def finish(self) -> float:
        """Save the finished model, look at it once more, and return its loss on the val split."""
        began = time.monotonic()
        model = averaged_model(self.state, self.examples)
        with replacing(self.folder / MODEL) as temporary:
            save_model(model, temporary)
        self.ledger.validation.keep(lambda line: line["step"] < self.state.step)  # of a kill since
        self._draw_grid(model)
        loss = self._validate(model)
        self.ledger.other_seconds += time.monotonic() - began
        return loss

    def _validate(self, model: Denoiser) -> float:
        return self.ledger.note_validation(validation_losses(model, self.images, self.labels))

    def _draw_grid(self, model: Denoiser) -> None:
        sampling = GRID_SAMPLING
        if self.state.config.label_dropout == 1:
            sampling = dataclasses.replace(sampling, guidance=0.0)
        drawn = next(generate(model, sampling, 0, GRID_IMAGES, GRID_IMAGES))
        folder = self.folder / GRIDS
        folder.mkdir(exist_ok=True)
        with replacing(folder / f"kimg{self.state.kimg:012.3f}.png") as temporary:
            save_grid(drawn.images, temporary, columns=8)


def _train_to_the_end(lookout: Lookout, pulse: Pulse, setting: Setting) -> None:
    """The loop around the loop: journal, looks, progress, checkpoints, stopping."""
    ledger, state = lookout.ledger, lookout.state
    before = last_saved = time.monotonic()
    interval = setting.checkpoint_s
    for loss in train(state, lookout.examples):
        now = time.monotonic()
        ledger.seconds += now - before
        ledger.note(loss)
        save = lookout.look()
        before = time.monotonic()
        ledger.other_seconds += before - now
        beat = pulse.beat(state.kimg, loss=ledger.last_loss)
        stopping = beat and pulse.store.stop_requested(setting.session)
        if save or stopping or (beat and now - last_saved > interval):
            began = time.monotonic()
            ledger.checkpoint()
            last_saved = before = time.monotonic()
            interval = max(setting.checkpoint_s, (last_saved - began) / CHECKPOINT_SHARE)
        if stopping:
            raise Stopped
