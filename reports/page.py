"""Writes a report as one self-contained HTML page."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import jinja2
import pandas as pd

from reports.dictionary import PARAMETERS
from reports.figures import embed, loss_figure, score_figure, truncation_figure
from reports.metrics import PREFERRED_SPLITS, shown, title_of
from reports.notes import remarks, report_notes, separation_note, state_line
from reports.render import TIED_MARK
from reports.report import Report
from reports.significance import Sample
from reports.tables import ResultTable
from reports.values import show_value

CAPTION_METRICS = tuple(f"{name}_{split}" for name in ("fid", "kid") for split in PREFERRED_SPLITS)


def to_html(report: Report) -> str:
    """Return the page, which needs no other file."""
    tables = report.tables
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
        state=f"{state_line(report.frame, report.states)}.{separation_note(tables)}",
        notes=report_notes(tables, report.equivalences),
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
            cells.append({"name": row["cell"], "picture": picture, "caption": caption(row)})
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
