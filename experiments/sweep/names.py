"""Readable names of cells and tasks, and which of them a person's text matches."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, cast

from experiments.sweep.spec import SECTIONS, Cell, Sweep, split_axis
from experiments.wording import did_you_mean, resembling

MODEL, START = "model.from", "training.from"
IMAGES = ("data.name", "data.path")  # whose values say by themselves what they are


class CellNames:
    """Names the cells of a sweep by their axis values, such as tiny/no-attention/guidance=2.5/heun.

    What an axis adds to a name is worked out once for all cells that share the section it is in.
    """

    def __init__(self, sweep: Sweep, cells: Iterable[Cell]) -> None:
        self._sweep = sweep
        self._axes = [(split_axis(axis)[0], axis) for axis in sweep.axes]
        self._has_several_seeds = len({cell.seed for cell in cells}) > 1
        # by identity; with the cell or the section itself, so that no other one gets its id
        self._whole: dict[int, tuple[Cell, str]] = {}
        self._parts: dict[tuple[str, int, bool, bool], tuple[object, str | None]] = {}

    def of(self, cell: Cell) -> str:
        """Return the value of every axis, and the seed where there are several."""
        if id(cell) not in self._whole:
            self._whole[id(cell)] = cell, self.within(SECTIONS, cell)
        return self._whole[id(cell)][1]

    def within(self, sections: Container[str], cell: Cell) -> str:
        """Return the value of every axis in these sections, and the seed where there are several."""
        parts = [self._part(section, axis, cell) for section, axis in self._axes if section in sections]
        if self._has_several_seeds:
            parts.append(_text("seed", cell.seed))
        return "/".join([part for part in parts if part is not None]) or self._sweep.name

    def _part(self, section: str, axis: str, cell: Cell) -> str | None:
        """What an axis adds to a name; None where it is an option that the cell's value does not have."""
        config = getattr(cell, section)
        by_files = cell.model.source is None, cell.network_file is None  # which decide what fields a cell has
        key = axis, id(config), *by_files
        known = self._parts.get(key)
        if known is None:
            part = _text(self._called(axis), cell.value(axis)) if cell.has(axis) else None
            known = self._parts[key] = config, part
        return known[1]

    def _called(self, axis: str) -> str:
        """The field of an axis; training.from in full beside model.from, of which a cell has one or the other."""
        field = axis.split(".")[-1]
        return axis if axis == START and MODEL in self._sweep.axes else field


def changes_text(changes: Mapping[str, Any]) -> str:
    """Return what differs in a training, by dotted fields, as one word, such as celeba,kimg=5000."""
    is_folder = "data.path" in changes
    shown = ((field, value) for field, value in changes.items() if not (is_folder and field == "data.name"))
    return ",".join(_plain(value) if field in IMAGES else f"{_short(field)}={_plain(value)}" for field, value in shown)


def _short(field: str) -> str:
    return str(field).partition(".")[2] or str(field)


def _text(field: str, value: Any) -> str:
    """Text is shown alone, true and false as the field's name, any other value after the field's name."""
    if isinstance(value, str) and field != START:
        return value
    if isinstance(value, bool):
        return field if value else f"no-{field}"
    return f"{field}={_plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, tuple):
        return ",".join(_plain(entry) for entry in value)
    if isinstance(value, Mapping):
        return f"({changes_text(cast(Mapping[str, Any], value))})"
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)  # or two cells would have one name


def matching(text: str, names: Iterable[str]) -> list[str]:
    """Return the names that `text` matches, by the first of these rules that matches any; none where it is empty.

    1. The text is the whole name. 2. The parts of the text, between slashes, are parts of the name in the same order; *
    and ? are wildcards. 3. The name begins with the text. 4. Parts of the name begin with the parts of the text, in the
    same order.
    """
    if not text.strip():  # such as a variable of a script that was not set: everything would begin with it
        return []
    candidates, wanted = list(names), text.split("/")
    rules: tuple[Callable[[str], bool], ...] = (
        lambda name: name == text,
        lambda name: _in_order(wanted, name.split("/"), fnmatchcase),
        lambda name: name.startswith(text),
        lambda name: _in_order(wanted, name.split("/"), str.startswith),
    )
    return next((found for rule in rules if (found := [name for name in candidates if rule(name)])), [])


def meant_cell(text: str, names: Sequence[str]) -> str:
    """Return a question with what a text that matches no cell may stand for; empty where nothing resembles it.

    A part of a name is answered by a part: nano/huen by nano/heun.
    """
    parts = list(dict.fromkeys(part for name in names for part in name.split("/")))
    mended = "/".join(next(iter(resembling(part, parts)), part) for part in text.split("/"))
    if mended != text and matching(mended, names):
        return f"did you mean {mended!r}?"
    return did_you_mean(text, names)


def _in_order(wanted: list[str], parts: list[str], matches: Callable[[str, str], bool]) -> bool:
    """Whether every wanted part is matched by a part, in the same order; parts in between may be skipped."""
    remaining = iter(parts)
    return all(any(matches(part, each) for part in remaining) for each in wanted)
