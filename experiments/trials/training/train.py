"""Train a network from its last checkpoint, or from nothing, and look at it along the way."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from edm.batches import TrainingSet
from edm.data.dataset import Dataset
from edm.files import MODEL, save_model
from edm.generate import generate
from edm.pictures import save_grid
from edm.precondition import Denoiser
from edm.train import Computing, TrainState, averaged_model, train
from edm.validation import VALIDATION_IMAGES, validation_losses
from experiments.store.files import replacing
from experiments.store.layout import GRIDS, JOURNAL, PRUNE, PRUNED, VALIDATION
from experiments.store.provenance import provenance
from experiments.store.results import ComputingRecord, TrainingResult
from experiments.store.store import Store
from experiments.store.training_records import Pruning
from experiments.sweep.tasks import Training
from experiments.trials.assets import ensure_data
from experiments.trials.context import Pruned, Stopped, TrialContext, device_name, write_config
from experiments.trials.failures import is_out_of_memory
from experiments.trials.progress import ProgressReporter
from experiments.trials.training.checkpoints import CheckpointManager
from experiments.trials.training.distributed import WorkerGroup, team_size, worker_group
from experiments.trials.training.intervals import GRID_IMAGES, GRID_SAMPLING, LOOK_BATCHES, Intervals
from experiments.trials.training.micro_batch import MicroBatchLimit

CHECKPOINT_SHARE = 0.02  # at most this share of the time goes into checkpoints

log = logging.getLogger("edm_sweep")


def run_training(store: Store, training: Training, context: TrialContext) -> None:
    """Train a network from its last checkpoint, or from nothing, to the end; the caller holds its lock.

    Raises Stopped and Pruned where that is asked for, UserError where it cannot be done as `context` wants.
    """
    if store.result(TrainingResult, training.signature) is not None:
        return
    folder = store.folder("trainings", training.signature)
    began = time.time()
    write_config(folder, training)
    team_size(training, context)  # raises, before anything is prepared, where batches cannot be shared out
    for name in (PRUNE, PRUNED):
        (folder / name).unlink(missing_ok=True)  # it is wanted after all
    observer = _trained(store, training, context)
    state, checkpoints = observer.state, observer.checkpoints
    val_loss = observer.finish()
    result = TrainingResult(
        kimg=state.kimg,
        loss=checkpoints.last_loss,
        val_loss=val_loss,
        seconds=checkpoints.seconds + checkpoints.other_seconds,
        flops=training.flops,
        device=device_name(context.device),
        gpus=state.team.size,
        threads=context.threads,
        computing=ComputingRecord(**dataclasses.asdict(state.computing)),
        parameters=sum(p.numel() for p in state.denoiser.parameters()),
        provenance=provenance(context.run_info, began),
    )
    files = [MODEL, JOURNAL, VALIDATION, *checkpoints.permanent_files()]
    store.finish(training.signature, result, files)
    checkpoints.drop_checkpoints()
    log.info("done in %.1f s", result.seconds)


def _trained(store: Store, training: Training, context: TrialContext) -> TrainingObserver:
    """Train to the last step, with as large a micro-batch as the memory of every GPU has room for."""
    data = ensure_data(store, training.data)
    computing = Computing.choose(training.config, context.device, context.compile)
    limit = MicroBatchLimit.of(store, training, context, computing)
    computing = limit.apply(computing)
    while True:
        try:
            return _attempt(store, training, context, data, limit, computing)
        except RuntimeError as error:
            if team_size(training, context) == 1 or not is_out_of_memory(error):
                raise
            # the others of the team are amid the step: from the last checkpoint with all of them
            computing = limit.shrink(computing, error)
        torch.cuda.empty_cache()


def _attempt(
    store: Store,
    training: Training,
    context: TrialContext,
    data: Dataset,
    limit: MicroBatchLimit,
    computing: Computing,
) -> TrainingObserver:
    """Train from the last checkpoint to the last step, alone or with others."""
    folder, device, config = store.folder("trainings", training.signature), context.device, training.config
    with worker_group(store, training, context, computing) as group:
        state = TrainState(training.network, config, data.sigma_data, training.seed, device, computing, group.team)
        checkpoints = CheckpointManager(folder, state)
        examples = TrainingSet.of(data, device)
        log.info(
            "training %s on %s%s, %d threads, %s, from step %d",
            *(training.signature, device, group.team.remark, context.threads, computing, state.step),
        )
        observer = TrainingObserver(folder, checkpoints, data, examples, context, group)
        reporter = ProgressReporter(store, context, folder, "kimg", _total_kimg(state))
        _train_to_the_end(observer, reporter, context, group, limit)
    return observer


def _total_kimg(state: TrainState) -> float:
    return state.config.num_steps * state.config.batch_size / 1000


class TrainingObserver:
    """Looks at a training along the way, and keeps of it what its configuration asks for."""

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
        self.milestones = due = Intervals.of(self.state.config)
        self.steps = due.snapshot | due.validate | due.grid | due.keep | due.save
        rows = torch.as_tensor(data.splits["val"][:VALIDATION_IMAGES])
        self.images, self.labels = data.images[rows], data.labels[rows]

    def look(self) -> bool:
        """Do what is due after this step; True where the state ought to be saved as well."""
        due, step = self.milestones, self.state.step
        if step not in self.steps:
            return False
        self.group.require_whole()
        if step in due.snapshot:
            self.checkpoints.keep_snapshot()
        if step == self.state.config.num_steps:
            return False
        if step in due.validate | due.grid | due.keep:
            model = averaged_model(self.state, self.examples, LOOK_BATCHES)
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
        """Save the finished model, look at it once more, and return its loss on the val split."""
        began = time.monotonic()
        model = averaged_model(self.state, self.examples)
        with replacing(self.folder / MODEL) as temporary:
            save_model(model, temporary)
        self.checkpoints.validation.keep(lambda line: line["step"] < self.state.step)  # of a kill since
        self._draw_grid(model)
        loss = self._validate(model)
        self.checkpoints.other_seconds += time.monotonic() - began
        return loss

    def end_early(self) -> NoReturn:
        """Write down how far the training got, which has been saved; raises Pruned."""
        losses = [line["val_loss"] for line in self.checkpoints.validation.read()]
        pruning = Pruning(self.state.kimg, losses[-1] if losses else None)
        pruning.write(self.folder)
        (self.folder / PRUNE).unlink()
        raise Pruned(pruning.text)

    def _validate(self, model: Denoiser) -> float:
        loss = self.checkpoints.record_validation(validation_losses(model, self.images, self.labels))
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
        with replacing(folder / f"kimg{self.state.kimg:012.3f}.png") as temporary:
            save_grid(drawn.images, temporary, columns=8)


def _train_to_the_end(
    observer: TrainingObserver,
    reporter: ProgressReporter,
    context: TrialContext,
    group: WorkerGroup,
    limit: MicroBatchLimit,
) -> None:
    """The loop around the loop: journal, looks, progress, checkpoints, stopping."""
    checkpoints, state = observer.checkpoints, observer.state
    before = last_saved = time.monotonic()
    interval = context.checkpoint_s
    for loss in _steps(state, observer.examples, limit):
        group.raise_if_lost()
        now = time.monotonic()
        checkpoints.seconds += now - before
        checkpoints.record_loss(loss)
        save = observer.look()
        before = time.monotonic()
        checkpoints.other_seconds += before - now
        beat = reporter.beat(state.kimg, loss=checkpoints.last_loss)
        stopping = beat and reporter.stop_requested
        pruning = beat and (observer.folder / PRUNE).exists()
        if save or stopping or pruning or (beat and now - last_saved > interval):
            began = time.monotonic()
            group.require_whole()
            checkpoints.save()
            last_saved = before = time.monotonic()
            interval = max(context.checkpoint_s, (last_saved - began) / CHECKPOINT_SHARE)
        if stopping:
            raise Stopped
        if pruning:
            observer.end_early()
    group.require_whole()


def _steps(state: TrainState, examples: TrainingSet, limit: MicroBatchLimit) -> Iterator[Tensor]:
    """The steps of a training, each with a smaller micro-batch where its own is too much for the memory.

    In a team nobody can try a step again alone, so that the error is the caller's.
    """
    while True:
        try:
            yield from train(state, examples)
            return
        except RuntimeError as error:
            if state.team.size > 1 or not is_out_of_memory(error):
                raise
            state.computing = limit.shrink(state.computing, error)
        state.optimizer.zero_grad()
        torch.cuda.empty_cache()  # here, as until now the error's traceback held what was computed
