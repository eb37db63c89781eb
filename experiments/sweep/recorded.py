"""A plan as JSON, and back: enough to plan a sweep again without its file."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edm.config import DataConfig
from experiments.errors import UserError
from experiments.sweep.plan import KnownInputs, Plan, plan_sweep
from experiments.sweep.spec import SECTIONS, Cell, ReportConfig, ResourcesConfig, Sweep
from experiments.sweep.tasks import DataSource

FORMAT = 1
Content = dict[str, Any]  # of a remembered sweep, as JSON


def recorded_content(plan: Plan) -> Content:
    """A plan's sweep as JSON: what all its cells have in common once, of the rest every value once."""
    sweep = plan.sweep
    cells = [cell.parameters() for cell in sweep.cells]
    fields = {name: _column([cell[name] for cell in cells]) for name in cells[0]}
    named = {plan.names[name]: {"training": name} for name in plan.trainings}
    for planned in plan.cells:
        tasks = {"training": planned.training.signature, "evaluation": planned.evaluation.signature}
        named[plan.cell_name(planned)] = tasks
    return {
        "format": FORMAT,
        "name": sweep.name,
        "axes": sweep.axes,
        "resources": asdict(sweep.resources),
        "report": asdict(sweep.report),
        "fields": fields,
        "folders": [{"config": asdict(config), "source": asdict(source)} for config, source in _folders(plan).items()],
        "statistics": {
            e.config.statistics: e.statistics for e in plan.evaluations.values() if e.config.statistics is not None
        },
        "cells": named,
    }


def _column(values: list[Any]) -> dict[str, Any]:
    """A field of all cells: its values, and where there are several which cell has which."""
    numbers: dict[tuple[type, Any], int] = {}  # by kind as well: true is not 1
    at = [numbers.setdefault((type(value), value), len(numbers)) for value in values]
    distinct = [asdict(value) if dataclasses.is_dataclass(kind) else value for kind, value in numbers]
    return {"values": distinct} if len(distinct) == 1 else {"values": distinct, "at": at}


def _folders(plan: Plan) -> dict[DataConfig, DataSource]:
    """The folders of images that a plan reads: elsewhere they may be absent, and here they may change."""
    return {p.cell.data: p.training.data for p in plan.cells if p.cell.data.name == "folder"}


def read_plan(content: Content, path: Path) -> Plan:
    """The plan of what `written` made; raises UserError where it cannot be read."""
    try:
        sources = {
            _parsed(DataConfig, folder["config"]): _parsed(DataSource, folder["source"])
            for folder in content["folders"]
        }
        known = KnownInputs(sources, content["statistics"])
    except (KeyError, TypeError, ValidationError) as error:
        raise _unreadable(path, error) from None
    return plan_sweep(read_sweep(content, path), known)


def read_sweep(content: Content, path: Path) -> Sweep:
    """The sweep of what `written` made; raises UserError where it cannot be read."""
    try:
        if content["format"] != FORMAT:
            raise UserError(f"{path}: was written by another version of edm-sweep; give the sweep's file")
        return Sweep(
            content["name"],
            tuple(_cells(content["fields"])),
            tuple(content["axes"]),
            _parsed(ResourcesConfig, content["resources"]),
            _parsed(ReportConfig, content["report"]),
        )
    except (KeyError, TypeError, IndexError, ValidationError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = str(error).splitlines()[0]
    return UserError(f"{path}: cannot be read ({type(error).__name__}: {reason}); run its sweep again, with its file")


def _cells(fields: dict[str, Any]) -> Iterator[Cell]:
    sections = {section: _section(section, kind, fields) for section, kind in SECTIONS.items()}
    seeds, count = fields["seed"], max(len(field.get("at", "1")) for field in fields.values())
    at = seeds.get("at") or itertools.repeat(0, count)
    for seed, *configs in zip(at, *(_repeated(section, count) for section in sections.values()), strict=True):
        yield Cell(seeds["values"][seed], *configs)


def _repeated(configs: list[Any], count: int) -> Iterator[Any]:
    return itertools.repeat(configs[0], count) if len(configs) == 1 else iter(configs)


def _section(section: str, kind: type, fields: dict[str, Any]) -> list[Any]:
    """A section of all cells, or once where all have the same; each that differs is made once."""
    own = {name.partition(".")[2]: field for name, field in fields.items() if name.startswith(f"{section}.")}
    varying = {name: field for name, field in own.items() if "at" in field}
    fixed = {name: field["values"][0] for name, field in own.items() if name not in varying}

    @cache
    def made(*at: int) -> Any:
        picked = {name: field["values"][i] for (name, field), i in zip(varying.items(), at, strict=True)}
        return _parsed(kind, {**fixed, **picked})

    return [made(*at) for at in zip(*(field["at"] for field in varying.values()), strict=True)] if varying else [made()]


def _parsed(kind: type, content: Any) -> Any:
    return _adapter(kind).validate_json(json.dumps(content), strict=True)


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
