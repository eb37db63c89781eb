"""The parts of a sweep file that make cells: grid, zip, exclude and seeds."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from edm.config import FieldError, require_seed
from experiments.sweep.diagnostics import (
    not_a_list,
    require_field,
    require_key,
    show_value,
    suggest_axis,
)
from experiments.sweep.document import Document, Location
from experiments.sweep.names import changes_text
from experiments.sweep.remedies import as_list, for_number, for_single_seed, is_stray_number
from experiments.sweep.spec import SECTIONS, SETTINGS, Axes, Cell, by_attribute, field_names, nested_class
from experiments.wording import did_you_mean, shortened

NO_COMPANIONS: Mapping[str, tuple[str, ...]] = {}
SEEDS = "write for example [0, 1, 2]"


@dataclass(frozen=True)
class Pick:
    """One value of one axis, and where the file has it."""

    axis: str
    value: Any
    location: Location


Picks = tuple[Pick, ...]  # a value for every axis: what distinguishes one cell


@dataclass(frozen=True)
class AxisGroup:
    """A mapping of axes to values under grid or zip, and where the file has it."""

    axes: Axes
    location: Location

    def picks(self) -> list[list[Pick]]:
        """Return the picks of each axis."""
        return [
            [Pick(axis, value, (*self.location, axis, i)) for i, value in enumerate(values)]
            for axis, values in self.axes.items()
        ]


@dataclass(frozen=True)
class SweepAxes:
    """The axes of a sweep file. grids: their products are united; zips: each moves its axes together."""

    document: Document
    grids: list[AxisGroup]
    zips: list[AxisGroup]

    @classmethod
    def read(cls, document: Document, companions: Mapping[str, tuple[str, ...]] = NO_COMPANIONS) -> SweepAxes:
        """Read and check the axes of a sweep file; raises UserError.

        companions: for each section, the mappings of options that extensions add to it.
        """
        grids, zips = (_read_groups(document, key, companions) for key in ("grid", "zip"))
        axes = cls(document, grids, zips)
        axes._require_separate()
        axes._require_rows()
        return axes

    @property
    def names(self) -> tuple[str, ...]:
        """The name of every axis, in the order of the file, grid before zip."""
        return tuple(dict.fromkeys(itertools.chain(*(group.axes for group in (*self.grids, *self.zips)))))

    @property
    def places(self) -> Iterator[tuple[str, Location]]:
        """Yield every axis, and where the file has it."""
        for group in (*self.grids, *self.zips):
            yield from ((axis, (*group.location, axis)) for axis in group.axes)

    def cells(self, build: Callable[[Picks], Cell]) -> list[Cell]:
        """Return the cells of all combinations that are not excluded; `build` makes one. Raises UserError."""
        exclusions = Exclusions.read(self.document, self.names)
        cells: dict[Cell, None] = {}
        for grid, picks in self._combinations():
            cell = build(picks)
            if exclusions.match(cell):
                continue
            if cell in cells and not all(cell.has(pick.axis) for pick in picks):
                continue  # differs in an option that its value does not have
            if cell in cells:
                shown = ", ".join(f"{pick.axis}={show_value(pick.value)}" for pick in picks)
                raise self.document.error(
                    grid.location,
                    f"grid: duplicate cell {shown}; an earlier mapping already contains this cell; remove one of them",
                )
            cells[cell] = None
        exclusions.require_all_used()
        if not cells:
            raise self.document.error(("exclude",), "exclude: excludes every cell; remove a rule")
        return list(cells)

    def _combinations(self) -> Iterator[tuple[AxisGroup, Picks]]:
        """Every combination of values, with the grid that it comes from."""
        zipped = [list(zip(*group.picks(), strict=True)) or [()] for group in self.zips]
        for grid in self.grids:
            for product in itertools.product(itertools.product(*grid.picks()), *zipped):
                yield grid, tuple(itertools.chain(*product))

    def _require_separate(self) -> None:
        for grid, zipped in itertools.product(self.grids, self.zips):
            for axis in zipped.axes:
                if axis in grid.axes:
                    raise self.document.error((*grid.location, axis), f"{axis}: is in both grid and zip; remove one")

    def _require_rows(self) -> None:
        for group in self.zips:
            if len({len(values) for values in group.axes.values()}) > 1:
                counts = ", ".join(f"{axis} has {len(values)}" for axis, values in group.axes.items())
                raise self.document.error(
                    group.location,
                    f"zip: axes that move together need equally many values, but {counts}; add or remove some",
                )
            rows = list(zip(*group.axes.values(), strict=True))
            for later, earlier in ((i, j) for i in range(len(rows)) for j in range(i)):
                if all(map(_equal, rows[later], rows[earlier])):
                    raise self.document.error(
                        group.location,
                        f"zip: values {earlier + 1} and {later + 1} of its axes are the same, which would make "
                        "duplicate cells; remove one of each axis",
                    )


def _read_groups(document: Document, key: str, companions: Mapping[str, tuple[str, ...]]) -> list[AxisGroup]:
    """The mappings of axes under grid or zip, which may be one mapping or a list of them."""
    value = document.data.get(key)
    if value is None:
        return [AxisGroup({}, (key,))]
    if isinstance(value, tuple):
        groups = [AxisGroup(axes, (key, i)) for i, axes in enumerate(value)]
    else:
        groups = [AxisGroup(value, (key,))]
    if not groups:
        raise document.error((key,), f"{key}: is empty; add axes and their values, or remove it")
    for group in groups:
        if not isinstance(group.axes, dict):
            raise document.error(
                group.location,
                f"{key}: {show_value(group.axes)} is not a mapping of axes; write for example "
                "'model.preset: [tiny, small]'",
            )
        for axis in group.axes:
            _check_axis(document, axis, group, companions)
    return groups


def _check_axis(document: Document, axis: str, group: AxisGroup, companions: Mapping[str, tuple[str, ...]]) -> None:
    values, location = group.axes[axis], (*group.location, axis)
    section, _, name = axis.partition(".")
    if section not in SECTIONS or not name:
        raise document.error(location, f"{shortened(axis)}: {_why_not_an_axis(axis, section, values)}")
    is_option = name.partition(".")[0] in companions.get(section, ()) and "." in name
    if not is_option:
        require_key(document, name, field_names(SECTIONS[section]), location, axis)
    if not isinstance(values, tuple):
        raise document.error(location, f"{axis}: {not_a_list(values, _written(document, location, group))}")
    if not values:
        raise document.error(location, f"{axis}: has no values; add at least one, or remove the axis")
    for i, value in enumerate(values):
        if not is_option:
            require_field(document, SECTIONS[section], name, value, (*location, i), axis)
        if group.location[0] == "grid" and any(_equal(value, earlier) for earlier in values[:i]):
            raise document.error(
                (*location, i),
                f"{axis}: {show_value(value)} appears twice, which would make duplicate cells; remove one",
            )


def _why_not_an_axis(axis: str, section: str, values: Any) -> str:
    if axis in ("seed", "seeds"):
        return "is not written as an axis; write 'seeds: [0, 1]' at the top level of the file"
    if section in SETTINGS:
        return f"cannot be an axis; only fields of {', '.join(SECTIONS)} can"
    if axis in SECTIONS:
        names = values if isinstance(values, dict) else ()
        field = next((name for name in names if name in field_names(SECTIONS[axis])), field_names(SECTIONS[axis])[0])
        return f"is a section, not an axis; write each axis as section.field, such as '{axis}.{field}: [...]'"
    fields = tuple(f"{name}.{field}" for name, kind in SECTIONS.items() for field in field_names(kind))
    return f"is not an axis; {did_you_mean(axis, fields) or 'write section.field, such as model.preset'}"


def _written(document: Document, location: Location, group: AxisGroup) -> str | None:
    """An axis' value as the file has it, with what follows a comma in a mapping in braces: {training.lr: 1e-3,1e-4}."""
    written = document.written.get(location)
    following = itertools.dropwhile(lambda key: key != location[-1], group.axes)
    rest = itertools.takewhile(is_stray_number, itertools.islice(following, 1, None))
    return ", ".join((written, *rest)) if written else None


def as_in_cells(axis: str, value: Any) -> Any:
    """Return a value of an axis, as the file or as a cell has it, in a form that is equal for both.

    Lists are tuples; mappings, such as {preset: nano} for a guide, are text.
    """
    if isinstance(value, list | tuple):
        return tuple(as_in_cells(axis, entry) for entry in cast(Sequence[Any], value))
    if not isinstance(value, Mapping):
        return str(value) if dataclasses.is_dataclass(value) else value
    changes, nested = cast(Mapping[str, Any], value), nested_class(axis)
    try:
        return changes_text(changes) if nested is None else str(nested(**by_attribute(nested, changes)))
    except (TypeError, FieldError):  # no cell has it
        return changes_text(changes)


def _equal(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)  # true is not 1


class Exclusions:
    """The rules under exclude: values of axes, each rule leaving out the cells that have them all."""

    def __init__(self, document: Document, rules: list[dict[str, tuple[Any, ...]]]) -> None:
        self.document = document
        self._rules = rules
        self._matches = [0] * len(rules)

    @classmethod
    def read(cls, document: Document, axes: tuple[str, ...]) -> Exclusions:
        """Read and check the rules; raises UserError."""
        rules = document.data.get("exclude")
        if rules is None:
            return cls(document, [])
        if not isinstance(rules, tuple):
            raise document.error(
                ("exclude",),
                f"exclude: {show_value(rules)} is not a list; write "
                + (f"[{show_value(rules)}]" if isinstance(rules, dict) else "for example [{model.preset: big}]"),
            )
        for i, rule in enumerate(rules):
            if not isinstance(rule, dict) or not rule:
                raise document.error(
                    ("exclude", i),
                    f"exclude: {show_value(rule)} is not a mapping of axes to values; write for example "
                    "{model.preset: big}",
                )
            for axis in rule:
                if axis not in axes:
                    raise document.error(
                        ("exclude", i, axis),
                        f"exclude: {axis} is not an axis of this sweep; {suggest_axis(axis, axes)}",
                    )
        listed = [{axis: v if isinstance(v, tuple) else (v,) for axis, v in rule.items()} for rule in rules]
        return cls(
            document, [{axis: tuple(as_in_cells(axis, v) for v in vs) for axis, vs in r.items()} for r in listed]
        )

    def match(self, cell: Cell) -> bool:
        """Return whether a rule leaves the cell out."""
        hits = [
            i
            for i, rule in enumerate(self._rules)
            if all(as_in_cells(axis, cell.value(axis)) in values for axis, values in rule.items())
        ]
        for i in hits:
            self._matches[i] += 1
        return bool(hits)

    def require_all_used(self) -> None:
        """Raise UserError where a rule has matched no cell."""
        for i, count in enumerate(self._matches):
            if not count:
                raise self.document.error(("exclude", i), "exclude: matches no cell; correct its values, or remove it")


def read_seeds(document: Document) -> tuple[int, ...]:
    """Return the training seeds of a sweep file, by default 0 alone; raises UserError."""
    seeds = document.data.get("seeds", (0,))
    if not isinstance(seeds, tuple) or not seeds:
        raise document.error(("seeds",), f"seeds: {show_value(seeds)} is not a list of seeds; {_seeds_advice(seeds)}")
    for i, seed in enumerate(seeds):
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise document.error(
                ("seeds", i),
                f"seeds: {show_value(seed)} is not a whole number; {for_number(seed, whole=True) or SEEDS}",
            )
        try:
            require_seed(seed, "seeds")
        except FieldError as error:
            raise document.error(("seeds", i), str(error)) from None
        if seed in seeds[:i]:
            raise document.error(("seeds", i), f"seeds: {seed} appears twice; remove one")
    return seeds


def _seeds_advice(seeds: Any) -> str:
    if isinstance(seeds, int) and not isinstance(seeds, bool) and seeds >= 0:
        return for_single_seed(seeds)
    numbers = as_list(str(seeds))
    return f"write {numbers}" if re.fullmatch(r"\[\d+(, \d+)*\]", numbers) else SEEDS
