"""Sweep files: YAML becomes a validated Sweep. Errors name the file, line, field, value and remedy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from experiments.errors import UserError
from experiments.inputs import Inputs
from experiments.sweep.axes import Picks, SweepAxes, read_seeds
from experiments.sweep.checks import CellError, check_cell
from experiments.sweep.diagnostics import explain, require_field, require_key, show_value
from experiments.sweep.document import START, Document, Location, parse_document, read_document
from experiments.sweep.spec import (
    NAME_RULE,
    SECTIONS,
    SETTINGS,
    TOP_LEVEL,
    Cell,
    ReportConfig,
    ResourcesConfig,
    Sweep,
    field_names,
    is_name,
)
from experiments.sweep.tables import ReportTables


def load_sweep(path: str | Path, overrides: tuple[str, ...], inputs: Inputs) -> Sweep:
    """Read and check a sweep file; raises UserError where anything is wrong.

    overrides: replace values of the file, such as "training.kimg=10". inputs: answers what is asked about the files
    that the sweep names.
    """
    document = read_document(Path(path))
    if not isinstance(document.data, dict):
        raise document.error((), f"is not a sweep file, which consists of 'key: value' lines; {START}")
    for text in overrides:
        _override(document, text)
    return SweepReader(document, inputs).sweep(Path(path).stem)


# overrides ----------------------------------------------------------------------------------------


def _override(document: Document, text: str) -> None:
    """Apply one --set to the data, in place, before anything is validated."""
    key, equals, value = (part.strip() for part in text.partition("="))
    section, _, name = key.partition(".")
    is_field = section in SECTIONS | SETTINGS and bool(name)
    if not equals or not (is_field or key == "seeds"):
        raise UserError(
            f"--set {text}: expected section.field=value, such as training.kimg=10, or seeds=[0, 1]; "
            f"the sections are {', '.join(SECTIONS | SETTINGS)}"
        )
    given = parse_document(f"--set {text}", value or "null").data
    if key == "seeds":
        document.data["seeds"] = given
        document.places["seeds",] = f"--set {text}"
        return
    values = document.data.get(section) or {}
    if section == "report" and isinstance(values, tuple):
        raise UserError(f"--set {text}: the report has several tables; change them in the file instead")
    if not isinstance(values, dict):
        return  # wrong in the file itself, which is reported when the section is read
    if any(key in axes for axes in (*_mappings(document.data.get("grid")), *_mappings(document.data.get("zip")))):
        raise UserError(f"--set {text}: {key} is an axis of the sweep; change its values in the file instead")
    document.data[section] = {**values, name: given}
    document.places[section, name] = f"--set {text}"


def _mappings(value: Any) -> list[dict[str, Any]]:
    entries = value if isinstance(value, tuple) else (value,)
    return [entry for entry in entries if isinstance(entry, dict)]


# the file -----------------------------------------------------------------------------------------


class SweepReader:
    """Validates a document from top to bottom; raises UserError at the first mistake."""

    def __init__(self, document: Document, inputs: Inputs) -> None:
        self.document = document
        self.inputs = inputs
        self.data: dict[str, Any] = document.data

    def sweep(self, default_name: str) -> Sweep:
        """Return the sweep; default_name: its name where the file does not give one."""
        for key in self.data:
            require_key(self.document, key, TOP_LEVEL, (key,), key)
        base = Cell(seed=0, **{name: self._section(name, kind) for name, kind in SECTIONS.items()})
        axes, seeds = SweepAxes.read(self.document), read_seeds(self.document)
        unseeded = axes.cells(lambda picks: self._cell(base, picks))
        cells = tuple(replace(cell, seed=seed) for cell in unseeded for seed in seeds)
        resources = self._section("resources", ResourcesConfig)
        report = tuple(self._tables(ReportTables(self.document, axes.names, unseeded)))
        return Sweep(self._name(default_name), cells, axes.names, resources, report)

    def _name(self, default: str) -> str:
        name = self.data.get("name", default)
        if not is_name(name):
            raise self.document.error(("name",), f"name: {name!r} cannot be the name of a sweep; {NAME_RULE}")
        return name

    # sections -------------------------------------------------------------------------------------

    def _tables(self, checks: ReportTables) -> Iterator[ReportConfig]:
        """The tables of the section `report`, which is one mapping or a list of them."""
        tables = self.data.get("report")
        if isinstance(tables, tuple) and tables:
            for i, table in enumerate(tables):
                yield checks.complete(self._mapping(table, ReportConfig, ("report", i), "report"), ("report", i))
        else:
            yield checks.complete(self._section("report", ReportConfig), ("report",))

    def _section(self, name: str, kind: type) -> Any:
        """A section as its dataclass, with defaults for what the file leaves out."""
        return self._mapping(self.data.get(name), kind, (name,), name)

    def _mapping(self, values: Any, kind: type, start: Location, name: str) -> Any:
        """A mapping of the file as a dataclass. start: where it is. name: of its section."""
        if values is None:
            values = {}
        if not isinstance(values, dict):
            example = f"{name}: {{{field_names(kind)[0]}: ...}}"
            raise self.document.error(
                start, f"{name}: {show_value(values)} is not a mapping; write for example '{example}'"
            )
        for key, value in values.items():
            require_field(self.document, kind, key, value, (*start, key), f"{name}.{key}")
        return self._validated(kind, values, lambda location: (*start, *location), name)

    def _validated(
        self, kind: type, values: Mapping[str, Any], place: Callable[[Location], Location], title: str
    ) -> Any:
        """Values as the dataclass `kind`. place: from a location in the section to one in the file.

        title: the name used in errors about the whole section; its first part is the section.
        """
        try:
            return _parsed(kind, json.dumps(values, default=str))
        except ValidationError as error:
            location, message = explain(error.errors(), kind)
            field = f"{title.partition('.')[0]}.{location[0]}" if location else title
            raise self.document.error(place(location), f"{field}: {message}") from None

    def _cell(self, base: Cell, picks: Picks) -> Cell:
        """The cell that has the picked values and is like `base` otherwise."""
        values: dict[str, dict[str, Any]] = {}
        places: dict[str, Location] = {}
        for pick in picks:
            section, name = pick.axis.split(".")
            values.setdefault(section, dict(self.data.get(section) or {}))[name] = pick.value
            places[pick.axis] = pick.location
        changed = {section: self._picked_section(section, values[section], places) for section in values}
        cell = replace(base, **changed)
        try:
            check_cell(cell, self.inputs)
        except CellError as error:
            location = places.get(error.field, tuple(error.field.split(".")))
            raise self.document.error(location, f"{error.field}: {error}") from None
        return cell

    def _picked_section(self, section: str, values: dict[str, Any], places: dict[str, Location]) -> Any:
        """A section with values of axes in it; its errors are placed at these axes, by default at the last one."""
        last = next(axis for axis in reversed(places) if axis.startswith(f"{section}."))

        def place(location: Location) -> Location:
            axis = f"{section}.{location[0]}" if location else last
            return places.get(axis, places[last])

        return self._validated(SECTIONS[section], values, place, last)


@lru_cache(maxsize=4096)  # thousands of cells share few sections
def _parsed(kind: type, text: str) -> Any:
    # JSON, as only there strict validation takes a mapping for a dataclass and a list for a tuple
    return _adapter(kind).validate_json(text, strict=True)


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
