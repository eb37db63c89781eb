"""The formats that a report can be written in. This module needs nothing else, so that a command can refuse others."""

from __future__ import annotations

FORMATS = ("html", "md", "tex", "csv", "parquet")
