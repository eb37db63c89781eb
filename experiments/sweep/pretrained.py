"""Checks of cells that draw from a trained network in place of training one."""

from __future__ import annotations

import math

from edm.data.catalogue import DatasetFacts
from edm.discrete import DiscreteProcess
from experiments.errors import UserError
from experiments.inputs import Inputs
from experiments.sweep.cell_errors import CellError, check_resolution, refuse
from experiments.sweep.spec import Cell


def check_pretrained(cell: Cell, facts: DatasetFacts, path: str, inputs: Inputs) -> None:
    """Raise CellError where a trained network does not suit the data or the sampling of a cell, or cannot be read."""
    try:
        network = inputs.model(path).network
    except UserError as error:
        raise CellError("model.from", str(error)) from None
    side = network.resolution
    if network.image_channels != facts.channels:
        channels = f"{network.image_channels} channels, and those of {cell.data.name} have {facts.channels}"
        raise refuse(cell, "model.from", f"draws images with {channels}; use the data set that it was trained on")
    if cell.sampling.resolution is None and side != facts.resolution:
        sizes = f"{side}x{side} images, and those of {cell.data.name} are {facts.resolution}x{facts.resolution}"
        raise refuse(cell, "model.from", f"draws {sizes}; use the data set that it was trained on")
    if network.num_classes not in (0, facts.num_classes):
        classes = f"{network.num_classes} classes, and {cell.data.name} has {facts.num_classes}"
        raise refuse(cell, "model.from", f"knows {classes}; use the data set that it was trained on")
    check_resolution(cell, network.halvings)
    if network.settings:
        _check_process(cell, DiscreteProcess.of(network.settings))
    if cell.sampling.guide is not None:
        raise refuse(cell, "sampling.guide", "cannot be derived from a network of model.from; remove it")
    if cell.sampling.ema is not None:
        raise refuse(cell, "sampling.ema", "needs averages that a training saves, which model.from has not; remove it")


def _check_process(cell: Cell, process: DiscreteProcess) -> None:
    """Raise CellError where sampling begins at more noise than a model in discrete time has seen."""
    highest = process.sigmas()[-1]
    if cell.sampling.sigma_max > highest:
        raise refuse(
            cell,
            "sampling.sigma_max",
            f"is more noise than the network of model.from was trained for; give at most {math.floor(highest):g}",
        )
