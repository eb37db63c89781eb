"""Checks of cells that use a trained network: draw from it, are guided by it, or begin their training with it."""

from __future__ import annotations

import math
from dataclasses import fields

from edm.config import Extension, ModelConfig, NetworkConfig, Pretrained, Pretraining
from edm.data.catalogue import DatasetFacts
from edm.discrete import DiscreteProcess
from experiments.errors import UserError
from experiments.inputs import Inputs
from experiments.sweep.cell_errors import CellError, check_resolution, refuse
from experiments.sweep.diagnostics import show_value
from experiments.sweep.identity import canonical
from experiments.sweep.spec import Cell, key_of
from experiments.wording import count

GUIDE = "sampling.guide"
START = "training.from"
SUITABLE = {
    "model.from": "the data set that it was trained on",
    GUIDE: "the data set that it was trained on",
    START: "images like those that it was trained on",
}
HIGHEST_LEVELS = {"vp": 152.0, "ve": 100.0, "iddpm": 20291.0}  # of training images, by `noise_distribution`


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


def check_start(cell: Cell, facts: DatasetFacts, path: str, inputs: Inputs) -> None:
    """Raise CellError where a training of a cell cannot begin with a trained network, or that cannot be read.

    The data may have other classes and another resolution.
    """
    network = _read(START, path, inputs).network
    _check_channels(cell, START, network, facts)
    _check_model(cell, network, facts)
    _check_training(cell, network, facts)


def check_pretraining(cell: Cell, facts: DatasetFacts, before: Pretraining, inputs: Inputs) -> None:
    """Raise CellError where a training of a cell cannot begin with the network of another training."""
    network = _network_of(before, inputs)
    _check_channels(cell, START, network, facts)
    _check_guide_of(cell)
    _check_training(cell, network, facts)


def _network_of(training: Pretraining, inputs: Inputs) -> NetworkConfig:
    """Return the network that a training which another one begins with trains."""
    facts, source = inputs.facts(training.data), training.training.source
    if source is None:
        return training.model.network(facts.channels, facts.resolution, facts.num_classes)
    before = inputs.model(source).network if isinstance(source, str) else _network_of(source, inputs)
    return before.to_train(facts.resolution, facts.num_classes, training.model.dropout)


def _check_training(cell: Cell, network: NetworkConfig, facts: DatasetFacts) -> None:
    """Raise CellError where a network cannot be trained on the images of a cell, or as that says."""
    side, multiple = facts.resolution, 2**network.halvings
    if side % multiple:
        sizes = f"{side}x{side} images of {cell.data.title} do not allow; use images whose side is a multiple of"
        raise refuse(cell, START, f"halves images {count(network.halvings, 'time')}, which the {sizes} {multiple}")
    check_resolution(cell, network.halvings)
    if cell.training.augment and (network.architecture == "edm2" or network.settings):
        what = "needs an input of the network for the augmentation, which that of training.from cannot have"
        raise refuse(cell, "training.augment", f"{what}; set it to 0")
    if network.settings:
        _check_start_in_steps(cell, network, facts)


def _check_model(cell: Cell, start: NetworkConfig, facts: DatasetFacts) -> None:
    """Raise CellError where `model` describes another network than training.from, or a guide has to be another one."""
    network = start.to_train(facts.resolution, facts.num_classes, cell.model.dropout)
    own = canonical(cell.model.network(facts.channels, facts.resolution, facts.num_classes))
    theirs = canonical(network)
    others = [name for name in own | theirs if name != "init" and own.get(name) != theirs.get(name)]
    if cell.describes_network and others:
        given = [field for field in fields(ModelConfig) if getattr(cell.model, field.name) != field.default]
        wrong = [field for field in given if field.name in others]
        field, names = (wrong[0], [each.name for each in wrong]) if wrong else (given[0], others)
        has = ", ".join(f"{name} {show_value(getattr(network, name))}" for name in names)
        raise refuse(
            cell,
            f"model.{key_of(field)}",
            f"describes another network than that of training.from, which has {has}; "
            "remove it, as that network decides the fields of model",
        )
    _check_guide_of(cell)


def _check_guide_of(cell: Cell) -> None:
    guide = cell.sampling.guide
    if guide is not None and (guide.preset is not None or guide.channels is not None):
        change = "changes preset or channels, which the network of training.from decides"
        raise refuse(cell, GUIDE, f"{change}; give kimg, ema or {{from: PATH}}")


def _check_start_in_steps(cell: Cell, network: NetworkConfig, facts: DatasetFacts) -> None:
    """Raise CellError where the training of a network of diffusers asks for what it does not have."""
    if cell.model.dropout:
        raise CellError("model.dropout", "is decided by a network of diffusers, as that of training.from is; remove it")
    _check_side(cell, START, network, facts)
    process = DiscreteProcess.of(network.settings)
    _check_process(cell, START, process)
    highest, distribution = process.sigmas()[-1], cell.training.noise_distribution
    if not isinstance(distribution, Extension) and HIGHEST_LEVELS.get(distribution, 0.0) > highest:
        what = f"has noise levels above the {highest:.0f} that the network of training.from knows"
        raise refuse(cell, "training.noise_distribution", f"{what}; use lognormal")


def _read(field: str, path: str, inputs: Inputs) -> Pretrained:
    """Return the trained network that a field of a cell names; raises CellError where it cannot be used."""
    try:
        return inputs.model(path)
    except UserError as error:
        raise CellError(field, str(error)) from None


def _suitable(cell: Cell, field: str, path: str, facts: DatasetFacts, inputs: Inputs) -> Pretrained:
    """Return the trained network that a field of a cell names; raises CellError where it does not suit the data."""
    pretrained = _read(field, path, inputs)
    network = pretrained.network
    _check_channels(cell, field, network, facts)
    if cell.sampling.resolution is None:
        _check_side(cell, field, network, facts)
    if network.num_classes not in (0, facts.num_classes):
        classes = f"{network.num_classes} classes, and {cell.data.title} has {facts.num_classes}"
        raise refuse(cell, field, f"knows {classes}; use the data set that it was trained on")
    if network.settings:
        _check_process(cell, field, DiscreteProcess.of(network.settings))
    return pretrained


def _check_channels(cell: Cell, field: str, network: NetworkConfig, facts: DatasetFacts) -> None:
    if network.image_channels != facts.channels:
        channels = f"{count(network.image_channels, 'channel')}, and those of {cell.data.title} have {facts.channels}"
        convertible = cell.data.name == "folder" and network.image_channels in (1, 3)
        remedy = f"set data.channels: {network.image_channels}, or use" if convertible else "use"
        raise refuse(cell, field, f"draws images with {channels}; {remedy} {SUITABLE[field]}")


def _check_side(cell: Cell, field: str, network: NetworkConfig, facts: DatasetFacts) -> None:
    side = network.resolution
    if side != facts.resolution:
        sizes = f"{side}x{side} images, and those of {cell.data.title} are {facts.resolution}x{facts.resolution}"
        raise refuse(cell, field, f"draws {sizes}; use {SUITABLE[field]}")


def _check_process(cell: Cell, field: str, process: DiscreteProcess) -> None:
    """Raise CellError where sampling begins at more noise than a model in discrete time has seen."""
    highest = process.sigmas()[-1]
    if cell.sampling.sigma_max > highest:
        raise refuse(
            cell,
            "sampling.sigma_max",
            f"is more noise than the network of {field} was trained for; give at most {math.floor(highest):g}",
        )
