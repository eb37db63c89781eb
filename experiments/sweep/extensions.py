"""The extensions of a sweep file: the values that they add to fields, and these values' options."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields, replace
from functools import lru_cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from pydantic_core import ValidationError

from edm import facts
from edm.config import Extension, NetworkConfig, Options
from edm.data.catalogue import DatasetFacts
from edm.extend import PLAIN_OPTIONS
from edm.extension import is_option_value
from edm.registry import Kind
from experiments.extension_files import ExtensionError, ExtensionFile, read_extensions
from experiments.extensions import LoadedExtension, identified, why_failed
from experiments.sweep.diagnostics import explain, not_a_choice, show_value, suggest
from experiments.sweep.document import Document, Location
from experiments.sweep.spec import OPTIONS, SECTIONS, Cell, field_names, split_axis
from reports.metrics import METRICS, MetricInfo

FIELDS: dict[Kind, tuple[str, str]] = {  # section and field
    "sampler": ("sampling", "sampler"),
    "schedule": ("sampling", "schedule"),
    "guidance_rule": ("sampling", "guidance_rule"),
    "network": ("model", "architecture"),
    "norm": ("model", "norm"),
    "attention": ("model", "attention_block"),
    "metric": ("evaluation", "metrics"),
    "features": ("evaluation", "features"),
    "dataset": ("data", "name"),
    "weighting": ("training", "weighting"),
    "noise_distribution": ("training", "noise_distribution"),
    "loss": ("training", "loss"),
    "optimizer": ("training", "optimizer"),
    "lr_schedule": ("training", "lr_schedule"),
    "augmentation": ("training", "augmentation"),
}
OWN = MetricInfo("", group="own")
FIELDS_OF: dict[str, tuple[tuple[Kind, str], ...]] = {
    section: tuple((kind, field) for kind, (own, field) in FIELDS.items() if own == section)
    for section in dict.fromkeys(section for section, _ in FIELDS.values())
}
COUNTED = ("architecture", "norm", "attention_block")  # fields of a model that decide how large it is
NOTHING = 'registers nothing; put a decorator such as @extend.sampler("my_name") above a function'
NOTHING_IN_PACKAGE = "registers nothing; import in it the files that do, as in from . import my_file"
OPTIONS_OF_METRICS = "write for example {my_metric: {my_option: 3}}"
EXAMPLE = "write for example [ideas.py]"
PLAIN_TYPES = (bool, int, float, str, NoneType, tuple, UnionType)  # that an option may be declared as


class ExtensionValueError(ValueError):
    """A value or an option that an extension does not have. location: in its section."""

    def __init__(self, location: Location, message: str) -> None:
        super().__init__(message)
        self.location = location


class SweepExtensions:
    """What the extensions of a sweep file register. files: as they were read, those that were imported."""

    def __init__(self, files: tuple[ExtensionFile, ...] = (), loaded: Iterable[LoadedExtension] = ()) -> None:
        self.files = files
        self._loaded: dict[tuple[Kind, str], LoadedExtension] = {
            (each.registration.kind, each.registration.name): each for each in loaded
        }
        self._reached: set[tuple[str, str]] = set()  # companion fields and the options in them that a cell uses
        self._used: dict[str, set[str]] = {}  # companion fields and the options that values of cells have

    @classmethod
    def read(cls, document: Document, folder: Path) -> SweepExtensions:
        """Read and load the extensions of a sweep file in `folder`; raises UserError."""
        entries = document.data.get("extensions")
        if entries is None:
            return cls()
        if not isinstance(entries, tuple) or not all(isinstance(entry, str) for entry in entries):
            raise document.error(
                ("extensions",), f"extensions: {show_value(entries)} is not a list of files; {EXAMPLE}"
            )
        location: Location = ("extensions",)
        try:
            files: list[ExtensionFile] = []
            for i, entry in enumerate(entries):
                location = ("extensions", i)
                for file in read_extensions(entry, folder):
                    files.append(_distinct(file, files))
            location = ("extensions",)
            loaded, imported = identified(files)
            if files and not loaded:
                raise ExtensionError(f"{files[0].path} {NOTHING_IN_PACKAGE if len(files) > 1 else NOTHING}")
            _require_free_names(loaded)
            for each in loaded:
                _require_sound_options(each)
        except ExtensionError as error:
            raise document.error(location, f"extensions: {error}") from None
        return cls(imported, loaded)

    @property
    def companions(self) -> dict[str, tuple[str, ...]]:
        """For each section, the names of the mappings that hold options of its fields, such as sampler_options."""
        found: dict[str, list[str]] = {}
        for kind, _ in self._loaded:
            section, field = FIELDS[kind]
            names = found.setdefault(section, [])
            if field + OPTIONS not in names:
                names.append(field + OPTIONS)
        return {section: tuple(names) for section, names in found.items()}

    def misplaced(self, section: str, key: str) -> str | None:
        """Return what to write where a section has an option as if it were a field; None for anything else."""
        for (kind, name), loaded in self._loaded.items():
            options = loaded.registration.options
            if FIELDS[kind][0] == section and options is not None and key in field_names(options):
                given = f"{name}: {{{key}: ...}}" if kind == "metric" else f"{key}: ..."
                return f"unknown field; it is an option of {name!r}: write {FIELDS[kind][1]}{OPTIONS}: {{{given}}}"
        return None

    def resolved(self, section: str, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values of a section with an Extension, as JSON, for every name that an extension registers.

        Options of fields whose value has none are left out. Raises ExtensionValueError.
        """
        values = dict(values)
        for kind, field in FIELDS_OF.get(section, ()):
            if not self._loaded and not isinstance(values.get(field), dict):
                continue
            options, value = values.pop(field + OPTIONS, None), values.get(field)
            if isinstance(value, tuple):
                values[field] = self._entries(kind, section, field, value, options or {})
                continue
            if isinstance(value, dict):
                raise ExtensionValueError((field,), f"{show_value(value)} is not a name; write {field}: NAME")
            loaded = self._loaded.get((kind, value)) if isinstance(value, str) else None
            if loaded is not None:
                resolved = self._options(loaded, section, field + OPTIONS, options or {})
                values[field] = asdict(replace(loaded.value, options=resolved))
            elif isinstance(value, str):
                self._require_known(kind, field, value)
        return values

    def _entries(self, kind: Kind, section: str, field: str, values: tuple[Any, ...], options: Any) -> list[Any]:
        """Return a list's entries as JSON: an Extension for each name that an extension registers.

        options: a mapping of options for each name.
        """
        companion, entries = field + OPTIONS, []
        if not isinstance(options, dict):
            raise ExtensionValueError((companion,), f"{show_value(options)} is not a mapping; {OPTIONS_OF_METRICS}")
        for value in values:
            loaded = self._loaded.get((kind, value)) if isinstance(value, str) else None
            if loaded is None:
                if isinstance(value, str):
                    self._require_known(kind, field, value)
                entries.append(value)
                continue
            if value in options:
                self._reached.add((f"{section}.{companion}", value))
            if loaded.registration.options is not None:
                self._used.setdefault(f"{section}.{companion}", set()).add(value)
            own = self._options_of_entry(loaded, (companion, value), options.get(value) or {})
            entries.append(asdict(replace(loaded.value, options=own)))
        return entries

    def _options_of_entry(self, loaded: LoadedExtension, location: Location, given: Any) -> Options:
        kind = loaded.registration.options
        names = field_names(kind) if kind is not None else ()
        if not isinstance(given, dict):
            raise ExtensionValueError(location, f"{show_value(given)} is not a mapping; {OPTIONS_OF_METRICS}")
        for name in given:
            if kind is None:
                raise ExtensionValueError((*location, name), f"{loaded.registration.name} has no options; remove it")
            if name not in names:
                raise ExtensionValueError((*location, name), f"unknown option; {suggest(name, names)}")
        return _checked_options(kind, given, location) if kind is not None else ()

    def _require_known(self, kind: Kind, field: str, value: str) -> None:
        own, names = own_names(kind), tuple(name for each, name in self._loaded if each == kind)
        if names and value not in own:
            raise ExtensionValueError((field,), not_a_choice(value, (*own, *names)))

    def _options(self, loaded: LoadedExtension, section: str, companion: str, given: Any) -> Options:
        """Return all options of a value, those that are not given by their defaults."""
        kind = loaded.registration.options
        names = field_names(kind) if kind is not None else ()
        if not isinstance(given, dict):
            example = f"{{{names[0]}: ...}}" if names else "{}"
            raise ExtensionValueError(
                (companion,), f"{show_value(given)} is not a mapping; write for example {example}"
            )
        own = {name: value for name, value in given.items() if name in names}
        field = f"{section}.{companion}"
        self._reached |= {(field, name) for name in own}
        self._used.setdefault(field, set()).update(names)
        return _checked_options(kind, own, (companion,)) if kind is not None else ()

    def with_facts(self, config: Any) -> Any:
        """Return a configuration whose extensions carry what plans need to know of them."""
        if not isinstance(config, tuple(SECTIONS.values())) or not self._loaded:
            return config
        try:
            return _with_facts(config)
        except (Exception, SystemExit) as error:
            field = next(f.name for f in fields(config) if isinstance(getattr(config, f.name), Extension))
            raise _failed(field, getattr(config, field), error) from None

    def with_network(self, cell: Cell, data: DatasetFacts) -> Cell:
        """Return a cell whose model's extensions carry what it takes to count. Raises ExtensionValueError."""
        own = {field: value for field in COUNTED if isinstance(value := getattr(cell.model, field), Extension)}
        if not own:
            return cell
        images, guide = (data.channels, data.resolution, data.num_classes), cell.sampling.guide
        models = (cell.model, *([guide.model(cell.model)] if guide is not None and guide.source is None else []))
        networks = tuple(model.network(*images) for model in models)
        for field, extension in own.items():
            try:
                own[field] = replace(extension, facts=_counts(field, extension, images, networks))
            except (Exception, SystemExit) as error:
                raise _failed(field, extension, error) from None
        return replace(cell, model=replace(cell.model, **own))

    def require_reached(self, document: Document, axes: Iterable[tuple[str, Location]]) -> None:
        """Raise UserError for the first option that no cell uses. axes: with where the file has them."""
        given: list[tuple[str, str, Location]] = []
        for section, companions in self.companions.items():
            for companion in companions:
                options = (document.data.get(section) or {}).get(companion) or {}
                given += [(f"{section}.{companion}", name, (section, companion, name)) for name in options]
        for axis, location in axes:
            section, field, option = split_axis(axis)
            if option:
                given.append((f"{section}.{field}{OPTIONS}", option, location))
        for field, name, location in given:
            if (field, name) not in self._reached:
                raise document.error(location, f"{field}.{name}: {self._why_unreached(field, name)}")

    def _why_unreached(self, field: str, name: str) -> str:
        used = tuple(sorted(self._used.get(field, ())))
        if name.partition(".")[0] in used:  # of a list's entry, such as a metric
            return "cannot be an axis; register the function under two names"
        if used:
            return f"unknown option; {suggest(name, used)}"
        value = field.removesuffix(OPTIONS)
        if field in self._used:
            return f"the values of {value} in this sweep have no options; remove it"
        return f"no cell has a value of {value} with options; choose one that an extension registers, or remove it"


def _failed(field: str, extension: Extension, error: BaseException) -> ExtensionValueError:
    return ExtensionValueError((field,), f"{extension}: its code failed ({why_failed(extension, error)}); correct it")


def own_names(kind: Kind) -> tuple[str, ...]:
    """Return the names that a field has without extensions."""
    section, field = FIELDS[kind]
    hint = get_type_hints(SECTIONS[section])[field]
    return tuple(_words(hint))


def _words(hint: Any) -> Iterator[str]:
    for part in get_args(hint):
        if isinstance(part, str):
            yield part
        else:
            yield from _words(part)


def _distinct(file: ExtensionFile, others: Iterable[ExtensionFile]) -> ExtensionFile:
    if any(file.module == other.module for other in others):
        raise ExtensionError(f"{file.module!r} is listed twice, or two files have that name; remove or rename one")
    return file


def _require_free_names(loaded: Iterable[LoadedExtension]) -> None:
    seen: dict[tuple[Kind, str], LoadedExtension] = {}
    for each in loaded:
        kind, name = each.registration.kind, each.registration.name
        if name in own_names(kind) or (kind == "metric" and METRICS.get(f"{name}_test", OWN).group != "own"):
            raise ExtensionError(
                f"{each.place}: {name!r} is already a {kind} of edm-sweep; register yours under another name"
            )
        other = seen.setdefault((kind, name), each)
        if other is not each:
            raise ExtensionError(f"{each.place}: {name!r} is already registered in {other.place}; rename one of them")


def _checked_options(kind: type, given: dict[str, Any], location: Location) -> Options:
    """Return all options, those that are not given by their defaults. location: of the given ones, in their section."""
    try:
        return _parsed_options(kind, json.dumps(given, default=str))
    except ValidationError as error:
        within, message = explain(error.errors(), kind)
        raise ExtensionValueError((*location, *within), message) from None
    except TypeError as error:
        raise ExtensionValueError(location, f"{error}; declare it otherwise: {PLAIN_OPTIONS}") from None


def _require_sound_options(loaded: LoadedExtension) -> None:
    """Raise ExtensionError unless defaults have the types that their options declare."""
    kind, what = loaded.registration.options, f"{loaded.place}: the options of {loaded.registration.name!r}"
    if kind is None:
        return
    for field in fields(kind):
        if (name := _unusable_type(kind, field.name)) is not None:
            raise ExtensionError(f"{what}: {field.name} is declared as {name}; {PLAIN_OPTIONS}")
    try:
        given = {field.name: getattr(kind(), field.name) for field in fields(kind)}
        _parsed_options(kind, json.dumps(given))
    except ValidationError as error:
        location, message = explain(error.errors(), kind)
        name = f"{location[0]}: " if location else ""
        raise ExtensionError(f"{what} by default: {name}{message}") from None
    except Exception:  # of a type that pydantic does not know, or that the value of an option does not have
        raise ExtensionError(f"{what} have a type that a sweep file cannot give; {PLAIN_OPTIONS}") from None


def _unusable_type(kind: type, name: str) -> str | None:
    """Return the name of an option's declared type if it can hold no option, such as list; else None."""
    try:
        hint = get_type_hints(kind)[name]
    except NameError:  # of a type that is not imported, say: what uses it reports it
        return None
    declared = get_origin(hint) or hint
    usable = not isinstance(declared, type) or issubclass(declared, PLAIN_TYPES)
    return None if usable else declared.__name__


@lru_cache(maxsize=4096)
def _with_facts(config: Any) -> Any:
    return facts.with_facts(config)


@lru_cache(maxsize=256)
def _counts(
    field: str, extension: Extension, images: tuple[int, int, int], networks: tuple[NetworkConfig, ...]
) -> Options:
    """Return what it takes to count a network that an extension defines, or that has its norms or attention."""
    if field == "norm":
        return facts.norm_facts(extension, networks)
    if field == "attention_block":
        return facts.attention_facts(extension, networks)
    return facts.network_facts(extension, *images)


@lru_cache(maxsize=4096)
def _parsed_options(kind: type, text: str) -> Options:
    from pydantic import TypeAdapter  # somebody's own class may have any type; its import takes a while

    parsed = TypeAdapter(kind).validate_json(text, strict=True)
    values = tuple((field.name, getattr(parsed, field.name)) for field in fields(kind))
    for name, value in values:
        if not is_option_value(value):
            raise TypeError(f"{name} is {type(value).__name__}")
    return values
