"""Makes the state that a training begins with, the same in every process that takes part in it."""

from __future__ import annotations

import logging

import torch

from edm.data.dataset import Dataset
from edm.parallel import Team
from edm.train import Computing, TrainState
from experiments.store.store import Store
from experiments.sweep.tasks import Training
from experiments.trials.assets import load_averaged

log = logging.getLogger("edm_sweep")


def first_state(
    store: Store, training: Training, data: Dataset, device: torch.device, computing: Computing, team: Team
) -> TrainState:
    """Return the state of a training before its first step: with random weights, or those of the network it names.

    That network keeps the sigma_data of its preconditioning. Raises DamagedFile if its file is damaged.
    """
    sigma_data, start, network = data.sigma_data, training.start, training.network
    if start is None:
        return TrainState(network, training.config, sigma_data, training.seed, device, computing, team)
    trained = load_averaged(store, start, None, torch.device("cpu"))
    if not network.settings:  # models of diffusers have none
        sigma_data = trained.sigma_data
    state = TrainState(network, training.config, sigma_data, training.seed, device, computing, team, trained)
    if start.pretrained is not None and team.rank == 0:
        log.info("the network of %s has been trained before", start.pretrained.path)
    return state
