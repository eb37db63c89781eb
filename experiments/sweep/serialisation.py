"""A plan as JSON, and back: enough to plan a sweep again without its file and the files that it names."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import ValidationError

from edm.config import DataConfig, Extension, Pretrained
from edm.data.catalogue import CATALOGUE, DatasetFacts, facts, source_fingerprint
from experiments.errors import UserError
from experiments.store.sweep_records import PAST
from experiments.sweep.aliases import Holdings
from experiments.sweep.plan import Plan, PlannedCell, plan_sweep
from experiments.sweep.schemas import validator
from experiments.sweep.spec import SECTIONS, Cell, ReportConfig, ResourcesConfig, Sweep, by_attribute, unused_parameters
from experiments.sweep.tasks import DataSource, SweepTask

FORMAT = 1
Content = dict[str, Any]  # a recorded sweep, as JSON
TaskT = TypeVar("TaskT", bound=SweepTask)


# writing ------------------------------------------------------------------------------------------


def plan_to_json(plan: Plan) -> Content:
    """Return a plan's sweep as JSON. For every field of the cells, each value is written once."""
    sweep = plan.sweep
    cells = [cell.fields() for cell in sweep.cells]
    unused = unused_parameters(sweep.cells)
    return {
        "format": FORMAT,
        "name": sweep.name,
        "axes": sweep.axes,
        "resources": _resources(sweep.resources),
        "report": _report([_table(table) for table in sweep.report]),
        "fields": {field: _column([cell[field] for cell in cells]) for field in cells[0] if field not in unused},
        "folders": [{"config": _data(config), "source": _facts(source)} for config, source in _folders(plan).items()],
        "statistics": _statistics(plan),
        **({"pretrained": [asdict(network) for network in networks]} if (networks := named_networks(plan)) else {}),
        "cells": _signatures_by_name(plan),
    }


def _resources(resources: ResourcesConfig) -> Content:
    """The resources, without fields that came later and have their defaults."""
    later = {"cuda_graphs": True}
    return {name: value for name, value in asdict(resources).items() if (name, value) not in later.items()}


def _table(table: ReportConfig) -> Content:
    """A table of the report, without fields that came later and have their defaults."""
    first = ("rows", "columns", "metrics")
    return {f.name: value for f in fields(table) if (value := getattr(table, f.name)) != f.default or f.name in first}


def _report(tables: list[Content]) -> Content | list[Content]:
    """A report of one table is that table, as in records from before there could be several."""
    return tables[0] if len(tables) == 1 else tables


def _column(values: list[Any]) -> dict[str, Any]:
    """One field of all cells: its distinct values, and, where there are several, the number of each cell's value."""
    numbers: dict[tuple[type, Any], int] = {}  # by type as well: true is not 1
    at = [numbers.setdefault((type(value), value), len(numbers)) for value in values]
    distinct = [_as_json(value) for _, value in numbers]
    return {"values": distinct} if len(distinct) == 1 else {"values": distinct, "at": at}


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_json(entry) for entry in value]
    return asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def _folders(plan: Plan) -> dict[DataConfig, DataSource]:
    """The folders of images that a plan reads: on another machine they may be absent, and here they may change."""
    trainings = (each for planned in plan.cells for each in planned.trainings)
    return {cell.data: training.data for cell, training in trainings if cell.data.name == "folder"}


def _data(config: DataConfig) -> Content:
    """The configuration of a data set, without fields that came later and have their defaults."""
    later = {"image_column": None, "label_column": None}
    return {name: value for name, value in asdict(config).items() if (name, value) not in later.items()}


def _facts(source: DataSource) -> Content:
    """A data set but for the version of its classifier, which follows from the store that a plan is for."""
    content = asdict(source) | {"config": _data(source.config)}
    return {name: value for name, value in content.items() if name != "classifier_version"}


def _statistics(plan: Plan) -> dict[str, str | None]:
    """The SHA-256 of every statistics file that a cell names, by its path."""
    named = ((planned.cell.evaluation.statistics, planned.evaluation.statistics) for planned in plan.cells)
    return {path: sha256 for path, sha256 in named if path is not None}


def named_networks(plan: Plan) -> list[Pretrained]:
    """Return the trained networks that cells name, once for each path; on another machine their files may be absent."""
    found = {path: network for planned in plan.cells for path, network in _networks_of(planned) if network}
    return [replace(network, path=path) for path, network in found.items() if path is not None]


def _networks_of(planned: PlannedCell) -> Iterator[tuple[str | None, Pretrained | None]]:
    """Yield the paths of a cell and the networks that it has by them; several paths may have the same network."""
    for cell, training in planned.trainings:
        yield cell.model.source, training.pretrained


def _signatures_by_name(plan: Plan) -> dict[str, dict[str, str]]:
    """The signatures of the tasks behind each name; a cell's name stands for its evaluation, too."""
    named = {plan.names[identity]: {"training": identity} for identity in plan.trainings}
    for planned in plan.cells:
        tasks = {"training": planned.training.signature, "evaluation": planned.evaluation.signature}
        named[plan.cell_name(planned)] = tasks
    return named


# reading ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecordedInputs:
    """Answers what planning asks about files from a recorded sweep; no file is read.

    statistics: the SHA-256 of every statistics file, by its path. models: every trained network, by its path. Facts and
    checksums of data sets are those of the catalogue: recorded folders are given to plan_sweep as sources.
    """

    statistics: Mapping[str, str]
    models: Mapping[str, Pretrained]

    def facts(self, config: DataConfig) -> DatasetFacts:
        """Return the published facts of a data set; raises KeyError for a folder, which was not recorded."""
        return facts(_in_catalogue(config))

    def fingerprint(self, config: DataConfig) -> str:
        """Return what identifies a published data set; raises KeyError for a folder, which was not recorded."""
        return source_fingerprint(_in_catalogue(config))

    def statistics_sha256(self, path: str) -> str | None:
        """Return the recorded SHA-256 of a statistics file; raises KeyError where there is none."""
        return self.statistics[path]

    def model(self, path: str) -> Pretrained:
        """Return a recorded trained network; raises KeyError where there is none."""
        return self.models[path]


def _in_catalogue(config: DataConfig) -> DataConfig:
    if config.name not in CATALOGUE and not isinstance(config.name, Extension):
        raise KeyError(config.path)
    return config


def plan_from_json(content: Content, path: Path, holdings: Holdings | None = None) -> Plan:
    """Return the plan that plan_to_json wrote to `path`, for the store that `holdings` is.

    Raises UserError where it cannot be read.
    """
    sweep = sweep_from_json(content, path)
    try:
        sources = {
            _parsed(DataConfig, folder["config"]): _parsed(DataSource, folder["source"])
            for folder in content["folders"]
        }
        models = {entry["path"]: _parsed(Pretrained, entry) for entry in content.get("pretrained", ())}
        return plan_sweep(sweep, RecordedInputs(content["statistics"], models), sources, holdings)
    except (KeyError, TypeError, ValidationError) as error:
        raise _unreadable(path, error) from None


def sweep_from_json(content: Content, path: Path) -> Sweep:
    """Return the sweep that plan_to_json wrote to `path`; raises UserError where it cannot be read."""
    try:
        if content["format"] != FORMAT:
            raise UserError(f"{path}: was written by another version of edm-sweep; give the sweep file instead")
        return Sweep(
            content["name"],
            tuple(dict.fromkeys(_cells(content["fields"]))),  # earlier versions told more cells apart
            tuple(content["axes"]),
            _parsed(ResourcesConfig, content["resources"]),
            tuple(_parsed(ReportConfig, table) for table in _tables(content["report"])),
        )
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise _unreadable(path, error) from None


def _tables(report: Content | list[Content]) -> list[Content]:
    """The tables of a report, as `_report` wrote them."""
    return report if isinstance(report, list) else [report]


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = str(error).splitlines()[0]
    remedy = "run the sweep again from its file to replace it"
    if path.parent.name == PAST:
        remedy = "it is of an earlier version of the sweep, which 'edm-sweep gc --past' leaves out and deletes"
    return UserError(f"{path}: cannot be read ({type(error).__name__}: {reason}); {remedy}")


def _cells(fields: dict[str, Any]) -> Iterator[Cell]:
    sections = {section: _section(section, kind, fields) for section, kind in SECTIONS.items()}
    seeds, count = fields["seed"], max(len(field.get("at", "1")) for field in fields.values())
    at = seeds.get("at") or itertools.repeat(0, count)
    for seed, *configs in zip(at, *(_repeated(section, count) for section in sections.values()), strict=True):
        cell = Cell(seeds["values"][seed], *configs)
        yield replace(cell, model=cell.model.essential)


def _repeated(configs: list[Any], count: int) -> Iterator[Any]:
    return itertools.repeat(configs[0], count) if len(configs) == 1 else iter(configs)


def _section(section: str, kind: type, fields: dict[str, Any]) -> list[Any]:
    """A section of every cell, or a single one where all cells share it; equal sections are one object."""
    own = {name.partition(".")[2]: field for name, field in fields.items() if name.startswith(f"{section}.")}
    varying = {name: field for name, field in own.items() if "at" in field}
    fixed = {name: field["values"][0] for name, field in own.items() if name not in varying}

    @cache
    def made(*at: int) -> Any:
        picked = {name: field["values"][i] for (name, field), i in zip(varying.items(), at, strict=True)}
        return _parsed(kind, by_attribute(kind, {**fixed, **picked}))

    return [made(*at) for at in zip(*(field["at"] for field in varying.values()), strict=True)] if varying else [made()]


def task_from_json(kind: type[TaskT], content: Any) -> TaskT:
    """Return the task whose fields a config.yaml holds; raises ValueError if they are not those of such a task."""
    return validator(kind).validate_json(json.dumps(content))


def _parsed(kind: type, content: Any) -> Any:
    return validator(kind).validate_json(json.dumps(content), strict=True)
