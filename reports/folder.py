"""Writes a report into a folder, in the formats that are asked for."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable, Collection
from pathlib import Path

from reports.csv_cells import csv_text
from reports.dictionary import describe_columns
from reports.formats import USUAL_FORMATS
from reports.latex import latex_document
from reports.markdown import to_markdown_page
from reports.page import to_html
from reports.report import Report
from reports.tidy import tidy_frame

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
Files = dict[str, Callable[[Report], str | bytes]]
FILES: dict[str, Files] = {  # of every format, the main one first
    "html": {"report.html": lambda report: to_html(report.as_shown)},
    "md": {"report.md": lambda report: to_markdown_page(report.as_shown)},
    "tex": {"report.tex": lambda report: latex_document(report.as_shown.tables)},
    "csv": {
        "results.csv": lambda report: csv_text(report.frame),
        "columns.csv": lambda report: csv_text(describe_columns(report.frame)),
        "tables.csv": lambda report: csv_text(tidy_frame(report.as_shown.tables)),
    },
    "parquet": {
        "results.parquet": lambda report: _parquet(report),
        "tables.parquet": lambda report: tidy_frame(report.as_shown.tables).to_parquet(index=False),
    },
}


def write_report(report: Report, folder: Path, formats: Collection[str] = USUAL_FORMATS) -> Path:
    """Write the files of these formats, each one atomically, and return the path of the first one."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: make for format_, made in FILES.items() if format_ in formats for name, make in made.items()}
    for name in reversed(files):  # the page last, so that it is there once the rest is
        content = files[name](report)
        _write(folder / name, content.encode() if isinstance(content, str) else content)
    return folder / next(iter(files))


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, by way of one that is new for certain: no link left beside it is followed."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with os.fdopen(os.open(temporary, NEW, 0o666), "wb") as file:
            file.write(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _parquet(report: Report) -> bytes:
    """The frame of results, whose columns of mixed values are text: a column of Parquet has one type."""
    frame = report.frame.copy()
    for name in frame.columns:
        values: list[object] = frame[name].dropna().tolist()
        kinds = set(map(type, values))
        if len(kinds) > 1 and not kinds <= {int, float}:
            frame[name] = frame[name].map(str, na_action="ignore")
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()
