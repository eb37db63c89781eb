"""Two cells side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from experiments.inspection.compare import NORMAL_95, CellComparison
from experiments.inspection.config_diff import shown

SHORT = 40  # characters of a value


def comparison_view(found: CellComparison) -> RenderableType:
    """Two cells for people."""
    parts: list[RenderableType] = []
    for title, rows in (("configuration", found.fields), ("provenance", found.provenance)):
        if rows:
            parts += [_table(title, found, ((row.field, _short(row.here), _short(row.there)) for row in rows)), Text()]
        elif title == "configuration" or found.numbers:
            parts += [Text(f"{title}: the same"), Text()]
    parts.append(_numbers_table(found) if found.numbers else Text("numbers: none yet, neither is done"))
    return Group(*parts)


def _table(title: str, found: CellComparison, rows: Iterator[tuple[str, str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in (title, found.here.name, found.there.name):
        table.add_column(Text(header), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _numbers_table(found: CellComparison) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("metric", found.here.name, found.there.name, "difference", ""):
        table.add_column(Text(header), justify="left" if header in ("metric", "") else "right", overflow="fold")
    marks = {True: "", False: "≈ not told apart", None: ""}
    for number in found.numbers:
        table.add_row(
            number.metric,
            _with_error(number.here, number.here_error),
            _with_error(number.there, number.there_error),
            _with_error(number.difference, number.error, sign=True),
            marks[number.told_apart],
        )
    return table


def _with_error(value: float | None, error: float | None, sign: bool = False) -> str:
    if value is None:
        return "-"
    shown = f"{value:{'+' if sign else ''}.4f}"
    return shown if error is None or math.isnan(error) else f"{shown} ± {NORMAL_95 * error:.4f}"


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else shown(value)
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"
