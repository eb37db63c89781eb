"""Writes a report as one self-contained HTML page."""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2

from reports.charts import Chart
from reports.dictionary import PARAMETERS
from reports.effects import best_metric
from reports.entries import TIED_MARK, coarsest
from reports.figures import all_charts
from reports.findings import finding, question
from reports.loss_charts import loss_charts
from reports.metrics import METRICS, MINUS, shown, title_of
from reports.notes import remarks, report_notes, separation_note, state_line
from reports.report import Report
from reports.rows import CellRow, cell_rows
from reports.significance import Sample
from reports.svg import marker_svg, to_svg
from reports.table import ResultTable
from reports.tables import FIRST_METRICS
from reports.values import joined_label, short_axes, show_value

HERE = Path(__file__).parent
MAX_PICTURES = 200  # more would make a page that no browser opens
MAX_CLASSES = 20  # that are named
MAX_FILTER_VALUES = 20  # of an axis; a longer list of boxes would hide the table
SIGNATURES = ("data", "training", "evaluation")


def to_html(report: Report, refresh_s: int = 0) -> str:
    """Return the page, which needs no other file.

    refresh_s: after how many seconds it loads itself again; 0 is never.
    """
    tables, rows = report.tables, cell_rows(report.frame)
    pictures = _gallery(report, rows, report.pictures, partial(_score_caption, decimals=_decimals(tables)))
    curves, varying, titles = _curves(report), _varying_parameters(report), _metric_titles(report)
    denoising = _gallery(report, rows, report.denoising, lambda row: "")[:MAX_PICTURES]
    return _template().render(
        title=report.layout.title,
        question=question(report),
        finding=finding(tables),
        state=f"{state_line(report.frame, report.states)}.{separation_note(tables, report.frame)}",
        refresh_s=refresh_s,
        axes=_filters(report),
        notes=report_notes(tables, report.notes),
        remarks=remarks(report.frame),
        tables=tables,
        tied_mark=TIED_MARK,
        numbers={str(row["cell"]): number for number, row in enumerate(rows)},
        cells=pictures[:MAX_PICTURES],
        classes=_some_classes(report.classes),
        num_left_out=max(0, len(pictures) - MAX_PICTURES),
        pairs=_gallery(report, rows, report.pairs, _distance_caption)[:MAX_PICTURES],
        denoising=denoising,
        charts=[_chart(chart) for chart in all_charts(report)],
        curves=list(curves.values()),
        shared=_shared_parameters(report),
        provenance=report.provenance,
        data={
            "cells": [_cell(report, row, i, list(curves), varying, titles) for i, row in enumerate(rows)],
            "steps": {cell["number"]: cell["picture"] for cell in denoising},
            "shared": [*_shared_parameters(report), *report.provenance.items()],
        },
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
    )


@cache  # compiling it takes longer than filling it in
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["typeset"] = typeset  # pyright: ignore[reportUnknownMemberType]
    return environment.get_template("page.html.j2")


def typeset(text: str) -> str:
    """Return text whose negative numbers have minus signs instead of hyphens."""
    return MINUS.sub("−", text)


def _axes(report: Report) -> dict[str, str]:
    """The axes of all tables, with their short names."""
    axes = tuple(dict.fromkeys(axis for layout in report.layouts for axis in layout.axes))
    return dict(zip(axes, short_axes(axes), strict=True))


def _filters(report: Report) -> list[dict[str, Any]]:
    """The axes that vary, with their values."""
    values = {axis: list(dict.fromkeys(map(show_value, report.frame[axis].tolist()))) for axis in _axes(report)}
    names = _axes(report)
    return [
        {"axis": axis, "name": names[axis], "values": found}
        for axis, found in values.items()
        if 1 < len(found) <= MAX_FILTER_VALUES
    ]


def _chart(chart: Chart) -> dict[str, Any]:
    legend = [{"name": s.name, "picture": marker_svg(s)} for s in chart.legend]
    return {
        "key": chart.key,
        "title": chart.title,
        "caption": chart.caption,
        "legend": legend,
        "legend_title": chart.legend_title,
        "svg": to_svg(chart),
    }


def _curves(report: Report) -> dict[str, str]:
    """A small chart of the loss of every training, by its name."""
    if report.curves.empty:
        return {}
    names = list(dict.fromkeys(report.curves["training"]))[:MAX_PICTURES]
    made: dict[str, str] = {}
    for name in names:
        own = replace(report, curves=report.curves[report.curves["training"] == name], levels=report.levels[:0])
        made[str(name)] = "".join(to_svg(chart) for chart in loss_charts(own))
    return made


# cells --------------------------------------------------------------------------------------------


def _cell(
    report: Report, row: CellRow, number: int, curves: list[str], varying: list[str], titles: Mapping[str, str]
) -> dict[str, Any]:
    """What the panel of a cell shows.

    curves: the trainings with a curve. varying: parameters that cells differ in. titles: of the metrics.
    """
    training = str(row.get("training_name", ""))
    sweep, name = _command_names(report, report.shown(str(row["cell"])))
    return {
        "name": report.shown(str(row["cell"])),
        "number": number,
        "scores": [("status", _status(report, row)), *((name, typeset(text)) for name, text in _scores(row, titles))],
        "configuration": [(key, show_value(row[key])) for key in varying],
        "depends": [(key, str(row[key])) for key in SIGNATURES if key in row],
        "curve": curves.index(training) if training in curves else -1,
        "link": report.links.get(str(row["cell"]), ""),
        "notes": list(filter(None, str(row.get("notes") or "").split("; "))),
        "commands": [
            ("Reproduce it", shlex.join(["edm-sweep", "run", sweep, "--only", name])),
            ("Show what it depends on", shlex.join(["edm-sweep", "why", f"{sweep}:{name}"])),
            *([("Open MLflow, which has a run of it", "edm-sweep ui")] if report.has_own_record else []),
        ],
    }


def _command_names(report: Report, cell: str) -> tuple[str, str]:
    """The names of a cell's sweep and of the cell, as commands accept them."""
    if "sweep" in report.layout.axes:
        sweep, _, name = cell.partition(":")
        return sweep, name
    return report.layout.title, cell


def _status(report: Report, row: CellRow) -> str:
    return report.states.get(str(row["cell"]), str(row["status"])) if row["status"] == "missing" else str(row["status"])


def _scores(row: CellRow, titles: Mapping[str, str]) -> list[tuple[str, str]]:
    """All scores of a cell with their intervals."""
    return [(title, _score(row, name, None)) for name, title in titles.items() if row[name] is not None]


def _metric_titles(report: Report) -> dict[str, str]:
    """The titles of the metrics of a report, by their columns."""
    titles = {name: title_of(name) for name in map(str, report.frame.columns)}
    return {name: title for name, title in titles.items() if title != name}


def _score(row: CellRow, metric: str, decimals: int | None) -> str:
    value, error = float(row[metric]), row.get(f"{metric}_se")
    sample = Sample((0,), (str(row["cell"]),), (value,), (math.nan if error is None else float(error),))
    return shown(metric, value, sample.margin, decimals=decimals)


def _varying_parameters(report: Report) -> list[str]:
    shared = {name for name, _ in _shared_parameters(report)}
    names = [name for name in map(str, report.frame.columns) if name.startswith(PARAMETERS)]
    return [name for name in names if name not in shared and not all(map(_is_empty, report.frame[name].tolist()))]


def _is_empty(value: object) -> bool:
    """Whether a parameter is null or an empty list."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _shared_parameters(report: Report) -> list[tuple[str, str]]:
    """The parameters that have one value in all cells, except those that are null or an empty list."""
    axes = (*report.layout.axes, "seed")
    names = [name for name in map(str, report.frame.columns) if name.startswith(PARAMETERS) and name not in axes]
    columns = {name: report.frame[name].tolist() for name in names}
    shared = {name: values[0] for name, values in columns.items() if len(set(map(str, values))) == 1}
    return [(name, show_value(value)) for name, value in shared.items() if not _is_empty(value)]


def _some_classes(classes: Sequence[str]) -> str:
    more = len(classes) - MAX_CLASSES
    return ", ".join(classes[:MAX_CLASSES]) + (f" and {more} more" if more > 0 else "")


# pictures -----------------------------------------------------------------------------------------


def _gallery(
    report: Report, rows: Sequence[CellRow], pictures: Mapping[str, Path], caption: Callable[[CellRow], str]
) -> list[dict[str, Any]]:
    """The picture and caption of every cell that has one."""
    cells: list[dict[str, Any]] = []
    names, has_several_seeds = _axes(report), report.frame["seed"].nunique() > 1
    for number, row in enumerate(rows):
        path = pictures.get(row["cell"])
        picture = _picture(path, is_shown=len(cells) < MAX_PICTURES) if path is not None else None
        if picture is None:
            continue
        values = {axis: show_value(row[axis]) for axis in names}
        label = joined_label(list(names.values()), [row[axis] for axis in names]) or report.shown(row["cell"])
        seed = f", seed {row['seed']}" if has_several_seeds else ""
        cells.append(
            {
                "number": number,
                "name": report.shown(row["cell"]),
                "label": label + seed,
                "picture": picture,
                "caption": caption(row),
                "axes": values,
            }
        )
    return cells


def _picture(path: Path, is_shown: bool) -> str | None:
    """A picture as an address, an empty one unless it is shown; None if it is not there, or no longer."""
    if not is_shown:
        return "" if path.exists() else None
    try:
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    except FileNotFoundError:
        return None


def _decimals(tables: list[ResultTable]) -> dict[str, int]:
    """How many decimals the tables show of each metric."""
    columns = [
        (head.metric, column)
        for table in tables
        for head, column in zip(table.heads, table.columns, strict=True)
        if head.kind == "score" and column
    ]
    return {metric: coarsest(column).decimals for metric, column in reversed(columns)}


def _score_caption(row: CellRow, decimals: Mapping[str, int]) -> str:
    """The most important score of a cell with its interval."""
    metric = best_metric([name for name in METRICS if row.get(name) is not None], FIRST_METRICS)
    return f"{title_of(metric)}: {_score(row, metric, decimals.get(metric))}" if metric is not None else ""


def _distance_caption(row: CellRow) -> str:
    """How much closer a cell's images are to training images than to test images."""
    metrics = {space: f"nn_ratio_{space}" for space in ("pixels", "features")}
    parts = [f"{shown(name, row[name])} in {space}" for space, name in metrics.items() if row.get(name) is not None]
    return f"distance ratio {', '.join(parts)}" if parts else ""
