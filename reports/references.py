"""Published numbers to show beside a sweep's own, with what differs between the two configurations."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml

from reports.entries import TableEntry
from reports.metrics import METRICS
from reports.rows import CellRow
from reports.values import show_value

FOLDER = Path(__file__).parent / "published"
DECIMALS = 2  # of a published number: papers print two
OF_TRAININGS = ("model.", "training.")  # fields that say nothing of a network that was trained elsewhere
MODEL_FROM, TRAINING_FROM = "model.from", "training.from"
EXACT = ("parameters",)  # fields that are shown with all digits


@dataclass(frozen=True)
class PublishedEntry:
    """The scores of one published configuration.

    cells: the values that a cell of ours has; of several mappings, one has to fit. config: all others.
    """

    cells: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any]
    scores: Mapping[str, float]

    def matches(self, cell: CellRow) -> bool:
        """Return whether a cell of a sweep is what this entry stands beside."""
        return any(_fit(cells, cell) for cells in self.cells)

    def differences(self, cell: CellRow) -> str:
        """Return in which fields the published configuration differs from a cell; empty if in none."""
        unknown = OF_TRAININGS if _is_pretrained(cell) else ()
        known = {name: value for name, value in self.config.items() if not name.startswith(unknown)}
        compared = {name: value for name, value in known.items() if cell.get(name) is not None}
        parts = [
            f"{name} {_show(name, value)} (here {_show(name, cell[name])})"
            for name, value in compared.items()
            if cell[name] != value
        ]
        return ", ".join(parts)


@dataclass(frozen=True)
class PublishedStudy:
    """A publication. starred: metrics with a reservation of their own, which `star` explains."""

    name: str
    source: str
    notes: tuple[str, ...]
    entries: tuple[PublishedEntry, ...]
    starred: tuple[str, ...] = ()
    star: str = ""

    def entry_for(self, cell: CellRow) -> PublishedEntry | None:
        """Return the first entry that stands beside a cell."""
        return next((entry for entry in self.entries if entry.matches(cell)), None)


@cache
def published_study(name: str) -> PublishedStudy:
    """Return a publication whose numbers come with this package."""
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    shared: dict[str, Any] = content["shared"]
    entries = tuple(
        PublishedEntry(_as_tuple(entry["cells"]), {**shared, **entry.get("config", {})}, entry["scores"])
        for entry in content["entries"]
    )
    starred = tuple(content.get("starred", ()))
    return PublishedStudy(name, content["source"], tuple(content["notes"]), entries, starred, content.get("star", ""))


def _as_tuple(cells: Mapping[str, Any] | list[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple(cells) if isinstance(cells, list) else (cells,)


@dataclass
class Footnotes:
    """The footnotes of a table, each under a letter in the order in which they came up."""

    texts: list[str] = field(default_factory=list[str])

    def mark(self, text: str) -> str:
        """Return the letter of a footnote, a new one if it has not come up before."""
        if text not in self.texts:
            self.texts.append(text)
        return _letters(self.texts.index(text))

    def lines(self) -> tuple[str, ...]:
        """Return all footnotes with their letters."""
        return tuple(f"[{_letters(i)}] {text}" for i, text in enumerate(self.texts))


def published_entries(
    study: PublishedStudy, column: Sequence[Sequence[CellRow]], metric: str, footnotes: Footnotes
) -> list[TableEntry]:
    """Return the published scores of a metric beside the cells of every row. footnotes: collects what differs."""
    return [_entry(study, cells, metric, footnotes) for cells in column]


def _entry(study: PublishedStudy, cells: Sequence[CellRow], metric: str, footnotes: Footnotes) -> TableEntry:
    found = study.entry_for(cells[0]) if cells else None
    look = TableEntry(None, scale=METRICS[metric].scale, unit=METRICS[metric].unit, decimals=DECIMALS)
    if found is None or metric not in found.scores:
        return look
    texts = [study.star] if metric in study.starred else []
    differing = found.differences(cells[0])
    texts += [f"{study.name}: {differing}"] if differing else []
    marks = tuple(footnotes.mark(text) for text in texts)
    return TableEntry(found.scores[metric], decimals=DECIMALS, scale=look.scale, unit=look.unit, footnotes=marks)


def _is_pretrained(cell: CellRow) -> bool:
    return bool(cell.get(MODEL_FROM))


def _letters(index: int) -> str:
    """A, B ... as in a spreadsheet, in lower case."""
    text = ""
    while index >= 0:
        index, rest = divmod(index, 26)
        text, index = string.ascii_lowercase[rest] + text, index - 1
    return text


def _fit(cells: Mapping[str, Any], cell: CellRow) -> bool:
    """Whether a cell has the wanted values; a training from the start is none of a network trained elsewhere."""
    of_trainings = any(name.startswith(OF_TRAININGS) for name in cells if name != MODEL_FROM)
    if of_trainings and (_is_pretrained(cell) or cell.get(TRAINING_FROM)):
        return False
    return all(name in cell and _is_one_of(cell[name], wanted) for name, wanted in cells.items())


def _is_one_of(value: object, wanted: Any) -> bool:
    """Whether a value is the wanted one, or one of a list; true is not 1."""
    choices = cast(list[object], wanted) if isinstance(wanted, list) else [wanted]
    return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices)


def _show(name: str, value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:,}" if number and name in EXACT else f"{value:,g}" if number else show_value(value)
