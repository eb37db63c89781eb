"""Frames as CSV files, in which text that a spreadsheet would take for a formula is escaped."""

from __future__ import annotations

from typing import Any

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the begin of a formula
RETURN = "\ue00d\n"  # for a moment in place of \r: text with \n is written in quotes
ESCAPE = "'"  # spreadsheets show what follows as text


def csv_text(frame: pd.DataFrame) -> str:
    """Return a frame as CSV; text that begins like a formula has ' before it, names of columns as well.

    A carriage return is in quotes, where the csv module would leave it bare.
    """
    shown = frame.rename(columns=_written)
    for position, dtype in enumerate(shown.dtypes):
        if dtype.kind == "O":
            values: list[Any] = shown.iloc[:, position].tolist()
            known = {value: _written(value) for value in values if isinstance(value, str)}  # few texts, many cells
            shown.isetitem(position, [known[value] if isinstance(value, str) else value for value in values])
    return shown.to_csv(index=False, lineterminator="\n").replace(RETURN, "\r")


def _written(value: str) -> str:
    """Return text as it is written; one that is escaped already gets another ', so that reading can tell."""
    escape = ESCAPE if value.lstrip(ESCAPE).startswith(FORMULA) else ""
    return (escape + value).replace("\r", RETURN)
