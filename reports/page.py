"""Writes a report's folder: report.md, report.tex, results.csv and one self-contained HTML page."""

from __future__ import annotations

import base64
import math
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import jinja2
import pandas as pd

from reports.csv_cells import csv_text
from reports.figures import embed, loss_figure, score_figure, truncation_figure
from reports.layout import Layout
from reports.metrics import PREFERRED_SPLITS, shown, title_of
from reports.notes import reading_notes, remarks, separation_note, state_line
from reports.render import TIED_MARK, to_latex, to_markdown
from reports.significance import PairedErrors, Sample
from reports.tables import ResultTable, result_tables, show_value

CAPTION_METRICS = tuple(f"{name}_{split}" for name in ("fid", "kid") for split in PREFERRED_SPLITS)
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
PARAMETERS = ("data.", "model.", "training.", "sampling.", "evaluation.")  # how a frame's columns of parameters begin


@dataclass(frozen=True)
class Report:
    """Everything a report is made from.

    curves: columns training, kimg, loss, val_loss. pictures: a PNG of samples by cell; pairs: a PNG of the drawn images
    closest to training images by cell. provenance: where the numbers come from. paired: the covariance of the cells'
    errors by metric. notes: what else a reader has to know, in sentences. shown: how text of a parameter is shown, for
    example without folders; results.csv has it as it is.
    """

    layout: Layout
    frame: pd.DataFrame
    curves: pd.DataFrame
    pictures: dict[str, Path]
    provenance: dict[str, str]
    paired: dict[str, PairedErrors] = field(default_factory=dict[str, PairedErrors])
    pairs: dict[str, Path] = field(default_factory=dict[str, Path])
    notes: tuple[str, ...] = ()
    shown: Callable[[str], str] = str

    @property
    def tables(self) -> list[ResultTable]:
        """The result tables, the main one of each group of comparable cells first."""
        return result_tables(self.frame, self.layout, self.paired)


def write_report(report: Report, folder: Path) -> Path:
    """Write all files of a report into `folder`, each one atomically, and return the path of the HTML page."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "results.csv", csv_text(report.frame))
    report = replace(report, frame=_as_shown(report.frame, report.shown))
    tables = report.tables
    _write(folder / "report.md", _markdown(report, tables))
    _write(folder / "report.tex", "\n".join(to_latex(table) for table in tables))
    _write(folder / "report.html", _html(report, tables))
    return folder / "report.html"


def _as_shown(frame: pd.DataFrame, shown: Callable[[str], str]) -> pd.DataFrame:
    """Return a frame with the text of its parameters as it is shown."""
    frame = frame.copy()
    for name in frame.columns:
        if str(name).startswith(PARAMETERS) and frame[name].dtype.kind == "O":
            frame[name] = frame[name].map(lambda value: shown(value) if isinstance(value, str) else value)
    return frame


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, by way of one that is new for certain: no link left beside it is followed."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with os.fdopen(os.open(temporary, NEW, 0o666), "w", encoding="utf-8", newline="") as file:
            file.write(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _markdown(report: Report, tables: list[ResultTable]) -> str:
    parts = [f"# {report.layout.title}\n", f"{state_line(report.frame)}.{separation_note(tables)}\n"]
    parts += [to_markdown(table) for table in tables]
    origins = [f"{name}: {value}" for name, value in report.provenance.items()]
    lists = (_notes(report, tables), remarks(report.frame), origins)
    parts += ["".join(f"- {line}\n" for line in lines) for lines in lists if lines]
    return "\n".join(parts)


def _notes(report: Report, tables: list[ResultTable]) -> list[str]:
    """What a reader of the tables has to know."""
    return [*reading_notes(tables), *(f"{sentence}." for sentence in report.notes)]


def _html(report: Report, tables: list[ResultTable]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    main = {table.label: table for table in tables if table.main}
    figures = embed(
        {
            **{f"scores-{number}": score_figure(table) for number, table in enumerate(main.values())},
            "truncation": truncation_figure(report.frame, report.layout),
            "loss": loss_figure(report.curves),
        }
    )
    scores = [(label, figures[f"scores-{i}"]) for i, label in enumerate(main) if f"scores-{i}" in figures]
    return environment.get_template("page.html.j2").render(
        title=report.layout.title,
        state=f"{state_line(report.frame)}.{separation_note(tables)}",
        notes=_notes(report, tables),
        remarks=remarks(report.frame),
        tables=tables,
        tied_mark=TIED_MARK,
        cells=_gallery(report, report.pictures, partial(_score_caption, decimals=_decimals(tables))),
        pairs=_gallery(report, report.pairs, _distance_caption),
        scores=scores,
        truncation=figures.get("truncation", ""),
        curves=figures.get("loss", ""),
        shared=_shared_parameters(report),
        provenance=report.provenance,
    )


def _gallery(
    report: Report, pictures: Mapping[str, Path], caption: Callable[[Mapping[str, Any]], str]
) -> list[dict[str, str]]:
    """The picture and caption of every cell that has one."""
    cells: list[dict[str, str]] = []
    for record in report.frame.to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        path = pictures.get(row["cell"])
        if path is not None and path.exists():
            data = base64.b64encode(path.read_bytes()).decode()
            picture = f"data:image/png;base64,{data}"
            cells.append({"name": report.shown(row["cell"]), "picture": picture, "caption": caption(row)})
    return cells


def _decimals(tables: list[ResultTable]) -> dict[str, int]:
    """How many decimals the tables show of each metric."""
    columns = [
        (head.metric, column) for table in tables for head, column in zip(table.heads, table.columns, strict=True)
    ]
    return {metric: column[0].decimals for metric, column in reversed(columns)}


def _score_caption(row: Mapping[str, Any], decimals: Mapping[str, int]) -> str:
    """The most important score of a cell with its interval."""
    metric = next((name for name in CAPTION_METRICS if _is_number(row.get(name))), None)
    if metric is None:
        return ""
    value, error = float(row[metric]), row.get(f"{metric}_se")
    sample = Sample((0,), (str(row["cell"]),), (value,), (float(error) if _is_number(error) else math.nan,))
    return f"{title_of(metric)}: {shown(metric, value, sample.margin, decimals=decimals.get(metric))}"


def _distance_caption(row: Mapping[str, Any]) -> str:
    """How much closer a cell's images are to training images than to test images."""
    metrics = {space: f"nn_ratio_{space}" for space in ("pixels", "features")}
    parts = [f"{shown(name, row[name])} in {space}" for space, name in metrics.items() if _is_number(row.get(name))]
    return f"distance ratio {', '.join(parts)}" if parts else ""


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, float) and not math.isnan(value)


def _shared_parameters(report: Report) -> list[tuple[str, str]]:
    """The parameters that have one value in all cells, except those that are null."""
    axes = (*report.layout.rows, *report.layout.columns, "seed")
    names = [name for name in map(str, report.frame.columns) if name.startswith(PARAMETERS) and name not in axes]
    columns = {name: report.frame[name].tolist() for name in names}
    shared = {name: values[0] for name, values in columns.items() if len(set(map(str, values))) == 1}
    return [(name, show_value(value)) for name, value in shared.items() if not pd.isna(value)]
