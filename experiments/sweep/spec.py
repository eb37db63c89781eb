"""A sweep file as dataclasses: its sections and settings, the cells that they make, and the whole sweep."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, cast

from edm.config import (
    DataConfig,
    EvaluationConfig,
    Extension,
    GuideConfig,
    ModelConfig,
    Pretraining,
    SamplingConfig,
    TrainingConfig,
    require,
    require_positive,
)
from experiments.extension_files import ExtensionFile
from experiments.names import NAME_RULE, is_name
from experiments.store.sweep_names import MARK, VARIANT

OPTIONS = "_options"  # ends the name of the mapping that holds the options of a field's value
Cost = Literal["parameters", "nfe", "kimg", "training_s", "gpu_hours"]


@dataclass(frozen=True)
class ResourcesConfig:
    """What each trial may use. Never part of a signature.

    gpus: GPUs per trial. A fraction runs several trials on one GPU; 2 or more train one network on several GPUs of a
        node; `auto` measures the memory that each network needs and runs as many trials on a GPU as fit. `None`: 1, or
        none without a GPU.
    cpus: CPU cores, and threads, per trial. `None`: an even share of the machine's cores.
    sampling_batch: Images drawn at once. It does not change the images.
    checkpoint_s: Seconds of training between checkpoints; more if saving one takes over 2% of that time.
    compile: Whether to use `torch.compile`. `None`: on a GPU that it works on, for trainings and drawings that are long
        enough to gain from it.
    cuda_graphs: Whether a GPU may be given a training step as one CUDA graph. It changes no number, only the time.
    """

    gpus: float | Literal["auto"] | None = None
    cpus: int | None = None
    sampling_batch: int = 250
    checkpoint_s: float = 15.0
    compile: bool | None = None
    cuda_graphs: bool = True

    def __post_init__(self) -> None:
        gpus = self.gpus
        require(
            not isinstance(gpus, float) or 0 <= gpus <= 1 or (gpus.is_integer() and 1 < gpus < math.inf),
            "gpus",
            f"{gpus!r} is not possible; use auto, 0 to 1, or a whole number of GPUs per training",
        )
        require(self.cpus is None or self.cpus >= 1, "cpus", f"{self.cpus!r} is not possible; use 1 or more")
        require_positive(self, "sampling_batch", "checkpoint_s")


def gpus_of_training(gpus: float | Literal["auto"] | None) -> int:
    """Return how many GPUs train one network together, given `resources.gpus`: 1 where it is a share, or left open."""
    return max(1, int(gpus)) if isinstance(gpus, float | int) else 1


def gpus_asked_for(gpus: float | Literal["auto"] | None) -> float:
    """Return how many GPUs a trial needs, given `resources.gpus`: 0 where that is left open."""
    return gpus if isinstance(gpus, float | int) else 0.0


@dataclass(frozen=True)
class ReportConfig:
    """A comparison table. Never part of a signature.

    rows: Axes that label the rows. `None`: all axes that are not columns.
    columns: Axes that label the columns.
    metrics: Metrics to show, such as `[fid_test, class_accuracy]`. KID takes the place of an FID that would mean
        nothing. `None`: all, in several tables.
    title: Title of the table.
    caption: What to say below the title.
    baseline: Axis values to compare with, such as `{model.attention: true}`. Every score is followed by its difference
        to the cell that has these values and is equal otherwise, with the 95% interval and the p value, which is not
        corrected for the number of comparisons.
    changes: Label each row by what it changes of the baseline, such as `optimizer=adamw`, instead of by all axes, and
        show the difference to the baseline after every score. What `baseline` leaves open is as in the first cell,
        or, where no cell is like that, as in the first that has its values.
    costs: Columns that say what the cells cost. `training_s` is seconds of training; `gpu_hours` is empty without GPUs.
    reference: Published numbers to show beside the cells that correspond to them. `zenchiyu_2023`: the study that the
        sweeps on FashionMNIST, CIFAR-10 and CelebA repeat. `edm_2022`: EDM on CIFAR-10 and ImageNet-64.
        `edm_samplers`: samplers of EDM's published CIFAR-10 network.
    equal: Compare at equal compute. `nfe`: of cells that differ in `sampling.steps` alone, show the one with the most
        network evaluations that all others reach, or where their costs are closest. `kimg`, `training_s`, `gpu_hours`:
        the same for `training.kimg`; if that is not an axis, the loss on the val split of each training when it had
        cost as much as the cheapest one.
    """

    rows: tuple[str, ...] | None = None
    columns: tuple[str, ...] = ()
    metrics: tuple[str, ...] | None = None
    title: str | None = None
    caption: str | None = None
    baseline: Mapping[str, Any] | None = None
    changes: bool = False
    costs: tuple[Cost, ...] = ()
    reference: Literal["zenchiyu_2023", "edm_2022", "edm_samplers"] | None = None
    equal: Literal["nfe", "kimg", "training_s", "gpu_hours"] | None = None


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
        """Return the value of a dotted field, such as model.preset, as the sweep file has it.

        It is None where that means nothing in this cell.
        """
        section, name, option = split_axis(axis)
        value = self._attribute(section, name) if self._has_field(section, name) else None
        if option:
            return value.option(option) if isinstance(value, Extension) else None
        return _written(value)

    def _attribute(self, section: str, key: str) -> Any:
        return getattr(getattr(self, section), attribute(SECTIONS[section], key))

    def has(self, axis: str) -> bool:
        """Return whether a dotted name means anything in this cell.

        An option of another value does not, nor a preset of a network of one's own, nor what a trained network decides.
        """
        section, name, option = split_axis(axis)
        if not self._has_field(section, name):
            return False
        value = self._attribute(section, name)
        return not option or (isinstance(value, Extension) and option in dict(value.options))

    def _has_field(self, section: str, name: str) -> bool:
        if section == "model":
            decided = self.network_file is not None and not self.describes_network
            return self.model.has(name) and (not decided or name == "dropout")
        return section != "training" or self.model.source is None

    @property
    def start(self) -> str | None:
        """The path of the trained network that its training begins with; None where it has none, or is none."""
        source = self.training.source
        return source if self.model.source is None and isinstance(source, str) else None

    @property
    def pretraining(self) -> Pretraining | None:
        """The training whose network its own begins with; None where there is none."""
        source = self.training.source
        return source if self.model.source is None and isinstance(source, Pretraining) else None

    @property
    def network_file(self) -> str | None:
        """The path of the network that its training, or the first of several, begins with; None where there is none."""
        source = self.training.source if self.model.source is None else None
        while isinstance(source, Pretraining):
            source = source.training.source
        return source

    @property
    def describes_network(self) -> bool:
        """Whether any field of `model` besides dropout has another value than its default."""
        return self.model != ModelConfig(dropout=self.model.dropout)

    def fields(self) -> dict[str, Any]:
        """Return every field by its dotted name, and the seed; together they are the cell."""
        flat = {
            f"{section}.{name}": self._attribute(section, name)
            for section, kind in SECTIONS.items()
            for name in field_names(kind)
        }
        return {**flat, "seed": self.seed}

    def parameters(self, of_section: Callable[[str, object], dict[str, Any]] | None = None) -> dict[str, Any]:
        """Return every parameter by its dotted name, options of extensions included, and the seed.

        What means nothing in this cell is None. of_section: `section_parameters`, or what
        remembers its values for many cells.
        """
        found: dict[str, Any] = {}
        for section in SECTIONS:
            found |= (of_section or section_parameters)(section, getattr(self, section))
        if self.model.architecture != "study" or self.model.source is not None or self.training.source is not None:
            found |= {name: None for name in found if not self._has_field(*split_axis(name)[:2])}
        return {**found, "seed": self.seed}


def section_parameters(section: str, config: object) -> dict[str, Any]:
    """Return the parameters of one section of a cell by their dotted names, options of extensions included."""
    found: dict[str, Any] = {}
    for key, own_name in _attributes(SECTIONS[section]).items():
        name, value = f"{section}.{key}", getattr(config, own_name)
        if isinstance(value, Extension):
            found |= {name: value.name, **{f"{name}{OPTIONS}.{option}": own for option, own in value.options}}
        else:
            found[name] = _written(value)
        for metric in value if isinstance(value, tuple) else ():
            if isinstance(metric, Extension):
                found |= {f"{name}{OPTIONS}.{metric.name}.{option}": own for option, own in metric.options}
    return found


def _written(value: Any) -> Any:
    """Return a value as the sweep file has it: an extension by its name, a training to begin with by its text."""
    if not isinstance(value, tuple | Extension | Pretraining):  # as nearly all are
        return value
    if isinstance(value, tuple):
        return tuple(map(_written, cast(tuple[Any, ...], value)))
    return value.name if isinstance(value, Extension) else value.text


@dataclass(frozen=True)
class Sweep:
    """A sweep file that was read and checked. axes: the dotted names of the fields that vary, in the file's order.

    name: with overrides, or of some cells, that of a variant (store/sweep_names.py). It becomes part of paths. Raises
    ValueError if it is not a name, wherever the sweep was read from. report: its tables, at least one. extensions: the
    files of extensions, as they were read; none of a sweep that was recalled from a store.
    """

    name: str
    cells: tuple[Cell, ...]
    axes: tuple[str, ...]
    resources: ResourcesConfig
    report: tuple[ReportConfig, ...]
    extensions: tuple[ExtensionFile, ...] = ()

    def __post_init__(self) -> None:
        base, mark, variant = str(self.name).partition(MARK)
        if not isinstance(self.name, str) or not is_name(base) or (mark and VARIANT.fullmatch(variant) is None):
            raise ValueError(f"{self.name!r} cannot be the name of a sweep; {NAME_RULE}")


SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "sampling": SamplingConfig,
    "evaluation": EvaluationConfig,
}
NESTED: dict[tuple[type, str], type] = {(SamplingConfig, "guide"): GuideConfig}  # fields that are mappings themselves
SETTINGS: dict[str, type] = {"resources": ResourcesConfig, "report": ReportConfig}
TOP_LEVEL = ("name", "extensions", *SECTIONS, "grid", "zip", "exclude", "seeds", *SETTINGS)
OWN = "x-"  # how a person's own keys at the top level begin, which may hold anything, such as anchors
Axes = Mapping[str, tuple[Any, ...]]


def nested_class(axis: str) -> type | None:
    """Return the class of a field that is a mapping itself; None for any other field."""
    section, name, _ = split_axis(axis)
    return NESTED.get((SECTIONS[section], name))


def unused_parameters(cells: Sequence[Cell]) -> set[str]:
    """Return the parameters that records leave out, as they were added later and every cell has their default."""
    return {
        name
        for section, kind in SECTIONS.items()
        for field in dataclasses.fields(kind)
        for name in [f"{section}.{key_of(field)}"]
        if not field.metadata.get("column", True) and all(cell.value(name) in (None, field.default) for cell in cells)
    }


@cache
def split_axis(axis: str) -> tuple[str, str, str]:
    """Return section, field and option of a dotted name; the option is "" unless it is such as sampler_options.eta."""
    section, name, option = [*axis.split(".", 2), ""][:3]
    return (section, name.removesuffix(OPTIONS), option) if option else (section, name, "")


def field_names(kind: type) -> tuple[str, ...]:
    """Return what sweep files call a dataclass's fields."""
    return tuple(map(key_of, dataclasses.fields(kind)))


def key_of(field: dataclasses.Field[Any]) -> str:
    """Return what sweep files call a field: its name, unless Python does not allow that name."""
    return field.metadata.get("key", field.name)


@cache
def _attributes(kind: type) -> dict[str, str]:
    return {key_of(field): field.name for field in dataclasses.fields(kind)}


@cache
def attribute(kind: type, key: str) -> str:
    """Return the name of the field that sweep files call `key`; what is no field is its own name."""
    return _attributes(kind).get(key, key) if dataclasses.is_dataclass(kind) else key


def by_attribute(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a section by the names of its fields, and those of mappings in it by the names of theirs."""
    return {
        attribute(kind, key): by_attribute(NESTED[kind, key], value)
        if isinstance(value, Mapping) and (kind, key) in NESTED
        else value
        for key, value in values.items()
    }
