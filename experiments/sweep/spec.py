"""A sweep file as dataclasses."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
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
    """What one trial gets; never part of a signature.

    gpus: of each trial; a fraction packs several on one, 2 or more train one network on several of a node, auto packs
    by the memory that a short probe of every network measures; by default 1 where there are any. cpus: cores and
    threads of each trial; by default the cores shared out evenly. sampling_batch: images drawn at once. checkpoint_s:
    seconds of training between checkpoints, or more where writing one would take over 2% of the time. compile: whether
    networks go through torch.compile; by default on a GPU where the training is long enough to gain by it.
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
            f"{gpus!r} is not possible; give auto, 0 to 1, or a whole number of GPUs for each training",
        )
        require(self.cpus is None or self.cpus >= 1, "cpus", f"{self.cpus!r} is not possible; give 1 or more")
        require_positive(self, "sampling_batch", "checkpoint_s")


@dataclass(frozen=True)
class ReportConfig:
    """The comparison table: axes that make its rows and its columns, and the metrics it shows.

    By default every axis is a row and every metric that the evaluations have is shown.
    """

    rows: tuple[str, ...] | None = None
    columns: tuple[str, ...] = ()
    metrics: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Cell:
    """One entry of the final table: a whole configuration and a seed of training."""

    seed: int
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    sampling: SamplingConfig
    evaluation: EvaluationConfig

    def value(self, axis: str) -> Any:
        """The value of a dotted field, such as model.preset."""
        section, name = axis.split(".")
        return getattr(getattr(self, section), name)

    def parameters(self) -> dict[str, Any]:
        """Every parameter by its dotted name, and the seed."""
        flat = {
            f"{section}.{name}": self.value(f"{section}.{name}")
            for section, kind in SECTIONS.items()
            for name in field_names(kind)
        }
        return {**flat, "seed": self.seed}


@dataclass(frozen=True)
class Sweep:
    """A sweep file, read and found right."""

    name: str
    cells: tuple[Cell, ...]
    axes: tuple[str, ...]
    resources: ResourcesConfig
    report: ReportConfig

    def label(self, cell: Cell) -> dict[str, Any]:
        """What distinguishes a cell: the value of every axis."""
        return {axis: cell.value(axis) for axis in self.axes}


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


def field_names(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(kind))
