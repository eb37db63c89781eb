"""Checks across several fields of a sweep file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from edm.config import PRESETS, Extension, FieldError, GuideConfig, NetworkConfig
from edm.data.catalogue import DatasetFacts
from edm.data.errors import DataError
from edm.data.parquet_columns import LABEL_KEY
from experiments.errors import UserError
from experiments.inputs import Inputs
from experiments.sweep.cell_errors import CellError, check_resolution, refuse
from experiments.sweep.metrics import FITTED, fid_remedy, meaningless
from experiments.sweep.pretrained import check_pretrained, check_pretrained_guide, check_pretraining, check_start
from experiments.sweep.spec import Cell, gpus_of_training
from experiments.sweep.tasks import Training
from experiments.wording import one_of

# statistics that NVlabs publishes with EDM, whose features were taken of images resized by TensorFlow's rule
MADE_BY_TENSORFLOW = ("cifar10-32x32.npz", "ffhq-64x64.npz", "afhqv2-64x64.npz", "imagenet-64x64.npz")


def require_even_batches(trainings: Iterable[Training], gpus: float | Literal["auto"] | None) -> None:
    """Raise UserError where several GPUs cannot share a training's batches evenly."""
    size = gpus_of_training(gpus)
    for config in (training.config for training in trainings):
        field = "batch_size" if config.micro_batch is None else "micro_batch"
        if getattr(config, field) % size:
            raise UserError(
                f"resources.gpus: {size} GPUs cannot share training.{field} {getattr(config, field)} evenly; "
                f"make it a multiple of {size}, or use another number of GPUs"
            )


def check_cell(cell: Cell, inputs: Inputs) -> None:
    """Raise CellError where fields of different sections contradict each other or the files that they name."""
    facts = _facts(cell, inputs)
    _check_classes(cell, facts)
    _check_statistics(cell, inputs)
    _check_metrics(cell, facts)
    if cell.model.source is not None:
        check_pretrained(cell, facts, cell.model.source, inputs)
        _check_pretrained_guide(cell, facts, inputs)
        return
    _check_guidance(cell, facts)
    _check_trained(cell, facts, inputs)
    _check_guide(cell, facts)
    _check_pretrained_guide(cell, facts, inputs)
    _check_averages(cell)


def check_training(cell: Cell, inputs: Inputs) -> None:
    """Raise CellError where what decides a cell's training does not fit together, or cannot be read."""
    _check_trained(cell, _facts(cell, inputs), inputs)


def _facts(cell: Cell, inputs: Inputs) -> DatasetFacts:
    try:
        facts = inputs.facts(cell.data)
        inputs.fingerprint(cell.data)  # reads a folder of images, as only here its problems can be given a line
    except DataError as error:
        raise CellError("data.path", str(error)) from None
    return facts


def _check_trained(cell: Cell, facts: DatasetFacts, inputs: Inputs) -> None:
    if cell.start is not None:
        check_start(cell, facts, cell.start, inputs)
    elif cell.pretraining is not None:
        check_pretraining(cell, facts, cell.pretraining, inputs)
    else:
        _check_network(cell, facts)
        check_resolution(cell, cell.model.network(1, 0, 0).halvings)


def _check_network(cell: Cell, facts: DatasetFacts) -> None:
    network = cell.model.network(facts.channels, facts.resolution, facts.num_classes)
    _check_halvings(cell, "model.preset" if network.architecture == "study" else "model.multipliers", network, facts)
    if network.architecture == "edm2" and cell.training.augment:
        raise refuse(
            cell,
            "training.augment",
            "needs an input of the network for the augmentation, which edm2 does not have; set it to 0",
        )


def _check_halvings(cell: Cell, field: str, network: NetworkConfig, facts: DatasetFacts) -> None:
    """Raise CellError where a network halves images more often than their size allows."""
    side, halvings, multiple = facts.resolution, network.halvings, 2**network.halvings
    if side % multiple == 0:
        return
    if network.architecture != "study":
        raise CellError(
            field,
            f"{len(network.multipliers)} levels halve images {halvings} times, which the {side}x{side} images of "
            f"{cell.data.title} do not allow; give fewer multipliers, such as [1, 2]",
        )
    presets = [name for name, preset in PRESETS.items() if side % 2 ** len(preset.depths) == 0]
    remedy = f"use {one_of(presets)}" if presets else f"use images whose side is a multiple of {multiple}"
    raise refuse(
        cell,
        field,
        f"halves images {halvings} times, which the {side}x{side} images of {cell.data.title} do not allow; {remedy}",
    )


def _check_classes(cell: Cell, facts: DatasetFacts) -> None:
    if facts.num_classes:
        return
    hints = [f". {remark}" for remark in facts.remarks if LABEL_KEY in remark]  # on what may hold labels
    lacks = f"needs class labels, which {cell.data.title} does not have"
    if cell.evaluation.features == "classifier":
        raise refuse(cell, "evaluation.features", f"{lacks}; use inception{''.join(hints)}")
    if "accuracy" in cell.evaluation.metrics:
        raise CellError("evaluation.metrics", f"accuracy {lacks}; remove it{''.join(hints)}")


def _check_statistics(cell: Cell, inputs: Inputs) -> None:
    config = cell.evaluation
    if config.statistics is None:
        return
    if config.features == "classifier":
        raise refuse(
            cell,
            "evaluation.statistics",
            "cannot be compared with classifier features, which are trained for this data set alone; "
            "use features: inception",
        )
    if inputs.statistics_sha256(config.statistics) is None:
        raise refuse(
            cell, "evaluation.statistics", "does not exist; give the path of an .npz file that holds mu and sigma"
        )
    name = Path(config.statistics).name
    if name in MADE_BY_TENSORFLOW and config.features == "inception" and config.resize != "tensorflow":
        raise refuse(
            cell,
            "evaluation.resize",
            f"is not the rule by which NVlabs made {name}, so that distances to it would mean little; "
            "set resize: tensorflow, or rename the file if it is one of your own",
        )


def _check_metrics(cell: Cell, facts: DatasetFacts) -> None:
    config = cell.evaluation
    if "memorisation" in config.metrics and cell.sampling.resolution not in (None, facts.resolution):
        raise CellError(
            "evaluation.metrics",
            f"memorisation compares pixels, for which images must be {facts.resolution}x{facts.resolution} as in "
            "training; remove memorisation or sampling.resolution",
        )
    withheld = meaningless(config, facts.splits)
    reasons = [withheld[split] for split in config.splits if split in withheld]
    if reasons and set(config.metrics) <= set(FITTED):
        classifier = "" if config.features == "classifier" or not facts.num_classes else " or use features: classifier"
        raise CellError(
            "evaluation.metrics",
            f"{' and '.join(map(str, config.metrics))} would mean nothing: {reasons[0]} features; "
            f"add kid{classifier}; {fid_remedy(config, facts.splits)}",
        )


def _check_guidance(cell: Cell, facts: DatasetFacts) -> None:
    guidance, dropout = cell.sampling.guidance, cell.training.label_dropout
    if not facts.num_classes:
        return
    if dropout == 0 and guidance != 1 and cell.sampling.guide is None:
        raise refuse(
            cell,
            "sampling.guidance",
            "needs the unconditional branch, which is never trained with training.label_dropout 0; "
            "set label_dropout to 0.1, for example",
        )
    if dropout == 1 and guidance != 0:
        raise refuse(
            cell,
            "sampling.guidance",
            "needs the conditional branch, which is never trained with training.label_dropout 1; "
            "set guidance to 0, or label_dropout below 1",
        )


def _check_guide(cell: Cell, facts: DatasetFacts) -> None:
    guide = cell.sampling.guide
    if guide is None or guide.source is not None:
        return
    try:
        network = guide.model(cell.model).network(1, 0, 0)
        guide.training(cell.training)
    except FieldError as error:
        raise refuse(cell, "sampling.guide", f"does not describe a network: {error}") from None
    _check_halvings(cell, "sampling.guide", network, facts)
    _check_guide_is_another(cell, guide)


def _check_pretrained_guide(cell: Cell, facts: DatasetFacts, inputs: Inputs) -> None:
    guide = cell.sampling.guide
    if guide is not None and guide.source is not None:
        check_pretrained_guide(cell, facts, guide.source, inputs)


def _check_guide_is_another(cell: Cell, guide: GuideConfig) -> None:
    training = guide.training(cell.training)
    if training.kimg > cell.training.kimg:
        raise refuse(
            cell,
            "sampling.guide",
            f"is trained for longer than the {cell.training.kimg:g} kimg of the network it guides; "
            "give it no more kimg than that",
        )
    same = guide.model(cell.model).network(1, 0, 0) == cell.model.network(1, 0, 0)
    if same and training.num_steps == cell.training.num_steps and guide.ema == cell.sampling.ema:
        remedy = "make it smaller, or train it for less time"
        if isinstance(cell.model.architecture, Extension):
            remedy = f"a guide of {cell.model.architecture} differs in kimg or ema, or has a file: {{from: PATH}}"
        raise refuse(cell, "sampling.guide", f"is the same network as the one it guides; {remedy}")


def _check_averages(cell: Cell) -> None:
    guide = cell.sampling.guide
    for field, width in (("sampling.ema", cell.sampling.ema), ("sampling.guide", guide.ema if guide else None)):
        if width is not None and not cell.training.power_ema:
            raise refuse(
                cell,
                field,
                "needs weight averages from which any width can be computed; set training.power_ema: [0.05, 0.10]",
            )
