"""Writes the network of an evaluation as a file of its own, and as a configuration that people can read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from edm.files import MODEL, save_model
from experiments.store.files import replacing
from experiments.store.store import Store
from experiments.sweep.tasks import Evaluation
from experiments.trials.assets import load_finished

NETWORK_CONFIG = "config.json"


def write_network(store: Store, evaluation: Evaluation, folder: Path) -> int:
    """Write the network that an evaluation draws from, and its configuration; return its number of parameters.

    The file is what `edm.load` and `model.from` read. Raises UserError where the training's files are gone or damaged.
    """
    model = load_finished(evaluation.training, evaluation.sampling.ema, store, torch.device("cpu"))
    with replacing(folder / MODEL) as temporary:
        save_model(model, temporary)
    content = {
        "library_name": "edm-sweep",
        "architecture": str(model.config.architecture),
        "network": asdict(model.config),
        "sigma_data": model.sigma_data,
        "sampling": asdict(evaluation.sampling),
        "data": asdict(evaluation.training.data.config),
        "training": evaluation.training.signature,
        "evaluation": evaluation.signature,
    }
    (folder / NETWORK_CONFIG).write_text(json.dumps(content, indent=2) + "\n")
    return sum(parameter.numel() for parameter in model.parameters())
