"""Sweep files: YAML becomes a validated Sweep. Errors name file, line, key, value and remedy."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from edm.config import FieldError, GuideConfig, require_seed
from edm.data.catalogue import facts, source_fingerprint
from edm.data.errors import DataError
from experiments.errors import UserError
from experiments.sweep.diagnostics import explain, fitting_presets, show_value, suggest
from experiments.sweep.document import Document, Location, parse_document, read_document
from experiments.sweep.metrics import FITTED, METRICS, meaningless
from experiments.sweep.spec import (
    NESTED,
    SECTIONS,
    SETTINGS,
    TOP_LEVEL,
    Axes,
    Cell,
    ReportConfig,
    ResourcesConfig,
    Sweep,
    field_names,
)


def load_sweep(path: str | Path, overrides: tuple[str, ...] = ()) -> Sweep:
    """Read a sweep file, with `overrides` such as "training.kimg=10"; raises UserError where anything is wrong."""
    document = read_document(Path(path))
    if not isinstance(document.data, dict):
        raise document.error((), "is not a sweep file: expected 'key: value' lines; start from sweeps/digits.yaml")
    for text in overrides:
        _override(document, text)
    return Reader(document).sweep(Path(path).stem)


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


class Reader:
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
                ("seeds",), f"seeds: {show_value(seeds)} is not a list of seeds; give for example [0, 1, 2]"
            )
        for i, seed in enumerate(seeds):
            if not isinstance(seed, int) or isinstance(seed, bool):
                raise self.document.error(
                    ("seeds", i), f"seeds: {show_value(seed)} is not a whole number; give for example [0, 1, 2]"
                )
            try:
                require_seed(seed, "seeds")
            except FieldError as error:
                raise self.document.error(("seeds", i), str(error)) from None
            if seed in seeds[:i]:
                raise self.document.error(("seeds", i), f"seeds: {seed} is there twice; drop one")
        return seeds

    # sections -------------------------------------------------------------------------------------

    def _section(self, name: str, kind: type) -> Any:
        values = self.data.get(name)
        if values is None:
            values = {}
        if not isinstance(values, dict):
            raise self.document.error(
                (name,), f"{name}: {show_value(values)} is not a mapping; write 'key: value' pairs"
            )
        for key, value in values.items():
            self._known_field(kind, key, value, (name, key), f"{name}.{key}")
        return self._validated(kind, values, lambda loc: (name, *loc), lambda loc: f"{name}.{loc[0]}" if loc else name)

    def _validated(self, kind: type, values: Mapping[str, Any], place: Any, title: Any) -> Any:
        try:
            # as JSON, where strict validation still takes a mapping for a dataclass and a list for a tuple
            return _adapter(kind).validate_json(json.dumps(values, default=str), strict=True)
        except ValidationError as error:
            location, message = explain(error.errors(), kind)
            raise self.document.error(place(location), f"{title(location)}: {message}") from None

    def _known_field(self, kind: type, key: str, value: Any, location: Location, title: str) -> None:
        self._known_key(key, field_names(kind), location, title)
        if (kind, key) in NESTED and isinstance(value, dict):
            for inner in value:
                self._known_key(inner, field_names(NESTED[kind, key]), location, f"{title}.{inner}")

    def _known_key(self, key: str, known: tuple[str, ...], location: Location, title: str) -> None:
        if key not in known:
            raise self.document.error(location, f"{title}: unknown key; {suggest(key, known)}")

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
                    location, f"{key}: {show_value(axes)} is not a mapping of axes; write 'model.preset: [tiny, small]'"
                )
            for axis, values in axes.items():
                self._axis(axis, values, (*location, axis))
        return [dict(axes) for axes in entries]

    def _axis(self, axis: str, values: Any, location: Location) -> None:
        section, _, name = axis.partition(".")
        if section not in SECTIONS:
            known = tuple(f"{s}.{f}" for s, kind in SECTIONS.items() for f in field_names(kind))
            hint = (
                "seeds have a key of their own, 'seeds: [0, 1]'"
                if axis in ("seed", "seeds")
                else suggest(axis, known, show=0)
            )
            raise self.document.error(location, f"{axis}: is not an axis; {hint or 'give a field as section.field'}")
        self._known_key(name, field_names(SECTIONS[section]), location, axis)
        if not isinstance(values, tuple):
            raise self.document.error(
                location, f"{axis}: {show_value(values)} is not a list of values; write [{show_value(values)}]"
            )
        if not values:
            raise self.document.error(location, f"{axis}: is an empty axis; give at least one value, or drop it")
        for i, value in enumerate(values):
            self._known_field(SECTIONS[section], name, value, (*location, i), axis)
            if any(_same(value, earlier) for earlier in values[:i]):
                raise self.document.error(
                    (*location, i), f"{axis}: {show_value(value)} is there twice, which makes duplicate cells; drop one"
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
                    shown = ", ".join(f"{axis}={show_value(value)}" for axis, value, _ in picks)
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
                places.get(axis, (section, name)), f"{axis}: {show_value(cell.value(axis))} {message}"
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
                f"{fitting_presets(known.resolution, 2**halvings)}",
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
            raise refuse("sampling.guide", f"is no network: {error}") from None
        resolution, whole = facts(cell.data).resolution, 2 ** len(depths)
        if resolution % whole:
            remedy = fitting_presets(resolution, whole)
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
                raise self.document.error(
                    ("exclude", i), f"exclude: {show_value(rule)} is not a mapping of axes to values"
                )
            for axis in rule:
                if axis not in axes:
                    raise self.document.error(
                        ("exclude", i, axis),
                        f"exclude: {axis} is not an axis of the grid; {suggest(axis, tuple(axes))}",
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
                        ("report", key, i), f"report.{key}: {axis!r} is not an axis of the grid; {suggest(axis, axes)}"
                    )
        for i, metric in enumerate(report.metrics or ()):
            if metric not in METRICS:
                raise self.document.error(
                    ("report", "metrics", i), f"report.metrics: {metric!r} is not a metric; {suggest(metric, METRICS)}"
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


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _choices(axis: str, values: tuple[Any, ...], location: Location) -> list[list[tuple[str, Any, Location]]]:
    return [[(axis, value, (*location, axis, i))] for i, value in enumerate(values)]


def _same(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)
