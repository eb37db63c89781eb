"""Two cells side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from experiments.cli.views.tables import TextTable, numbers, sentences, values
from experiments.inspection.compare import CellComparison, ComparedNumber
from experiments.inspection.config_diff import FieldDifference, shown
from reports.metrics import CHANCE_NOTE, NORMAL_95, common_decimals, is_rounding, metric_info, title_of
from reports.metrics import shown as shown_metric

MARK = "≈"
EXPLANATIONS = (
    ("±: half of the 95% interval; of a difference, paired by image.", lambda number: number.error is not None),
    (CHANCE_NOTE, lambda number: metric_info(number.metric).by_chance),
    (
        f"{MARK}: not significantly different at the 5% level, each metric by itself.",
        lambda number: number.is_significant is False,
    ),
)


CALLED = {"time": "ended"}  # what a table calls a field of a result's provenance


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
        table.add(CALLED.get(row.field, row.field), _value(row.here), _value(row.there))
    return table


def _numbers_table(names: tuple[str, str], rows: Sequence[ComparedNumber]) -> TextTable:
    table = TextTable(*values("metric"), *numbers(*names, "difference"))
    blank = "  " if any(number.is_significant is False for number in rows) else ""
    for number in rows:
        here, there, difference = _texts(number)
        mark = f" {MARK}" if number.is_significant is False else blank
        table.add(title_of(number.metric), here, there, difference + mark)
    return table


def _explanation(rows: Sequence[ComparedNumber]) -> list[Text]:
    """What the signs in a table mean."""
    return [Text(text, "dim") for text, applies in EXPLANATIONS if any(map(applies, rows))]


def _texts(number: ComparedNumber) -> list[str]:
    """Both values and their difference, with the same number of decimals."""
    pairs = ((number.here, number.here_error), (number.there, number.there_error), (number.difference, number.error))
    values = [value for value in (number.here, number.there) if value is not None]
    margins = [NORMAL_95 * error if error and not is_rounding(error, values) else None for _, error in pairs]
    info = metric_info(number.metric)
    decimals = common_decimals([value for value, _ in pairs if value], filter(None, margins), info.scale, info.unit)
    return [
        shown_metric(number.metric, value, margin, sign=i == 2, decimals=decimals)
        for i, ((value, _), margin) in enumerate(zip(pairs, margins, strict=True))
    ]


def _value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else shown(value)
