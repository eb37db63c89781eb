"""A sweep file as dataclasses: its sections and settings, the cells that they make, and the whole sweep."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edm.config import (
    DataConfig,
    EvaluationConfig,
    GuideConfig,
    ModelConfig,
    SamplingConfig,
    TrainingConfig,
    require,
    require_positive,
)


@dataclass(frozen=True)
class ResourcesConfig:
    """What each trial may use. Never part of a signature.

    gpus: GPUs per trial. A fraction runs several trials on one GPU; 2 or more train one network on several GPUs of a
        node; `auto` measures the memory that each network needs and runs as many trials on a GPU as fit. `None`: 1, or
        none without a GPU.
    cpus: CPU cores, and threads, per trial. `None`: an even share of the machine's cores.
    sampling_batch: Images drawn at once. It does not change the images.
    checkpoint_s: Seconds of training between checkpoints; more if saving one takes over 2% of that time.
    compile: Whether to use `torch.compile`. `None`: on a GPU, if the training is long enough to gain from it.
    """

    gpus: float | Literal["auto"] | None = None
    cpus: int | None = None
    sampling_batch: int = 250
    checkpoint_s: float = 15.0
    compile: bool | None = None

    def __post_init__(self) -> None:
        gpus = self.gpus
        require(
            not isinstance(gpus, float) or 0 <= gpus <= 1 or (gpus.is_integer() and gpus < math.inf),
            "gpus",
            f"{gpus!r} is not possible; use auto, 0 to 1, or a whole number of GPUs per training",
        )
        require(self.cpus is None or self.cpus >= 1, "cpus", f"{self.cpus!r} is not possible; use 1 or more")
        require_positive(self, "sampling_batch", "checkpoint_s")


@dataclass(frozen=True)
class ReportConfig:
    """A comparison table. Never part of a signature.

    rows: Axes that label the rows. `None`: all axes that are not columns.
    columns: Axes that label the columns.
    metrics: Metrics to show, such as `[fid_test, class_accuracy]`. `None`: all.
    title: Title of the table.
    caption: What to say below the title.
    baseline: Axis values to compare with, such as `{model.attention: true}`. Every score is followed by its difference
        to the cell that has these values and is equal otherwise, with the 95% interval and the p value.
    costs: Columns that say what the cells cost. `training_s` is seconds of training; `gpu_hours` is empty without GPUs.
    reference: Published numbers to show beside the cells that correspond to them. `zenchiyu_2023`: the study that the
        sweeps on FashionMNIST, CIFAR-10 and CelebA repeat. `edm_2022`: EDM on CIFAR-10.
    """

    rows: tuple[str, ...] | None = None
    columns: tuple[str, ...] = ()
    metrics: tuple[str, ...] | None = None
    title: str | None = None
    caption: str | None = None
    baseline: Mapping[str, Any] | None = None
    costs: tuple[Literal["parameters", "nfe", "kimg", "training_s", "gpu_hours"], ...] = ()
    reference: Literal["zenchiyu_2023", "edm_2022"] | None = None


@dataclass(frozen=True)
class Cell:
    """One entry of the final table: a whole configuration and a training seed."""

    seed: int
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    sampling: SamplingConfig
    evaluation: EvaluationConfig

    def value(self, axis: str) -> Any:
        """Return the value of a dotted field, such as model.preset."""
        section, name = axis.split(".")
        return getattr(getattr(self, section), name)

    def parameters(self) -> dict[str, Any]:
        """Return every parameter by its dotted name, and the seed."""
        flat = {
            f"{section}.{name}": self.value(f"{section}.{name}")
            for section, kind in SECTIONS.items()
            for name in field_names(kind)
        }
        return {**flat, "seed": self.seed}


@dataclass(frozen=True)
class Sweep:
    """A sweep file that was read and checked. axes: the dotted names of the fields that vary, in the file's order.

    report: its tables, at least one.

    The name becomes part of paths. Raises ValueError if it is not one, wherever the sweep was read from.
    """

    name: str
    cells: tuple[Cell, ...]
    axes: tuple[str, ...]
    resources: ResourcesConfig
    report: tuple[ReportConfig, ...]

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise ValueError(f"{self.name!r} cannot be the name of a sweep; {NAME_RULE}")


NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
NAME_RULE = "use at most 100 letters, digits, '_', '-' and '.'"


def is_name(value: object) -> bool:
    """Return whether a value can be the name of a sweep, and so of its folder."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "sampling": SamplingConfig,
    "evaluation": EvaluationConfig,
}
NESTED: dict[tuple[type, str], type] = {(SamplingConfig, "guide"): GuideConfig}  # fields that are mappings themselves
SETTINGS: dict[str, type] = {"resources": ResourcesConfig, "report": ReportConfig}
TOP_LEVEL = ("name", *SECTIONS, "grid", "zip", "exclude", "seeds", *SETTINGS)
Axes = Mapping[str, tuple[Any, ...]]


def unused_parameters(cells: Sequence[Cell]) -> set[str]:
    """Return the parameters that records leave out, as they were added later and every cell has their default."""
    return {
        name
        for section, kind in SECTIONS.items()
        for field in dataclasses.fields(kind)
        for name in [f"{section}.{field.name}"]
        if not field.metadata.get("column", True) and all(cell.value(name) == field.default for cell in cells)
    }


def field_names(kind: type) -> tuple[str, ...]:
    """Return the names of a dataclass's fields."""
    return tuple(f.name for f in dataclasses.fields(kind))
