"""Trains a network from its newest checkpoint, or from the start."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, replace

import torch
from torch import Tensor

from edm.batches import TrainingSet
from edm.data.dataset import Dataset
from edm.files import MODEL
from edm.networks.device import is_out_of_memory
from edm.train import Computing, TrainState, train
from experiments.store.layout import JOURNAL, PRUNE, PRUNED, VALIDATION
from experiments.store.provenance import provenance
from experiments.store.results import ComputingRecord, TrainingResult
from experiments.store.store import Store
from experiments.store.training_records import saved_step
from experiments.sweep.code_parts import parts_of
from experiments.sweep.tasks import Training, called
from experiments.trials.assets import ensure_data
from experiments.trials.code import Code, begun_with, code_now, code_of, made_from
from experiments.trials.context import Interrupted, TrialContext, device_name, write_config
from experiments.trials.progress import PhaseReporter, ProgressReporter
from experiments.trials.training.checkpoints import CheckpointManager
from experiments.trials.training.continuing import continue_shorter, continued
from experiments.trials.training.distributed import WorkerGroup, team_size, worker_group
from experiments.trials.training.micro_batch import MicroBatchLimit
from experiments.trials.training.observer import TrainingObserver
from experiments.trials.training.pretrained import take_in
from experiments.trials.training.state import first_state

CHECKPOINT_SHARE = 0.02  # of the time, at most, that writing checkpoints for resuming may take

log = logging.getLogger("edm_sweep")


def run_training(store: Store, training: Training, context: TrialContext) -> None:
    """Train a network to the end from its newest checkpoint, or from the start; the caller holds its lock.

    Raises Interrupted or Pruned if that was requested, UserError if the GPUs of `context` do not suit the training.
    """
    if store.result(TrainingResult, training.signature) is not None:
        return
    folder = store.folder_of(training)
    began = time.time()
    write_config(folder, training)
    if training.pretrained is not None:
        take_in(store, training, context)
        return
    team_size(training, context)  # raises before anything is prepared if the GPUs do not suit the training
    for name in (PRUNE, PRUNED):
        (folder / name).unlink(missing_ok=True)  # the training is wanted again
    computing = Computing.choose(training.config, context.device, context.compile, context.cuda_graphs)
    limit = MicroBatchLimit.of(store, training, context, computing)
    computing = limit.apply(computing)
    continue_shorter(store, training, computing, context.shorter.get(training.signature, ()))
    code = begun_with(folder, code_now(store, parts_of(training)), resumed=saved_step(folder) is not None)
    observer = _train_within_memory(store, training, context, limit, computing)
    PhaseReporter(folder)("evaluating the loss of the finished network")
    result = _result(training, context, observer, observer.finish())
    checkpoints = observer.checkpoints
    files = [MODEL, JOURNAL, VALIDATION, *checkpoints.permanent_files()]
    code = {**code, **code_of(store, training.data), **_code_of_start(store, training)}
    store.finish(training.signature, replace(result, code=code, provenance=provenance(began, training)), files)
    checkpoints.drop_checkpoints()
    log.info("the training is done after %.1f s", result.seconds)


def _code_of_start(store: Store, training: Training) -> Code:
    """Return the code that read the network with which a training began."""
    start = training.begins_with
    return {} if start is None else made_from(start=store.result(TrainingResult, start.signature))


def _result(training: Training, context: TrialContext, observer: TrainingObserver, val_loss: float) -> TrainingResult:
    """Return the result of a training that took its last step."""
    state, checkpoints = observer.state, observer.checkpoints
    return TrainingResult(
        kimg=state.kimg,
        loss=checkpoints.last_loss,
        val_loss=val_loss,
        seconds=checkpoints.seconds + checkpoints.other_seconds,
        flops=training.flops,
        device=device_name(context.device),
        gpus=state.team.size,
        threads=context.threads,
        computing=ComputingRecord(**asdict(state.computing)),
        parameters=sum(p.numel() for p in state.denoiser.parameters()),
        continues=continued(observer.folder),
    )


def _train_within_memory(
    store: Store, training: Training, context: TrialContext, limit: MicroBatchLimit, computing: Computing
) -> TrainingObserver:
    """Train to the last step, with as large a micro-batch as the memory of every GPU has room for."""
    data = ensure_data(store, training.data, PhaseReporter(store.folder_of(training)))
    while True:
        try:
            return _attempt(store, training, context, data, limit, computing)
        except RuntimeError as error:
            if team_size(training, context) == 1 or not is_out_of_memory(error):
                raise
            # the other processes cannot repeat a step, so the team begins again from the newest checkpoint
            computing = limit.lower(computing, error)
        torch.cuda.empty_cache()


def _attempt(
    store: Store,
    training: Training,
    context: TrialContext,
    data: Dataset,
    limit: MicroBatchLimit,
    computing: Computing,
) -> TrainingObserver:
    """Train from the newest checkpoint to the last step, alone or with workers."""
    folder, device = store.folder_of(training), context.device
    with worker_group(store, training, context, computing) as group:
        state = first_state(store, training, data, device, computing, group.team)
        checkpoints = CheckpointManager(folder, state)
        examples = TrainingSet.of(data, device)
        log.info(
            "training %s on %s%s, %d threads, %s, from step %d",
            *(training.signature, device, group.team.remark, context.threads, computing, state.step),
        )
        if training.start is not None and not state.step:
            log.info("begins with the network of %s", called(training.start))
        observer = TrainingObserver(folder, checkpoints, data, examples, context, group)
        reporter = ProgressReporter(store, context, folder, "kimg", state.config.total_kimg)
        reporter.phase("compiling the network" if state.computing.compiled else "taking the first steps")
        _run_steps(observer, reporter, context, group, limit)
    return observer


def _run_steps(
    observer: TrainingObserver,
    reporter: ProgressReporter,
    context: TrialContext,
    group: WorkerGroup,
    limit: MicroBatchLimit,
) -> None:
    """Run the remaining steps, with journal, validation, progress and checkpoints; raises Interrupted or Pruned."""
    checkpoints, state = observer.checkpoints, observer.state
    before = last_saved = time.monotonic()
    interval = context.checkpoint_s
    for loss in _steps(state, observer.examples, limit):
        group.raise_if_lost()
        now = time.monotonic()
        checkpoints.seconds += now - before
        checkpoints.record_loss(loss)
        checkpoint_due = observer.after_step()
        before = time.monotonic()
        checkpoints.other_seconds += before - now
        reported = reporter.beat(state.kimg, loss=checkpoints.last_loss)
        stopping = reported and reporter.stop_requested
        pruning = reported and (observer.folder / PRUNE).exists()
        if checkpoint_due or stopping or pruning or (reported and now - last_saved > interval):
            began = time.monotonic()
            group.synchronize()
            checkpoints.save()
            last_saved = before = time.monotonic()
            interval = max(context.checkpoint_s, (last_saved - began) / CHECKPOINT_SHARE)
        if stopping:
            raise Interrupted
        if pruning:
            observer.end_early()
    group.synchronize()
    if state.config.keep_state:
        checkpoints.save()


def _steps(state: TrainState, examples: TrainingSet, limit: MicroBatchLimit) -> Iterator[Tensor]:
    """Yield the loss of each step; where memory runs out, lower the micro-batch and try the step again.

    In a team, no process can try a step again alone: the error is raised.
    """
    while True:
        try:
            yield from train(state, examples)
            return
        except RuntimeError as error:
            if state.team.size > 1 or not is_out_of_memory(error):
                raise
            state.computing = limit.lower(state.computing, error)
        state.optimizer.zero_grad()
        torch.cuda.empty_cache()  # not in the handler, where the error's traceback still holds tensors
