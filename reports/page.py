"""A report's folder: report.md, report.tex, results.csv and one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from reports.figures import embed, loss_figure, score_figure, truncation_figure
from reports.metrics import BEST_SPLITS, METRICS
from reports.notes import apart, reading_note, remarks, state_line
from reports.parts import Layout
from reports.render import CLOSE, to_latex, to_markdown
from reports.significance import Paired
from reports.tables import Comparison, comparisons, show_value

# the first of these that a cell has stands under its picture
CAPTION_METRICS = tuple(f"{name}_{split}" for name in ("fid", "kid") for split in BEST_SPLITS)


@dataclass(frozen=True)
class Report:
    """All that a report is made from.

    curves: columns training, kimg, loss, val_loss. pictures: a PNG of samples for every cell that has one; pairs: one
    of the drawn images that are closest to training images. facts: what to say of where the numbers come from. paired:
    of a metric, how the errors of cells hang together.
    """

    layout: Layout
    frame: pd.DataFrame
    curves: pd.DataFrame
    pictures: dict[str, Path]
    facts: dict[str, str]
    paired: dict[str, Paired] = field(default_factory=dict)
    pairs: dict[str, Path] = field(default_factory=dict)

    @property
    def tables(self) -> list[Comparison]:
        """The comparison tables, the main one of each group of comparable cells first."""
        return comparisons(self.frame, self.layout, self.paired)


def write_report(report: Report, folder: Path) -> Path:
    """Write the whole report into `folder`, each file whole or not at all; returns the HTML page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = report.tables
    _write(folder / "results.csv", report.frame.to_csv(index=False, lineterminator="\n"))
    _write(folder / "report.md", _markdown(report, tables))
    _write(folder / "report.tex", "\n".join(to_latex(table) for table in tables))
    _write(folder / "report.html", _html(report, tables))
    return folder / "report.html"


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _markdown(report: Report, tables: list[Comparison]) -> str:
    parts = [f"# {report.layout.title}\n", f"{state_line(report.frame)}.{apart(tables)}\n"]
    parts += [to_markdown(table) for table in tables]
    lists = (reading_note(tables), remarks(report.frame), [f"{name}: {value}" for name, value in report.facts.items()])
    parts += ["".join(f"- {line}\n" for line in lines) for lines in lists if lines]
    return "\n".join(parts)


def _html(report: Report, tables: list[Comparison]) -> str:
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
        state=f"{state_line(report.frame)}.{apart(tables)}",
        notes=reading_note(tables),
        remarks=remarks(report.frame),
        tables=tables,
        close=CLOSE,
        cells=_gallery(report, report.pictures, _caption),
        pairs=_gallery(report, report.pairs, _ratios),
        scores=scores,
        truncation=figures.get("truncation", ""),
        curves=figures.get("loss", ""),
        shared=_shared_parameters(report),
        facts=report.facts,
    )


def _gallery(
    report: Report, pictures: Mapping[str, Path], caption: Callable[[dict[Any, Any]], str]
) -> list[dict[str, str]]:
    """A picture and a caption of every cell that has one."""
    cells = []
    for row in report.frame.to_dict("records"):
        path = pictures.get(row["cell"])
        if path is not None and path.exists():
            data = base64.b64encode(path.read_bytes()).decode()
            picture = f"data:image/png;base64,{data}"
            cells.append({"name": row["cell"], "picture": picture, "caption": caption(row)})
    return cells


def _caption(row: dict[Any, Any]) -> str:
    """The first score that a cell has."""
    name = next((name for name in CAPTION_METRICS if _known(row.get(name))), None)
    if name is None:
        return ""
    metric = METRICS[name]
    return f"{metric.name} {row[name] * metric.scale:.3f} ({metric.split})"


def _ratios(row: dict[Any, Any]) -> str:
    """How much nearer a cell's images are to training images than to test images."""
    parts = [
        f"{row[f'nn_ratio_{space}']:.3f} in {space}"
        for space in ("pixels", "features")
        if _known(row.get(f"nn_ratio_{space}"))
    ]
    return f"distance ratio {', '.join(parts)}" if parts else ""


def _known(value: Any) -> bool:
    return isinstance(value, float) and not math.isnan(value)


def _shared_parameters(report: Report) -> list[tuple[str, str]]:
    """Parameters that every cell has in common, less those that say nothing."""
    axes = (*report.layout.rows, *report.layout.columns, "seed")
    sections = ("data.", "model.", "training.", "sampling.", "evaluation.")
    names = [name for name in report.frame if str(name).startswith(sections) and name not in axes]
    columns = {name: report.frame[name].tolist() for name in names}
    shared = [name for name, values in columns.items() if len(set(map(str, values))) == 1 and not pd.isna(values[0])]
    return [(name, show_value(report.frame[name].iloc[0])) for name in shared]
