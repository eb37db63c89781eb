"""Text in CSV files that a spreadsheet would take for a formula, escaped when written and restored when read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the begin of a formula
RETURN = "\ue00d\n"  # for a moment in place of \r: text with \n is written in quotes
ESCAPE = "'"  # spreadsheets show what follows as text


def csv_text(frame: pd.DataFrame) -> str:
    """Return a frame as CSV, escaped, and with a carriage return in quotes, where the csv module leaves it bare."""
    bare = _with_text(frame, lambda value: _with_marked_returns(_escaped(value)))
    return bare.to_csv(index=False, lineterminator="\n").replace(RETURN, "\r")


def escaped(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame for a CSV file: text that begins like a formula has ' before it, names of columns as well."""
    return _with_text(frame, _escaped)


def _with_text(frame: pd.DataFrame, written: Callable[[Any], Any]) -> pd.DataFrame:
    """Return a frame with every value of a column of text as it is written, names of columns as well."""
    shown = frame.rename(columns=_escaped)
    for position, dtype in enumerate(shown.dtypes):
        if dtype.kind == "O":
            values: list[Any] = shown.iloc[:, position].tolist()
            known = {value: written(value) for value in values if isinstance(value, str)}  # few texts, many cells
            shown.isetitem(position, [known[value] if isinstance(value, str) else value for value in values])
    return shown


def restored(value: str) -> str:
    """Return the text that `escaped` made a cell from."""
    return value[len(ESCAPE) :] if value.lstrip(ESCAPE).startswith(FORMULA) and value.startswith(ESCAPE) else value


def _with_marked_returns(value: Any) -> Any:
    return value.replace("\r", RETURN) if isinstance(value, str) else value


def _escaped(value: Any) -> Any:
    """Return the value of a cell; text that is escaped already gets another ', so that reading gives it back."""
    return f"{ESCAPE}{value}" if isinstance(value, str) and value.lstrip(ESCAPE).startswith(FORMULA) else value
