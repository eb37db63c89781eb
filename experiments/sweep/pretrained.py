"""Checks of cells that draw from a trained network, or are guided by one, in place of training it."""

from __future__ import annotations

import math

from edm.config import NetworkConfig, Pretrained
from edm.data.catalogue import DatasetFacts
from edm.discrete import DiscreteProcess
from experiments.errors import UserError
from experiments.inputs import Inputs
from experiments.sweep.cell_errors import CellError, check_resolution, refuse
from experiments.sweep.spec import Cell

GUIDE = "sampling.guide"


def check_pretrained(cell: Cell, facts: DatasetFacts, path: str, inputs: Inputs) -> None:
    """Raise CellError where a trained network does not suit the data or the sampling of a cell, or cannot be read."""
    network = _suitable(cell, "model.from", path, facts, inputs).network
    check_resolution(cell, network.halvings)
    guide = cell.sampling.guide
    if guide is not None and guide.source is None:
        raise refuse(cell, GUIDE, "cannot be derived from a network of model.from; give {from: PATH}, or remove it")
    if cell.sampling.ema is not None:
        raise refuse(cell, "sampling.ema", "needs averages that a training saves, which model.from has not; remove it")


def check_pretrained_guide(cell: Cell, facts: DatasetFacts, path: str, inputs: Inputs) -> None:
    """Raise CellError where a trained network cannot guide that of a cell, or cannot be read."""
    guide = _suitable(cell, GUIDE, path, facts, inputs)
    check_resolution(cell, guide.network.halvings)
    main = inputs.model(cell.model.source) if cell.model.source is not None else None
    if main is not None and main.digest == guide.digest:
        raise refuse(cell, GUIDE, "is the same network as the one it guides; give a weaker one")
    if guide.network.num_classes and main is not None and not main.network.num_classes:
        raise refuse(cell, GUIDE, "knows classes, and the network it guides does not; give one without classes")


def _suitable(cell: Cell, field: str, path: str, facts: DatasetFacts, inputs: Inputs) -> Pretrained:
    """Return the trained network that a field of a cell names; raises CellError where it does not suit the data."""
    try:
        pretrained = inputs.model(path)
    except UserError as error:
        raise CellError(field, str(error)) from None
    network = pretrained.network
    _check_images(cell, field, network, facts)
    if network.num_classes not in (0, facts.num_classes):
        classes = f"{network.num_classes} classes, and {cell.data.title} has {facts.num_classes}"
        raise refuse(cell, field, f"knows {classes}; use the data set that it was trained on")
    if network.settings:
        _check_process(cell, field, DiscreteProcess.of(network.settings))
    return pretrained


def _check_images(cell: Cell, field: str, network: NetworkConfig, facts: DatasetFacts) -> None:
    side = network.resolution
    if network.image_channels != facts.channels:
        channels = f"{network.image_channels} channels, and those of {cell.data.title} have {facts.channels}"
        raise refuse(cell, field, f"draws images with {channels}; use the data set that it was trained on")
    if cell.sampling.resolution is None and side != facts.resolution:
        sizes = f"{side}x{side} images, and those of {cell.data.title} are {facts.resolution}x{facts.resolution}"
        raise refuse(cell, field, f"draws {sizes}; use the data set that it was trained on")


def _check_process(cell: Cell, field: str, process: DiscreteProcess) -> None:
    """Raise CellError where sampling begins at more noise than a model in discrete time has seen."""
    highest = process.sigmas()[-1]
    if cell.sampling.sigma_max > highest:
        raise refuse(
            cell,
            "sampling.sigma_max",
            f"is more noise than the network of {field} was trained for; give at most {math.floor(highest):g}",
        )
