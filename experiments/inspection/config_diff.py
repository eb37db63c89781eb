"""In which fields two tasks differ, and which finished task is nearest to one that is not done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath
from typing import Any

from edm.config import DataConfig, TrainingConfig
from experiments.store.files import newest
from experiments.store.folders import listed
from experiments.store.layout import CONFIG, RESULT
from experiments.store.store import Store
from experiments.store.yaml_text import parse_yaml
from experiments.sweep.spec import OPTIONS, Cell
from experiments.sweep.tasks import Evaluation, SweepTask

MAX_READ = 2000  # finished tasks that are compared with one, the newest first
MODEL_FROM = "model.from"
NETWORK = "network."  # what fields of the network as it is built begin with, which no sweep file has
SECTION_NAMES = {"network": "network", "config": "training"}  # what sections of a stored training are called here
# fields that do not identify a task
IGNORED = {
    f.name for kind in (DataConfig, TrainingConfig) for f in fields(kind) if not f.metadata.get("identity", True)
}


@dataclass(frozen=True)
class FieldDifference:
    """A field with different values here and there."""

    field: str
    here: Any
    there: Any


@dataclass(frozen=True)
class NearestTask:
    """The finished task with the fewest different fields. name: SWEEP:CELL, if a sweep that was run has it."""

    signature: str
    differences: tuple[FieldDifference, ...]
    name: str = ""


def fields_of(task: SweepTask) -> dict[str, Any]:
    """Return the fields that identify a task by their dotted names; for an evaluation, also its training's."""
    return _flat(asdict(task))


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> tuple[FieldDifference, ...]:
    """Return where two mappings disagree, in the order of their fields."""
    names = dict.fromkeys((*here, *there))
    pairs = ((name, here.get(name), there.get(name)) for name in names)
    return tuple(FieldDifference(name, a, b) for name, a, b in pairs if _comparable(a) != _comparable(b))


def in_sweep_fields(
    found: tuple[FieldDifference, ...], here: Cell | None, there: Cell | None
) -> tuple[FieldDifference, ...]:
    """Return differences with the model.* fields of two cells in place of network.* fields, where cells are known."""
    at = next((i for i, difference in enumerate(found) if difference.field.startswith(NETWORK)), None)
    if at is None or here is None or there is None:
        return found
    others = [difference for difference in found if not difference.field.startswith(NETWORK)]
    of_model = differences(*(_model_fields(cell) for cell in (here, there)))
    return (*others[:at], *of_model, *others[at:])


def _model_fields(cell: Cell) -> dict[str, Any]:
    found = {name: value for name, value in cell.parameters().items() if name.startswith("model.")}
    return {name: value for name, value in found.items() if name != MODEL_FROM}  # whose weights are a difference


def nearest(task: SweepTask, store: Store) -> NearestTask | None:
    """Return the finished task of the same kind with the fewest different fields, the newest of several.

    An evaluation is compared only with those of the same training. None if there is nothing to compare with.
    """
    own = fields_of(task)
    found = [
        NearestTask(name, differences(own, there)) for name, there in _finished(task, store) if name != task.signature
    ]
    return min(found, key=lambda near: len(near.differences), default=None)


def _finished(task: SweepTask, store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    """The signatures and fields of finished tasks of the same kind, the newest first."""
    root = store.root / task.store_kind
    needed = task.training.signature.encode() if isinstance(task, Evaluation) else b""
    for path in newest(listed(root, "*"), MAX_READ):
        try:
            content = (path / CONFIG).read_bytes()
        except OSError:
            continue
        if needed in content and (path / RESULT).exists():
            try:
                yield path.name, _flat(parse_yaml(content))
            except (ValueError, AttributeError, TypeError, KeyError):
                continue  # damaged: its fields are unknown


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    """The dotted fields of a task as it is stored. A guide's follow from its training's and from sampling.guide."""
    if content["kind"] == "training":
        return _with_extensions(_training_fields(content))
    sections = {"sampling": content["sampling"], "evaluation": _evaluation_fields(content)}
    own = {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}
    return _with_extensions({**_training_fields(content["training"]), **own})


def _with_extensions(flat: dict[str, Any]) -> dict[str, Any]:
    """The fields with a name, options and code in place of each value that an extension registered."""
    found: dict[str, Any] = {}
    for field, value in flat.items():
        if not isinstance(value, Mapping) or "code" not in value:
            found[field] = value
            continue
        options = {f"{field}{OPTIONS}.{name}": own for name, own in value["options"]}
        found |= {field: value["name"], **options, f"the code of {field}": ExtensionCode(value["code"], value["where"])}
    return found


@dataclass(frozen=True)
class ExtensionCode:
    """The digest of an extension's code, and the file and function that it is in, which identifies nothing."""

    digest: str
    where: str

    @property
    def function(self) -> str:
        """The name of the function."""
        return self.where.rpartition(", ")[2]

    def __str__(self) -> str:
        return self.digest


@dataclass(frozen=True)
class DataContent:
    """What identifies the images of a data set, and how many there are, which identifies nothing."""

    signature: str
    counts: str

    @classmethod
    def of(cls, source: Mapping[str, Any]) -> DataContent:
        """Return that of a data set as it is stored; records of earlier versions lack the sizes of splits."""
        splits = [f"{number:,} {split}" for split, number in source.get("splits", ())]
        classes = source["num_classes"]
        return cls(source["signature"], f"{', '.join([*splits, f'{classes} classes'])}" if splits else "")

    def __str__(self) -> str:
        return self.signature


@dataclass(frozen=True)
class TrainedWeights:
    """What identifies a trained network, and what people call it, which identifies nothing."""

    digest: str
    title: str

    @classmethod
    def of(cls, network: Mapping[str, Any] | None) -> TrainedWeights | None:
        """Return those of the network of a file, or of a training, as it is stored; None of none."""
        if network is None:
            return None
        if "digest" in network:
            return cls(network["digest"], f"{Path(network['path']).name} (weights {network['digest'][:12]})")
        data, config = network["data"]["config"], network["config"]
        kimg = TrainingConfig(kimg=config["kimg"], batch_size=config["batch_size"]).total_kimg
        own = data["name"]["name"] if isinstance(data["name"], Mapping) else data["name"]  # of an extension
        images = PurePath(data.get("path") or "").name or own
        return cls(network["signature"], f"training {network['signature']} ({kimg:,g} kimg on {images})")

    def __str__(self) -> str:
        return self.digest


def _training_fields(content: dict[str, Any]) -> dict[str, Any]:
    own = {
        f"{SECTION_NAMES[section]}.{name}": value
        for section in ("network", "config")
        for name, value in content[section].items()
        if name not in IGNORED
    }
    data = {f"data.{name}": value for name, value in content["data"]["config"].items() if name not in IGNORED}
    of_files = {MODEL_FROM: "pretrained", "training.from": "start"}  # which records of earlier versions lack
    trained = {name: TrainedWeights.of(content.get(key)) for name, key in of_files.items()}
    return {**data, "data.content": DataContent.of(content["data"]), **own, **trained, "seed": content["seed"]}


def _evaluation_fields(content: dict[str, Any]) -> dict[str, Any]:
    """The fields of how images are scored that identify an evaluation."""
    names = ("images", "features", "resize", "reference", "stop_when")
    config = {name: content["config"].get(name) for name in names}
    return {**config, "statistics": content["statistics"], "scores": sorted(content["scores"])}


def _comparable(value: Any) -> str:
    """A value as text, in which a tuple equals a list, and 2 equals 2.0."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_comparable, value))}]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def shown(value: Any) -> str:
    """Return a value as a sweep file has it."""
    if value is None:
        return "none"
    if isinstance(value, ExtensionCode):
        return f"{value.digest} ({value.where})"
    if isinstance(value, DataContent):
        return f"{value.signature} ({value.counts})" if value.counts else value.signature
    if isinstance(value, TrainedWeights):
        return value.title
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={shown(own)}" for name, own in value.items() if own is not None)
    return _comparable(value)
