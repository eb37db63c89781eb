"""Two cells side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from experiments.cli.views.tables import TextTable, numbers, sentences, values
from experiments.inspection.compare import NORMAL_95, CellComparison, ComparedNumber
from experiments.inspection.config_diff import FieldDifference, shown

NOTES = {True: "", False: "≈ not significantly different", None: ""}


def comparison_view(found: CellComparison) -> RenderableType:
    """Return what differs between two cells, and their numbers."""
    names = found.here.name, found.there.name
    parts: list[RenderableType] = []
    for title, rows in (("configuration", found.fields), ("provenance", found.provenance)):
        if rows:
            parts += [_fields_table(title, names, rows), Text()]
        elif title == "configuration" or found.numbers:
            parts += [Text(f"{title}: no differences"), Text()]
    if found.numbers:
        parts += [_numbers_table(names, found.numbers), *_explanation(found.numbers)]
    else:
        parts.append(Text("numbers: none yet, because neither is done"))
    return Group(*parts)


def _fields_table(title: str, names: tuple[str, str], rows: Sequence[FieldDifference]) -> TextTable:
    table = TextTable(*values(title), *sentences(*names))
    for row in rows:
        table.add(row.field, _value(row.here), _value(row.there))
    return table


def _numbers_table(names: tuple[str, str], rows: Sequence[ComparedNumber]) -> TextTable:
    table = TextTable(*values("metric"), *numbers(*names, "difference"), *sentences(""))
    for number in rows:
        table.add(
            number.metric,
            _with_margin(number.here, number.here_error),
            _with_margin(number.there, number.there_error),
            _with_margin(number.difference, number.error, sign=True),
            NOTES[number.is_significant],
        )
    return table


def _explanation(rows: Sequence[ComparedNumber]) -> list[Text]:
    known = any(number.error is not None for number in rows)
    return [Text("±: half of the 95% interval; of a difference, paired by image.", "dim")] if known else []


def _with_margin(value: float | None, error: float | None, sign: bool = False) -> str:
    if value is None:
        return "-"
    text = f"{value:{'+' if sign else ''}.4f}"
    return text if error is None or math.isnan(error) else f"{text} ± {NORMAL_95 * error:.4f}"


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else shown(value)
