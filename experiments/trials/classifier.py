"""Trains the small classifier of a data set: as a task of its own, or within one that finds it missing."""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch

from edm.config import SPLITS, FormerClassifierConfig, Split
from edm.data.dataset import Dataset
from edm.files import MODEL, load_tensors, save_tensors
from edm.metrics.classifier import ClassifierTraining, train_classifier
from edm.metrics.features import Classifier, extract
from edm.networks.device import on_device
from experiments.errors import UserError
from experiments.store.checksummed import load_checksummed, write_checksummed
from experiments.store.files import replacing
from experiments.store.layout import STATE
from experiments.store.provenance import provenance
from experiments.store.results import ClassifierRecord
from experiments.store.store import Store
from experiments.sweep.code_parts import parts_of
from experiments.sweep.preparations import FeatureClassifier
from experiments.trials.assets import OnPhase, ensure_data
from experiments.trials.code import Code, begun_with, code_now, code_of
from experiments.trials.context import Interrupted, TrialContext, device_name, write_config
from experiments.trials.progress import PhaseReporter, ProgressReporter

SECONDS = "seconds"  # in the checkpoint
CHECKPOINT_S = 15.0  # between checkpoints, where no run says otherwise
MEASURED_AT_ONCE = 1000  # images

OnProgress = Callable[[int, int], bool]  # called with images seen, and in all; returns whether to save and stop

log = logging.getLogger("edm_sweep")


def run_classifier(store: Store, task: FeatureClassifier, context: TrialContext) -> None:
    """Train a classifier unless the store holds it; the caller holds its lock. Raises Interrupted once it is saved."""
    folder = store.folder_of(task)
    if store.verified(ClassifierRecord, task.signature) is None:
        began = time.time()
        write_config(folder, task)
        data = ensure_data(store, task.data, PhaseReporter(folder))
        state = _new_training(task, data, context.device)
        reporter = ProgressReporter(store, context, folder, "images", state.images_in_all)

        def on_progress(done: int, total: int) -> bool:
            reporter.total = total
            return reporter.beat(done) and reporter.stop_requested

        code = _code_of(store, folder, task)
        with replacing(folder / MODEL) as model:
            made = _build(folder, model, task, state, data, on_progress, context.checkpoint_s)
        own = {"code": code, "threads": context.threads, "provenance": provenance(began)}
        made = dataclasses.replace(made, **own)
        store.finish(task.signature, made, [MODEL])
    _drop_checkpoint(folder)


def ensure_classifier(store: Store, task: FeatureClassifier, device: torch.device, on_phase: OnPhase) -> Classifier:
    """Return a classifier on `device`, trained there if the store lacks it, which in a run has a task of its own.

    on_phase: called while this process trains it, or another one; where it raises, the training ends.
    """

    def build(building: Path) -> ClassifierRecord:
        data = ensure_data(store, task.data, on_phase)

        def on_progress(_done: int, _total: int) -> bool:
            on_phase("training the feature classifier")
            return False

        code = _code_of(store, folder, task)
        made = _build(folder, building / MODEL, task, _new_training(task, data, device), data, on_progress)
        return dataclasses.replace(made, code=code)

    folder = store.folder_of(task)
    on_wait = functools.partial(on_phase, "waiting for the feature classifier")
    store.ensure(ClassifierRecord, task.signature, build, [MODEL], on_wait)
    _drop_checkpoint(folder)
    data = task.data
    classifier = Classifier(task.config, data.channels, data.resolution, data.num_classes)
    classifier.load_state_dict(load_tensors(store.checked("classifiers", task.signature, MODEL)))
    return on_device(classifier, device).eval()


def _code_of(store: Store, folder: Path, task: FeatureClassifier) -> Code:
    """Return the code that a classifier is computed with from here on, and was before its checkpoint."""
    own = begun_with(folder, code_now(store, parts_of(task)), resumed=any(folder.glob(f"{STATE}-*")))
    return {**own, **code_of(store, task.data)}


def _new_training(task: FeatureClassifier, data: Dataset, device: torch.device) -> ClassifierTraining:
    """Return the training of a classifier at its first step; raises UserError where it is of an earlier version."""
    source = task.data
    if isinstance(task.config, FormerClassifierConfig):
        raise UserError(
            f"the {task.description} that this store's results were made with is lost, and this release trains another "
            "kind: give another store with --store, or restore the file"
        )
    shape = source.channels, source.resolution, source.num_classes
    return ClassifierTraining(task.config, *shape, len(data.splits["train"]), device)


def _build(
    folder: Path,
    model: Path,
    task: FeatureClassifier,
    state: ClassifierTraining,
    data: Dataset,
    on_progress: OnProgress,
    checkpoint_s: float = CHECKPOINT_S,
) -> ClassifierRecord:
    """Train a classifier from its checkpoint in `folder`, or from the beginning, and write its weights to `model`.

    Raises Interrupted once the state is saved where `on_progress` asks for it.
    """
    seconds = _train(folder, state, data, on_progress, checkpoint_s)
    classifier = state.trained()
    log.info("measuring the accuracy of the feature classifier")
    accuracy = {split: _accuracy(classifier, data, split, state, on_progress) for split in SPLITS}
    log.info("the feature classifier reached an accuracy of %s", accuracy)
    save_tensors(classifier.state_dict(), model)
    return ClassifierRecord(
        accuracy=accuracy,
        config=dataclasses.asdict(state.config),
        images=len(data.splits["train"]),
        seconds=seconds,
        flops=task.flops_of(state.images_seen),
        device=device_name(state.device),
        provenance=provenance(),
    )


def _train(
    folder: Path, state: ClassifierTraining, data: Dataset, on_progress: OnProgress, checkpoint_s: float
) -> float:
    """Do the steps that are left, with a checkpoint now and then and at the end; return the seconds of all steps."""
    seconds = _restore(folder, state)
    log.info("training the feature classifier from step %d, until it gets no better", state.step)
    before = last_saved = time.monotonic()
    for _ in train_classifier(state, data):
        now = time.monotonic()
        seconds, before = seconds + now - before, now
        stopping = on_progress(state.images_seen, state.images_in_all)
        if stopping or now - last_saved > checkpoint_s or state.ended:
            saved = {**state.tensors(), SECONDS: torch.tensor(seconds, dtype=torch.float64)}
            write_checksummed(folder, STATE, saved)
            last_saved = time.monotonic()
        if stopping:
            raise Interrupted
    return seconds


def _restore(folder: Path, state: ClassifierTraining) -> float:
    """Load the checkpoint of a training, if there is one; return the seconds that it took so far."""
    saved = load_checksummed(folder, STATE)
    if saved is None:
        return 0.0
    seconds = float(saved.pop(SECONDS))
    state.load(saved)
    return seconds


def _accuracy(
    classifier: Classifier, data: Dataset, split: Split, state: ClassifierTraining, on_progress: OnProgress
) -> float:
    """Return the share of a split's images whose class is found; raises Interrupted where that is asked for."""
    correct, rows = 0, data.indices(split)
    for chosen in torch.split(rows, MEASURED_AT_ONCE):
        classes = extract(classifier, data.images[chosen], state.device)[1]
        assert classes is not None
        correct += int((classes == data.labels[chosen]).sum())
        if on_progress(state.images_seen, state.images_in_all):
            raise Interrupted
    return correct / len(rows)


def _drop_checkpoint(folder: Path) -> None:
    """Delete the checkpoint of a classifier that is done."""
    for path in folder.glob(f"{STATE}-*"):
        path.unlink(missing_ok=True)
