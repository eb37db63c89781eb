"""Sweep files: YAML -> a validated Sweep. Errors name file, line, key, value and remedy."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from edm.config import (
    PRESETS,
    DataConfig,
    EvaluationConfig,
    FieldError,
    GuideConfig,
    ModelConfig,
    SamplingConfig,
    TrainingConfig,
    require,
    require_positive,
    require_seed,
)
from edm.data.catalogue import facts, source_fingerprint
from edm.data.errors import DataError
from experiments.document import Document, Location, parse_document, read_document
from experiments.errors import UserError
from experiments.scores import FITTED, METRICS, meaningless


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
            for name in _fields(kind)
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


def load_sweep(path: str | Path, overrides: tuple[str, ...] = ()) -> Sweep:
    """Read a sweep file, with `overrides` such as "training.kimg=10"; raises UserError where anything is wrong."""
    document = read_document(Path(path))
    if not isinstance(document.data, dict):
        raise document.error((), "is not a sweep file: expected 'key: value' lines; start from sweeps/digits.yaml")
    for text in overrides:
        _override(document, text)
    return _Reader(document).sweep(Path(path).stem)


def _override(document: Document, text: str) -> None:
    """Apply one --set to the data, in place, before anything is validated."""
    key, equals, value = text.partition("=")
    section, _, name = key.strip().partition(".")
    if not equals or (section not in SECTIONS | SETTINGS) != (section == "seeds") or bool(name) == (section == "seeds"):
        raise UserError(
            f"--set {text}: expected section.field=value, such as training.kimg=10, or seeds=[0, 1]; "
            f"the sections are {', '.join(SECTIONS | SETTINGS)}"
        )
    given = parse_document(f"--set {text}", value or "null").data
    if section == "seeds":
        document.data["seeds"] = given
        document.places["seeds",] = f"--set {text}"
        return
    if not isinstance(document.data.get(section) or {}, dict):
        return  # the file itself is wrong there, which is said when it is read
    for axes in _mappings(document.data.get("grid")) + _mappings(document.data.get("zip")):
        if key.strip() in axes:
            raise UserError(f"--set {text}: {key} is an axis of the sweep; change its values in the file")
    document.data[section] = {**(document.data.get(section) or {}), name: given}
    document.places[section, name] = f"--set {text}"


def _mappings(value: Any) -> list[dict[str, Any]]:
    entries = value if isinstance(value, tuple) else (value,)
    return [entry for entry in entries if isinstance(entry, dict)]


class _Reader:
    """Validates one document from the top down; the first mistake is the answer."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.data: dict[str, Any] = document.data

    def sweep(self, default_name: str) -> Sweep:
        for key in self.data:
            self._known_key(key, TOP_LEVEL, (key,), key)
        base = Cell(seed=0, **{name: self._section(name, kind) for name, kind in SECTIONS.items()})
        grids, zipped = self._axes("grid"), self._axes("zip")
        axes = tuple(dict.fromkeys(itertools.chain(*grids, *zipped)))
        seeds = self._seeds()
        cells = [replace(cell, seed=seed) for cell in self._cells(base, grids, zipped) for seed in seeds]
        report = self._report(axes, cells)
        return Sweep(self._name(default_name), tuple(cells), axes, self._section("resources", ResourcesConfig), report)

    def _name(self, default: str) -> str:
        name = self.data.get("name", default)
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            raise self.document.error(
                ("name",), f"name: {name!r} cannot name a folder; use letters, digits, '_', '-' and '.'"
            )
        return name

    def _seeds(self) -> tuple[int, ...]:
        seeds = self.data.get("seeds", (0,))
        if not isinstance(seeds, tuple) or not seeds:
            raise self.document.error(
                ("seeds",), f"seeds: {_show(seeds)} is not a list of seeds; give for example [0, 1, 2]"
            )
        for i, seed in enumerate(seeds):
            if not isinstance(seed, int) or isinstance(seed, bool):
                raise self.document.error(
                    ("seeds", i), f"seeds: {_show(seed)} is not a whole number; give for example [0, 1, 2]"
                )
            try:
                require_seed(seed, "seeds")
            except FieldError as error:
                raise self.document.error(("seeds", i), f"seeds: {error}") from None
            if seed in seeds[:i]:
                raise self.document.error(("seeds", i), f"seeds: {seed} is there twice; drop one")
        return seeds

    # sections -------------------------------------------------------------------------------------

    def _section(self, name: str, kind: type) -> Any:
        values = self.data.get(name)
        if values is None:
            values = {}
        if not isinstance(values, dict):
            raise self.document.error((name,), f"{name}: {_show(values)} is not a mapping; write 'key: value' pairs")
        for key, value in values.items():
            self._known_field(kind, key, value, (name, key), f"{name}.{key}")
        return self._validated(kind, values, lambda loc: (name, *loc), lambda loc: f"{name}.{loc[0]}" if loc else name)

    def _validated(self, kind: type, values: Mapping[str, Any], place: Any, title: Any) -> Any:
        try:
            # as JSON, where strict validation still takes a mapping for a dataclass and a list for a tuple
            return _adapter(kind).validate_json(json.dumps(values, default=str), strict=True)
        except ValidationError as error:
            location, message = _explain(error.errors(), kind)
            raise self.document.error(place(location), f"{title(location)}: {message}") from None

    def _known_field(self, kind: type, key: str, value: Any, location: Location, title: str) -> None:
        self._known_key(key, _fields(kind), location, title)
        if (kind, key) in NESTED and isinstance(value, dict):
            for inner in value:
                self._known_key(inner, _fields(NESTED[kind, key]), location, f"{title}.{inner}")

    def _known_key(self, key: str, known: tuple[str, ...], location: Location, title: str) -> None:
        if key not in known:
            raise self.document.error(location, f"{title}: unknown key; {_suggest(key, known)}")

    # axes -----------------------------------------------------------------------------------------

    def _axes(self, key: str) -> list[Axes]:
        value = self.data.get(key)
        if value is None:
            return [{}]
        entries = value if isinstance(value, tuple) else (value,)
        if not entries:
            raise self.document.error((key,), f"{key}: is empty; give axes and their values, or drop it")
        for i, axes in enumerate(entries):
            location = (key, i) if isinstance(value, tuple) else (key,)
            if not isinstance(axes, dict):
                raise self.document.error(
                    location, f"{key}: {_show(axes)} is not a mapping of axes; write 'model.preset: [tiny, small]'"
                )
            for axis, values in axes.items():
                self._axis(axis, values, (*location, axis))
        return [dict(axes) for axes in entries]

    def _axis(self, axis: str, values: Any, location: Location) -> None:
        section, _, name = axis.partition(".")
        if section not in SECTIONS:
            known = tuple(f"{s}.{f}" for s, kind in SECTIONS.items() for f in _fields(kind))
            hint = (
                "seeds have a key of their own, 'seeds: [0, 1]'"
                if axis in ("seed", "seeds")
                else _suggest(axis, known, show=0)
            )
            raise self.document.error(location, f"{axis}: is not an axis; {hint or 'give a field as section.field'}")
        self._known_key(name, _fields(SECTIONS[section]), location, axis)
        if not isinstance(values, tuple):
            raise self.document.error(
                location, f"{axis}: {_show(values)} is not a list of values; write [{_show(values)}]"
            )
        if not values:
            raise self.document.error(location, f"{axis}: is an empty axis; give at least one value, or drop it")
        for i, value in enumerate(values):
            self._known_field(SECTIONS[section], name, value, (*location, i), axis)
            if any(_same(value, earlier) for earlier in values[:i]):
                raise self.document.error(
                    (*location, i), f"{axis}: {_show(value)} is there twice, which makes duplicate cells; drop one"
                )

    def _cells(self, base: Cell, grids: list[Axes], zipped: list[Axes]) -> list[Cell]:
        rows = list(self._zip_rows(zipped))
        cells: dict[Cell, Location] = {}
        excluded = self._excluded(dict(itertools.chain(*(axes.items() for axes in (*grids, *zipped)))))
        matches = [0] * len(excluded)
        for number, grid in enumerate(grids):
            location: Location = ("grid", number) if isinstance(self.data.get("grid"), tuple) else ("grid",)
            self._refuse_shared_axes(grid, zipped, location)
            for choice in itertools.product(*(_choices(axis, values, location) for axis, values in grid.items()), rows):
                picks = list(itertools.chain(*choice))
                cell = self._cell(base, picks)
                hits = [
                    i for i, rule in enumerate(excluded) if all(cell.value(a) in values for a, values in rule.items())
                ]
                for i in hits:
                    matches[i] += 1
                if hits:
                    continue
                if cell in cells:
                    shown = ", ".join(f"{axis}={_show(value)}" for axis, value, _ in picks)
                    raise self.document.error(
                        location, f"grid: duplicate cell {shown}; an earlier mapping has it already, drop one"
                    )
                cells[cell] = location
        for i, count in enumerate(matches):
            if not count:
                raise self.document.error(("exclude", i), "exclude: matches no cell; correct its values, or drop it")
        if not cells:
            raise self.document.error(("exclude",), "exclude: leaves no cell at all; drop a rule")
        return list(cells)

    def _refuse_shared_axes(self, grid: Axes, zipped: list[Axes], location: Location) -> None:
        for axis in itertools.chain(*zipped):
            if axis in grid:
                raise self.document.error((*location, axis), f"{axis}: is in grid and in zip; drop one")

    def _zip_rows(self, zipped: list[Axes]) -> Iterator[list[tuple[str, Any, Location]]]:
        """The picks of all zip groups: within a group axes move together, groups multiply."""
        groups = []
        for number, axes in enumerate(zipped):
            location: Location = ("zip", number) if isinstance(self.data.get("zip"), tuple) else ("zip",)
            if len({len(values) for values in axes.values()}) > 1:
                counts = ", ".join(f"{axis} has {len(values)}" for axis, values in axes.items())
                raise self.document.error(
                    location, f"zip: axes that move together need equally many values, but {counts}"
                )
            choices = [_choices(axis, values, location) for axis, values in axes.items()]
            groups.append([list(itertools.chain(*row)) for row in zip(*choices, strict=True)] or [[]])
        for row in itertools.product(*groups):
            yield list(itertools.chain(*row))

    def _cell(self, base: Cell, picks: list[tuple[str, Any, Location]]) -> Cell:
        sections: dict[str, dict[str, Any]] = {}
        places: dict[str, Location] = {}
        for axis, value, location in picks:
            section, name = axis.split(".")
            sections.setdefault(section, dict(self.data.get(section) or {}))[name] = value
            places[axis] = location
        changed = {}
        for section, values in sections.items():
            own = [axis for axis in places if axis.startswith(f"{section}.")]

            def place(loc: Location, section: str = section, own: list[str] = own) -> Location:
                axis = f"{section}.{loc[0]}" if loc else own[-1]
                return places.get(axis, places[own[-1]])

            def title(loc: Location, section: str = section, own: list[str] = own) -> str:
                return f"{section}.{loc[0]}" if loc else own[-1]

            changed[section] = self._validated(SECTIONS[section], values, place, title)
        cell = replace(base, **changed)
        self._fits_together(cell, places)
        return cell

    def _fits_together(self, cell: Cell, places: dict[str, Location]) -> None:
        """What no section can know by itself."""

        def refuse(axis: str, message: str) -> UserError:
            section, name = axis.split(".")
            return self.document.error(
                places.get(axis, (section, name)), f"{axis}: {_show(cell.value(axis))} {message}"
            )

        try:
            known = facts(cell.data)
            source_fingerprint(cell.data)  # a folder is read here, where what is wrong with it has a line
        except DataError as error:
            raise self.document.error(places.get("data.path", ("data", "path")), f"data.path: {error}") from None
        network = cell.model.network(known.channels, known.resolution, known.num_classes)
        halvings = len(network.depths)
        if known.resolution % 2**halvings:
            size = f"{known.resolution}x{known.resolution}"
            raise refuse(
                "model.preset",
                f"halves the image {halvings} times, which {cell.data.name}'s {size} does not allow; "
                f"{_fitting(known.resolution, 2**halvings)}",
            )
        self._scores_mean_something(cell, refuse)
        self._guidance_was_trained(cell, known.num_classes, refuse)
        self._other_sizes_fit(cell, halvings, refuse)
        self._average_was_kept(cell, refuse)

    def _scores_mean_something(self, cell: Cell, refuse: Callable[[str, str], UserError]) -> None:
        config = cell.evaluation
        if config.features == "classifier" and not facts(cell.data).num_classes:
            raise refuse("evaluation.features", f"needs classes, which {cell.data.name} does not have; use inception")
        if "accuracy" in config.metrics and not facts(cell.data).num_classes:
            raise refuse("evaluation.metrics", f"accuracy needs classes, which {cell.data.name} does not have")
        other_size = cell.sampling.resolution not in (None, facts(cell.data).resolution)
        if "memorisation" in config.metrics and other_size:
            raise refuse("evaluation.metrics", "memorisation compares pixels; leave sampling.resolution out")
        if config.statistics:
            if config.features == "classifier":
                raise refuse("evaluation.statistics", "cannot be of a classifier of this sweep's own; use inception")
            if not Path(config.statistics).is_file():
                raise refuse("evaluation.statistics", "is not a file here; give the path of an .npz with mu and sigma")
        withheld = meaningless(config, facts(cell.data).splits)
        reasons = [withheld[split] for split in config.splits if split in withheld]
        if reasons and set(config.metrics) <= set(FITTED):
            remedy = "add kid, or draw more"
            if config.features != "classifier":
                remedy = "add kid, use features: classifier, or draw more"
            raise refuse("evaluation.metrics", f"would mean nothing: {reasons[0]} features; {remedy}")

    def _guidance_was_trained(self, cell: Cell, num_classes: int, refuse: Callable[[str, str], UserError]) -> None:
        guidance, dropout = cell.sampling.guidance, cell.training.label_dropout
        if not num_classes:
            return
        if dropout == 0 and guidance != 1 and cell.sampling.guide is None:
            raise refuse(
                "sampling.guidance",
                "needs the unconditional branch, which training.label_dropout 0 never trains; set it to 0.1 or so",
            )
        if dropout == 1 and guidance != 0:
            raise refuse(
                "sampling.guidance",
                "needs the conditional branch, which training.label_dropout 1 never trains; use guidance 0",
            )

    def _other_sizes_fit(self, cell: Cell, halvings: int, refuse: Callable[[str, str], UserError]) -> None:
        if (cell.sampling.resolution or 0) % 2**halvings:
            raise refuse("sampling.resolution", f"is not a multiple of {2**halvings}, which {halvings} halvings need")
        guide = cell.sampling.guide
        if guide is None:
            return
        try:
            depths = guide.model(cell.model).network(1, 0, 0).depths
            guide.training(cell.training)
        except FieldError as error:
            raise refuse("sampling.guide", f"is no network: {error.field}: {error}") from None
        resolution, whole = facts(cell.data).resolution, 2 ** len(depths)
        if resolution % whole:
            remedy = _fitting(resolution, whole)
            raise refuse("sampling.guide", f"halves the image {len(depths)} times, too often for it; {remedy}")
        self._guide_is_another(cell, guide, refuse)

    def _guide_is_another(self, cell: Cell, guide: GuideConfig, refuse: Callable[[str, str], UserError]) -> None:
        training = guide.training(cell.training)
        if training.kimg > cell.training.kimg:
            raise refuse("sampling.guide", f"is trained for longer than its network's {cell.training.kimg:g} kimg")
        same = guide.model(cell.model).network(1, 0, 0) == cell.model.network(1, 0, 0)
        if same and training.num_steps == cell.training.num_steps and guide.ema == cell.sampling.ema:
            raise refuse("sampling.guide", "is the network itself, which cannot guide it; make it smaller or earlier")

    def _average_was_kept(self, cell: Cell, refuse: Callable[[str, str], UserError]) -> None:
        guide = cell.sampling.guide
        for axis, width in (("sampling.ema", cell.sampling.ema), ("sampling.guide", guide.ema if guide else None)):
            if width is not None and not cell.training.power_ema:
                raise refuse(axis, "needs averages that can be recombined; train with training.power_ema: [0.05, 0.10]")

    def _excluded(self, axes: Axes) -> list[dict[str, tuple[Any, ...]]]:
        value = self.data.get("exclude")
        if value is None:
            return []
        if not isinstance(value, tuple):
            raise self.document.error(
                ("exclude",), "exclude: is not a list; write '- {model.preset: big, model.attention: false}' lines"
            )
        rules = []
        for i, rule in enumerate(value):
            if not isinstance(rule, dict) or not rule:
                raise self.document.error(("exclude", i), f"exclude: {_show(rule)} is not a mapping of axes to values")
            for axis in rule:
                if axis not in axes:
                    raise self.document.error(
                        ("exclude", i, axis),
                        f"exclude: {axis} is not an axis of the grid; {_suggest(axis, tuple(axes))}",
                    )
            rules.append({axis: v if isinstance(v, tuple) else (v,) for axis, v in rule.items()})
        return rules

    # report ---------------------------------------------------------------------------------------

    def _report(self, axes: tuple[str, ...], cells: list[Cell]) -> ReportConfig:
        report = cast(ReportConfig, self._section("report", ReportConfig))
        for key in ("rows", "columns"):
            for i, axis in enumerate(getattr(report, key) or ()):
                if axis not in axes:
                    raise self.document.error(
                        ("report", key, i), f"report.{key}: {axis!r} is not an axis of the grid; {_suggest(axis, axes)}"
                    )
        for i, metric in enumerate(report.metrics or ()):
            if metric not in METRICS:
                raise self.document.error(
                    ("report", "metrics", i), f"report.metrics: {metric!r} is not a metric; {_suggest(metric, METRICS)}"
                )
        rows = tuple(axis for axis in axes if axis not in report.columns) if report.rows is None else report.rows
        self._one_cell_an_entry((*rows, *report.columns), axes, cells)
        return replace(report, rows=rows)

    def _one_cell_an_entry(self, shown: tuple[str, ...], axes: tuple[str, ...], cells: list[Cell]) -> None:
        entries: dict[tuple[Any, ...], Cell] = {}
        for cell in cells:
            entry = (cell.seed, *(cell.value(axis) for axis in shown))
            other = entries.setdefault(entry, cell)
            if other != cell:
                axis = next(a for a in axes if cell.value(a) != other.value(a))
                raise self.document.error(
                    ("report", "rows"),
                    f"report: leaves out {axis}, so that different cells share an entry; add it to rows or columns",
                )


# small things -------------------------------------------------------------------------------------


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _fields(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(kind))


def _choices(axis: str, values: tuple[Any, ...], location: Location) -> list[list[tuple[str, Any, Location]]]:
    return [[(axis, value, (*location, axis, i))] for i, value in enumerate(values)]


def _same(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _show(value: Any) -> str:
    """A value as a person would write it in YAML."""
    if isinstance(value, tuple):
        return f"[{', '.join(_show(v) for v in value)}]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float) and math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    return f"{{{value}}}" if isinstance(value, GuideConfig) else repr(value)


def _suggest(word: str, known: tuple[str, ...], show: int = 16) -> str:
    if not known:
        return "there are none: give axes under 'grid:'"
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    choices = f"choose from {', '.join(known)}" if len(known) <= show else ""
    return "; ".join(filter(None, [f"did you mean {close[0]!r}?" if close else "", choices]))


def _fitting(resolution: int, whole: int) -> str:
    """What to use instead of a network that halves an image of `resolution` too often."""
    presets = [name for name, preset in PRESETS.items() if resolution % 2 ** len(preset.depths) == 0]
    return f"use {' or '.join(presets)}" if presets else f"the image's side would have to be a multiple of {whole}"


EXPECTED = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "text", "tuple": "a list"}


def _explain(details: list[ErrorDetails], kind: type) -> tuple[Location, str]:
    """Where in the section a value is wrong, and one sentence on it."""
    detail = details[0]
    location: Location = tuple(part for part in detail["loc"] if not isinstance(part, str) or part in _fields(kind))
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, FieldError):
        return (location, f"{error.field}: {error}") if location else ((error.field,), str(error))
    value = detail["input"]
    nested = NESTED.get((kind, str(location[0]))) if location else None
    if nested is not None:
        return _explain_nested(detail, nested, location[:1])
    if detail["type"] == "too_long" or (location == ("guidance_interval",) and detail["type"] == "tuple_type"):
        return location[:1], f"{_show(value)} is not a range; give [low, high]"
    words = _words(details)
    if words:
        close = difflib.get_close_matches(str(value), words, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"use for example {words[0]!r}"
        return location, f"{_show(value)} is not one of {', '.join(words)}; {hint}"
    expected = next((text for key, text in EXPECTED.items() if detail["type"].startswith(key)), None)
    if expected is None:
        return location, f"{_show(value)} is not possible ({detail['msg']}); correct it"
    return location, f"{_show(value)} is not {expected}; give {expected}"


def _explain_nested(detail: ErrorDetails, kind: type, location: Location) -> tuple[Location, str]:
    """The same inside a field that is a mapping itself."""
    if len(detail["loc"]) == 1:
        return location, f"{_show(detail['input'])} is not a mapping; write for example {{{_fields(kind)[0]}: ...}}"
    inside: ErrorDetails = {**detail, "loc": detail["loc"][1:]}
    return location, f"{inside['loc'][0]}: {_explain([inside], kind)[1]}"


def _words(details: list[ErrorDetails]) -> tuple[str, ...]:
    """The words that would have been right, where the value may be one; a field may also take true and false."""
    same = [detail for detail in details if detail["loc"][:1] == details[0]["loc"][:1]]
    literals = [detail for detail in same if detail["type"] == "literal_error"]
    if not literals or isinstance(details[0]["input"], tuple | list):
        return ()
    texts = (detail.get("ctx", {})["expected"].replace(" or ", ", ").split(", ") for detail in literals)
    words = [part.strip("' ") for part in itertools.chain(*texts)]
    switches = ["true", "false"] if any(detail["type"].startswith("bool") for detail in same) else []
    return (*switches, *words)
