"""Sweep files: YAML becomes a validated Sweep. Errors name the file, line, field, value and remedy."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic_core import ValidationError

from edm.config import Pretraining, TrainingConfig
from experiments.errors import UserError
from experiments.inputs import Inputs
from experiments.names import NAME_RULE, is_name
from experiments.store.sweep_names import override_texts, variant_name
from experiments.sweep.axes import Picks, SweepAxes, read_seeds
from experiments.sweep.cell_errors import CellError
from experiments.sweep.checks import check_cell, check_training
from experiments.sweep.diagnostics import (
    explain,
    in_place_of_one,
    is_of_class,
    not_a_mapping,
    require_field,
    require_key,
    show_value,
    suggest,
    takes_lists,
)
from experiments.sweep.document import START, Document, Location, parse_document, read_document
from experiments.sweep.extensions import ExtensionValueError, SweepExtensions
from experiments.sweep.metrics import declare_metrics
from experiments.sweep.names import changes_text
from experiments.sweep.schemas import validator
from experiments.sweep.spec import (
    OWN,
    SECTIONS,
    SETTINGS,
    TOP_LEVEL,
    Cell,
    ReportConfig,
    ResourcesConfig,
    Sweep,
    by_attribute,
    field_names,
)
from experiments.sweep.starts import DATA_SET, FROM, SEED, beginning_with, start_asked_for, start_picks
from experiments.sweep.tables import ReportTables
from experiments.wording import shortened


def load_sweep(path: str | Path, overrides: tuple[str, ...], inputs: Inputs) -> Sweep:
    """Read and check a sweep file; raises UserError where anything is wrong.

    overrides: replace values of the file, such as "training.kimg=10". inputs: answers what is asked about the files
    that the sweep names.
    """
    document = read_document(Path(path))
    if not isinstance(document.data, dict):
        raise document.error((), f"is not a sweep file, which consists of 'key: value' lines; {START}")
    changed: dict[str, Any] = {}
    for text in overrides:
        changed |= _override(document, text)
    with redirect_stdout(sys.stderr):  # what code of extensions prints has no place in a command's JSON
        extensions = SweepExtensions.read(document, Path(path).parent)
        return SweepReader(document, inputs, extensions).sweep(Path(path).stem, changed)


def with_resources(sweep: Sweep, overrides: Sequence[str], inputs: Inputs) -> Sweep:
    """Return a sweep with other resources, such as "resources.gpus=2"; raises UserError where a value is wrong."""
    if not overrides:
        return sweep
    document = Document(sweep.name, {"resources": asdict(sweep.resources)})
    for text in overrides:
        _override(document, text)
    reader = SweepReader(document, inputs, SweepExtensions.read(document, Path()))
    return replace(sweep, resources=reader.resources())


# overrides ----------------------------------------------------------------------------------------


def _override(document: Document, text: str) -> dict[str, Any]:
    """Apply one --set to the data, in place, before anything is validated; return the field and its value."""
    key, equals, value = (part.strip() for part in text.partition("="))
    section, _, name = key.partition(".")
    is_field = section in SECTIONS | SETTINGS and bool(name)
    if not equals or not (is_field or key == "seeds"):
        known = tuple(SECTIONS | SETTINGS)
        remedy = "add the field and the value" if section in known else f"as the section, {suggest(section, known)}"
        raise UserError(
            f"--set {text}: expected section.field=value, such as training.kimg=10, or seeds=[0, 1]; {remedy}"
        )
    given = parse_document(f"--set {text}", value or "null").data
    if key == "seeds":
        document.data["seeds"] = given
        document.places["seeds",] = f"--set {text}"
        return {key: given}
    values = document.data.get(section) or {}
    if section == "report" and isinstance(values, tuple):
        raise UserError(f"--set {text}: the report has several tables; change them in the file instead")
    if not isinstance(values, dict):
        return {}  # wrong in the file itself, which is reported when the section is read
    if any(key in axes for axes in (*_mappings(document.data.get("grid")), *_mappings(document.data.get("zip")))):
        raise UserError(f"--set {text}: {key} is an axis of the sweep; change its values in the file instead")
    name, _, option = name.partition(".")
    location = (section, name, option) if option else (section, name)
    own = {**(values.get(name) or {}), option: given} if option else given
    document.data[section] = {**values, name: own}
    document.places[location] = f"--set {text}"
    return {key: given}


def _mappings(value: Any) -> list[dict[str, Any]]:
    entries = value if isinstance(value, tuple) else (value,)
    return [entry for entry in entries if isinstance(entry, dict)]


# the file -----------------------------------------------------------------------------------------


class UnfitSection(UserError):
    """A section whose values do not fit together, or are refused by its class; an axis may give it others.

    problem: the message without the place in the file.
    """

    def __init__(self, error: UserError, problem: str) -> None:
        super().__init__(str(error))
        self.problem = problem


class SweepReader:
    """Validates a document from top to bottom; raises UserError at the first mistake."""

    def __init__(self, document: Document, inputs: Inputs, extensions: SweepExtensions) -> None:
        self.document = document
        self.inputs = inputs
        self.extensions = extensions
        self.unfit: dict[str, UnfitSection] = {}  # sections that are right only with the values of axes
        self.data: dict[str, Any] = document.data

    def sweep(self, default_name: str, changed: Mapping[str, Any]) -> Sweep:
        """Return the sweep.

        default_name: its name where the file does not give one. changed: fields that differ from the file, which make a
        variant, except for resources, which change no result.
        """
        for key in self.data:
            if not key.startswith(OWN):
                require_key(self.document, key, TOP_LEVEL, (key,), key)
        base = Cell(seed=0, **{name: self._shared(name, kind) for name, kind in SECTIONS.items()})
        axes, seeds = SweepAxes.read(self.document, self.extensions.companions), read_seeds(self.document)
        for name, error in self.unfit.items():
            if not any(axis.startswith(f"{name}.") for axis in axes.names):
                raise error
        unseeded = axes.cells(lambda picks: self._cell(base, picks))
        self.extensions.require_reached(self.document, axes.places)
        cells = tuple(replace(cell, seed=seed) for cell in unseeded for seed in seeds)
        resources = self.resources()
        declare_metrics(cell.evaluation for cell in unseeded)  # before the report's are checked
        overrides = {field: value for field, value in changed.items() if not field.startswith("resources.")}
        name = variant_name(self._name(default_name), override_texts(overrides))
        report = tuple(self._tables(ReportTables(self.document, axes.names, unseeded)))
        return Sweep(name, cells, axes.names, resources, report, self.extensions.files)

    def resources(self) -> ResourcesConfig:
        """Return what trials get."""
        return self._section("resources", ResourcesConfig)

    def _name(self, default: str) -> str:
        name = self.data.get("name", default)
        if "name" in self.data and not isinstance(name, str):
            raise self.document.error(("name",), f"name: {self._not_text(name)}")
        if not is_name(name):
            wrong = f"{show_value(name)} cannot be the name of a sweep; "
            if "name" not in self.data:
                wrong = f"is missing, and the file's name {wrong}add one, and "
            raise self.document.error(("name",), f"name: {wrong}{NAME_RULE}")
        return name

    def _not_text(self, value: Any) -> str:
        written = self.document.written.get(("name",))
        if not written:
            shown = "is empty" if value is None else f"{show_value(value)} is not text"
            return f"{shown}; write the name of the sweep, or remove the line"
        return f"{shortened(written)} is not text in YAML; put it in quotes: '{shortened(written)}'"

    # sections -------------------------------------------------------------------------------------

    def _tables(self, checks: ReportTables) -> Iterator[ReportConfig]:
        """The tables of the section `report`, which is one mapping or a list of them."""
        tables = self.data.get("report")
        if isinstance(tables, tuple) and tables:
            for i, table in enumerate(tables):
                yield checks.complete(self._mapping(table, ReportConfig, ("report", i), "report"), ("report", i))
        else:
            yield checks.complete(self._section("report", ReportConfig), ("report",))

    def _shared(self, name: str, kind: type) -> Any:
        """A section that cells share. One that an axis may put right is noted; no cell gets its defaults."""
        try:
            return self._section(name, kind)
        except UnfitSection as error:
            self.unfit[name] = error
            return kind()

    def _section(self, name: str, kind: type) -> Any:
        """A section as its dataclass, with defaults for what the file leaves out."""
        return self._mapping(self.data.get(name), kind, (name,), name)

    def _mapping(self, values: Any, kind: type, start: Location, name: str) -> Any:
        """A mapping of the file as a dataclass. start: where it is. name: of its section."""
        if values is None:
            values = {}
        if not isinstance(values, dict):
            example = f"{name}: {{{field_names(kind)[0]}: ...}}"
            raise self.document.error(start, f"{name}: {not_a_mapping(values, field_names(kind), example)}")
        companions = self.extensions.companions.get(name, ())
        for key, value in values.items():
            hint = self.extensions.misplaced(name, key) if key not in field_names(kind) else None
            if hint is not None:
                raise self.document.error((*start, key), f"{name}.{key}: {hint}")
            require_field(self.document, kind, key, value, (*start, key), f"{name}.{key}", companions)
        return self._validated(kind, values, lambda location: (*start, *location), name)

    def _validated(
        self, kind: type, values: Mapping[str, Any], place: Callable[[Location], Location], title: str
    ) -> Any:
        """Values as the dataclass `kind`. place: from a location in the section to one in the file.

        title: the name used in errors about the whole section; its first part is the section.
        """
        section = title.partition(".")[0]
        try:
            resolved = by_attribute(kind, self.extensions.resolved(section, _without_pretraining(kind, values)))
            return self.extensions.with_facts(_parsed(kind, json.dumps(resolved, default=str)))
        except ExtensionValueError as error:
            field = ".".join((section, *map(str, error.location)))
            message = self._several(title, kind, values, error.location) or str(error)
            raise self.document.error(place(error.location), f"{field}: {message}") from None
        except ValidationError as error:
            location, message = explain(error.errors(), kind)
            field = f"{section}.{location[0]}" if location else title
            problem = f"{field}: {self._several(title, kind, values, location) or message}"
            wrong = self.document.error(place(location), problem)
            raise (UnfitSection(wrong, problem) if is_of_class(error.errors()) else wrong) from None

    def _several(self, title: str, kind: type, values: Mapping[str, Any], location: Location) -> str | None:
        """What is wrong with a value of a section that all cells share, where it is a list and must not be one."""
        if title not in SECTIONS or not location:  # a value of an axis, or a setting
            return None
        is_list = isinstance(_at(values, location), tuple)
        if not is_list or (len(location) == 1 and takes_lists(kind, str(location[0]))):
            return None
        path = tuple(itertools.takewhile(lambda part: isinstance(part, str), location))
        return in_place_of_one(".".join(map(str, (title, *path))), _at(values, path))

    def _cell(self, base: Cell, picks: Picks) -> Cell:
        """The cell that has the picked values and is like `base` otherwise."""
        cell, places = self._picked(base, picks)
        try:
            check_cell(cell, self.inputs)
        except CellError as error:
            location = places.get(error.field, tuple(error.field.split(".")))
            advice = self.document.beside(_path_of(cell, error.field))
            raise self.document.error(location, f"{error.field}: {error}{advice}") from None
        return self._with_network(cell, places)

    def _pretraining(
        self, base: Cell, picks: Picks, anew: tuple[str, ...], changes: dict[str, Any], place: Location
    ) -> Pretraining:
        """The training that a cell begins with, which is like its own but for `changes`. place: where these are."""
        own = start_picks(self.document, changes, place, picks, self.extensions.companions)
        cell, places = self._picked(base, own, ("data",) if DATA_SET in changes else anew)
        try:
            check_training(cell, self.inputs)
        except CellError as error:
            advice = self.document.beside(_path_of(cell, error.field))
            message = f"{FROM}: {error.field}: {error}{advice}"
            raise self.document.error(places.get(error.field, place), message) from None
        cell = self._with_network(cell, places)
        return Pretraining(changes_text(changes), cell.data, cell.model, cell.training, changes.get(SEED))

    def _with_network(self, cell: Cell, places: Mapping[str, Location]) -> Cell:
        """A cell whose model's extensions carry what it takes to count."""
        try:
            return self.extensions.with_network(cell, self.inputs.facts(cell.data))
        except ExtensionValueError as error:
            field = f"model.{error.location[0]}"
            raise self.document.error(places.get(field, ("model", *error.location)), f"{field}: {error}") from None

    def _picked(self, base: Cell, picks: Picks, anew: tuple[str, ...] = ()) -> tuple[Cell, dict[str, Location]]:
        """The cell that has the picked values and is like `base` otherwise, unchecked; and where the file has these.

        What its training begins with is checked. anew: sections that have the picked values alone.
        """
        values: dict[str, dict[str, Any]] = {}
        places: dict[str, Location] = {}
        for pick in picks:
            section, name, option = [*pick.axis.split(".", 2), ""][:3]
            shared = {} if section in anew else self.data.get(section) or {}
            own = values.setdefault(section, dict(shared))
            own[name] = {**(own.get(name) or {}), option: pick.value} if option else pick.value
            places[pick.axis] = pick.location
        for section, error in self.unfit.items():
            if section not in values:
                raise error
        changed = {section: self._picked_section(section, values[section], places) for section in values}
        cell = replace(base, **changed)
        start = start_asked_for(self.document, picks)
        if start is not None:
            pretraining = self._pretraining(base, picks, anew, *start)
            cell = replace(cell, training=beginning_with(cell.training, pretraining))
        return replace(cell, model=cell.model.essential), places

    def _picked_section(self, section: str, values: dict[str, Any], places: dict[str, Location]) -> Any:
        """A section with values of axes in it; its errors are placed at these axes, by default at the last one."""
        last = next(axis for axis in reversed(places) if axis.startswith(f"{section}."))

        def place(location: Location) -> Location:
            if (section, *location) in self.document.places and len(location) > 1:
                return places.get(".".join((section, *map(str, location))), (section, *location))
            axes = (".".join((section, *map(str, location[:length]))) for length in (2, 1))
            return next((places[axis] for axis in axes if axis in places), places[last])

        try:
            return self._validated(SECTIONS[section], values, place, last)
        except UnfitSection as error:
            shared = self.unfit.get(section)
            raise (shared if shared is not None and shared.problem == error.problem else error) from None


def _without_pretraining(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a section but for a training to begin with, which other sections describe, too."""
    ours = kind is TrainingConfig
    return {name: value for name, value in values.items() if not (ours and name == "from" and isinstance(value, dict))}


def _path_of(cell: Cell, field: str) -> str | None:
    """Return the path that a field of a cell has; None where it has none."""
    guide = cell.sampling.guide
    paths = {
        "data.path": cell.data.path,
        "model.from": cell.model.source,
        "training.from": cell.start,
        "sampling.guide": guide.source if guide is not None else None,
        "evaluation.statistics": cell.evaluation.statistics,
    }
    return paths.get(field)


def _at(values: Any, location: Location) -> Any:
    """Return the value at a place in nested mappings and lists; None where there is none."""
    for part in location:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return None
    return values


@lru_cache(maxsize=4096)  # thousands of cells share few sections
def _parsed(kind: type, text: str) -> Any:
    # JSON, as only there strict validation takes a mapping for a dataclass and a list for a tuple
    return validator(kind).validate_json(text, strict=True)
