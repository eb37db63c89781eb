"""What distinguishes two tasks, or cells; and which finished work is nearest to one that is not done."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from edm.config import DataConfig, TrainingConfig
from experiments.store.layout import CONFIG, RESULT
from experiments.store.store import Store
from experiments.sweep.tasks import Evaluation, SweepTask

MOST_READ = 2000  # tasks that are looked at for the nearest one, the newest first
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # as safe, and ten times as fast
# of a task as it is written down: what identifies it, by what to call it
SECTION_NAMES = {"network": "network", "config": "training"}
# what a configuration says beside that
INDIFFERENT = {
    f.name for kind in (DataConfig, TrainingConfig) for f in fields(kind) if not f.metadata.get("identity", True)
}


@dataclass(frozen=True)
class FieldDifference:
    """A field in which two differ, and its values."""

    field: str
    here: Any
    there: Any


@dataclass(frozen=True)
class NearestTask:
    """The finished task that differs least from another, and in what."""

    signature: str
    differences: tuple[FieldDifference, ...]


def fields_of(task: SweepTask) -> dict[str, Any]:
    """What identifies a task, by dotted names; of an evaluation that of its trainings as well."""
    return _flat(asdict(task))


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> tuple[FieldDifference, ...]:
    """Where two disagree, in the order of their fields."""
    names = dict.fromkeys((*here, *there))
    pairs = ((name, here.get(name), there.get(name)) for name in names)
    return tuple(FieldDifference(name, a, b) for name, a, b in pairs if _text(a) != _text(b))


def nearest(task: SweepTask, store: Store) -> NearestTask | None:
    """The finished work of the same kind that differs least from a task, the newest of several; None without any.

    Of evaluations those of the same training alone: without it all has to be done anyway.
    """
    own = fields_of(task)
    found = [
        NearestTask(name, differences(own, there)) for name, there in _finished(task, store) if name != task.signature
    ]
    return min(found, key=lambda one: len(one.differences), default=None)


def _finished(task: SweepTask, store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    """The fields of finished work of a kind, the newest first."""
    root = store.root / task.store_kind
    needed = task.training.signature.encode() if isinstance(task, Evaluation) else b""
    for path in _newest(root):
        try:
            content = (path / CONFIG).read_bytes()
        except OSError:
            continue
        if needed in content and (path / RESULT).exists():
            try:
                yield path.name, _flat(yaml.load(content, _Loader))
            except (yaml.YAMLError, AttributeError, TypeError, KeyError):
                continue  # damaged: it cannot be told what it was


def _newest(root: Path) -> list[Path]:
    try:
        entries = [(entry.stat().st_mtime, entry.path) for entry in os.scandir(root)]
    except FileNotFoundError:
        return []
    return [Path(path) for _, path in sorted(entries, reverse=True)[:MOST_READ]]


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    """A task as it is written down, as dotted fields."""
    if content["kind"] == "training":
        return _training_fields(content)
    guide = _training_fields(content["guide"]) if content["guide"] else {}
    named = {"sampling": content["sampling"], "evaluation": _scored(content)}
    own = {f"{section}.{name}": value for section, values in named.items() for name, value in values.items()}
    return {**_training_fields(content["training"]), **own, **{f"guide.{name}": guide[name] for name in guide}}


def _training_fields(content: dict[str, Any]) -> dict[str, Any]:
    flat = {
        f"{SECTION_NAMES[section]}.{name}": value
        for section in ("network", "config")
        for name, value in content[section].items()
        if name not in INDIFFERENT
    }
    data = {f"data.{name}": value for name, value in content["data"]["config"].items() if name not in INDIFFERENT}
    return {**data, "data.content": content["data"]["signature"], **flat, "seed": content["seed"]}


def _scored(content: dict[str, Any]) -> dict[str, Any]:
    """How images are scored, less what is not part of an evaluation's identity."""
    kept = ("images", "features", "resize", "reference", "stop_when")
    told = {name: content["config"].get(name) for name in kept}
    return {**told, "statistics": content["statistics"], "scores": sorted(content["scores"])}


def _text(value: Any) -> str:
    """Values compare as they are written: tuples and lists are one, and so are 2 and 2.0."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def shown(value: Any) -> str:
    """A value for people."""
    return "none" if value is None else _text(value)
