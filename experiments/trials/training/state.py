"""Makes the state that a training begins with, the same in every process that takes part in it."""

from __future__ import annotations

import torch

from edm.data.dataset import Dataset
from edm.parallel import Team
from edm.train import Computing, TrainState
from experiments.store.store import Store
from experiments.sweep.tasks import Training
from experiments.trials.assets import load_averaged


def first_state(
    store: Store, training: Training, data: Dataset, device: torch.device, computing: Computing, team: Team
) -> TrainState:
    """Return the state of a training before its first step: with random weights, or those of a trained network.

    Its preconditioning keeps that network's sigma_data. Raises DamagedFile if the network's file is damaged.
    """
    start, sigma_data = training.begins_with, data.sigma_data
    trained = None if start is None else load_averaged(store, start, None, torch.device("cpu"))
    if trained is not None and not training.network.settings:  # models of diffusers have no sigma_data
        sigma_data = trained.sigma_data
    return TrainState(training.network, training.config, sigma_data, training.seed, device, computing, team, trained)
