"""Trained networks for the figures: trainings of the repository's sweeps, done now if the store lacks them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from edm.data.dataset import Dataset
from edm.metrics.features import Classifier
from edm.precondition import Denoiser
from experiments.inputs import InputFiles
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import plan_sweep
from experiments.sweep.preparations import classifier_for
from experiments.sweep.reader import load_sweep
from experiments.sweep.tasks import Training
from experiments.trials.assets import ensure_data, load_averaged
from experiments.trials.classifier import ensure_classifier
from experiments.trials.context import TrialContext
from experiments.trials.perform import perform

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
INSTALLED = Path("/usr/share/datasets")  # where Debian's packages put data sets
DIGITS = ("digits.yaml", "micro/no-attention", ())
FASHION = ("fashion_mnist_small.yaml", "no-attention", ("training.kimg=60",))  # a fraction of the sweep's own training


@dataclass(frozen=True)
class Trained:
    """A trained network, how it was trained, and the data set that it was trained on."""

    model: Denoiser
    training: Training
    data: Dataset
    store: Store

    def classifier(self) -> Classifier:
        """Return the small classifier of the data set; it is trained first if the store lacks it."""
        return ensure_classifier(self.store, classifier_for(self.training.data), CPU, lambda _: None)


def digits(store: Store) -> Trained:
    """Return the digits sweep's larger network without attention."""
    return _trained(*DIGITS, store)


def fashion(store: Store) -> Trained | None:
    """Return a small network of FashionMNIST, or None where the data set is not installed."""
    if not (INSTALLED / "fashion-mnist").exists():
        return None
    os.environ.setdefault("EDM_SWEEP_DATA", str(INSTALLED))
    return _trained(*FASHION, store)


def _trained(sweep: str, name: str, overrides: tuple[str, ...], store: Store) -> Trained:
    plan = plan_sweep(load_sweep(ROOT / "sweeps" / sweep, overrides, InputFiles()), InputFiles())
    (training,) = (task for signature, task in plan.trainings.items() if plan.names[signature] == name)
    store.create()
    if store.result(TrainingResult, training.signature) is None:
        outcome = perform(store, training, TrialContext(run_id="theory"))
        assert outcome.state == "done", outcome
    model = load_averaged(store, training, None, CPU)
    return Trained(model, training, ensure_data(store, training.data), store)
