"""Text in CSV files that a spreadsheet would take for a formula, escaped when written and restored when read."""

from __future__ import annotations

from typing import Any

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the begin of a formula
ESCAPE = "'"  # spreadsheets show what follows as text


def escaped(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame for a CSV file: text that begins like a formula has ' before it, names of columns as well."""
    shown = frame.rename(columns=_escaped)
    for position, dtype in enumerate(shown.dtypes):
        if dtype == object or isinstance(dtype, pd.StringDtype):
            shown.isetitem(position, shown.iloc[:, position].map(_escaped))
    return shown


def restored(value: str) -> str:
    """Return the text that `escaped` made a cell from."""
    return value[len(ESCAPE) :] if value.lstrip(ESCAPE).startswith(FORMULA) and value.startswith(ESCAPE) else value


def _escaped(value: Any) -> Any:
    """Return a value of a cell; text that begins with ' and then like a formula gets another ', so that none is lost."""
    return f"{ESCAPE}{value}" if isinstance(value, str) and value.lstrip(ESCAPE).startswith(FORMULA) else value
