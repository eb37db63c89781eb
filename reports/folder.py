"""Writes a report into a folder, in the formats that are asked for."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable, Collection
from pathlib import Path

import pandas as pd

from reports.csv_cells import csv_text
from reports.dictionary import describe_columns
from reports.figures import all_charts
from reports.formats import FORMATS
from reports.latex import latex_document
from reports.markdown import to_markdown_page
from reports.page import to_html
from reports.plots import write_figures
from reports.report import Report
from reports.tidy import tidy_frame

PAGE, FIGURES = "report.html", "figures"  # a file of the folder, and a folder in it
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
Files = dict[str, Callable[[Report], str | bytes]]
FILES: dict[str, Files] = {  # of every format, the main one first
    "html": {PAGE: lambda report: to_html(report.as_shown)},
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


def write_report(report: Report, folder: Path, formats: Collection[str] = FORMATS, figures: bool = False) -> Path:
    """Write the files of these formats, each one atomically, and return the path of the first one.

    figures: draw the figures for a paper, too, unless the folder has those of this very page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: make for format_, made in FILES.items() if format_ in formats for name, make in made.items()}
    contents = {name: _as_bytes(make(report)) for name, make in files.items()}
    if figures and not _has_figures(folder, contents[PAGE]):
        write_figures(all_charts(report.as_shown), folder / FIGURES)
    for name in reversed(contents):  # the page last, so that it is there once the rest is
        _write(folder / name, contents[name])
    return folder / next(iter(contents))


def num_results(folder: Path) -> int:
    """Return how many cells were done when the report in a folder was written; 0 if there is none."""
    try:
        return int(pd.read_csv(folder / "results.csv", usecols=["status"])["status"].eq("done").sum())
    except (OSError, ValueError):  # none was written, or somebody changed it
        return 0


def _has_figures(folder: Path, page: bytes) -> bool:
    """Whether a folder has the figures of a page, which was written after them."""
    return (folder / FIGURES).is_dir() and (folder / PAGE).is_file() and (folder / PAGE).read_bytes() == page


def _as_bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


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
