"""Marks numbers that other code than today's has made, and says below the table what changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from reports.values import cell_list

CHANGED_MARK = "†"
CHANGE = "code"  # the column with what changed, which a frame has if anything did


def changed_marks(cells: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Return the mark of an entry's footnote if other code has made the result of any of its cells."""
    return (CHANGED_MARK,) if any(cell.get(CHANGE) is not None for cell in cells) else ()


def changed_lines(frame: pd.DataFrame) -> Iterator[str]:
    """Yield a footnote on each change of code, with the cells that were made before it."""
    if CHANGE not in frame.columns:
        return
    cells: dict[str, list[str]] = {}
    for cell, change in zip(frame["cell"], frame[CHANGE], strict=True):
        if isinstance(change, str):
            cells.setdefault(change, []).append(str(cell))
    for change, names in cells.items():
        yield f"{CHANGED_MARK}: made by other code than today's: {change} ({cell_list(names, len(frame))})."
