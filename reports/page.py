"""A report's folder: report.md, report.tex, results.csv and one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from reports.tables import Comparison, Layout, comparisons, show_value, to_latex, to_markdown

HOVER = "%{x:.4g} kimg, loss %{y:.4f}"
CAPTION_METRICS = ("fid_test", "fid_val", "fid_train")  # the first that a cell has stands under its picture


@dataclass(frozen=True)
class Report:
    """All that a report is made from.

    curves: columns training, kimg, loss, val_loss. pictures: a PNG of samples for every cell that has one.
    facts: what to say of where the numbers come from.
    """

    layout: Layout
    frame: pd.DataFrame
    curves: pd.DataFrame
    pictures: dict[str, Path]
    facts: dict[str, str]

    @property
    def tables(self) -> list[Comparison]:
        """The comparison tables."""
        return comparisons(self.frame, self.layout)


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


def state_line(frame: pd.DataFrame) -> str:
    """How much of the table is there."""
    missing = frame["status"].tolist().count("missing")
    return f"{len(frame)} cells, all done" if not missing else f"{len(frame)} cells, {missing} of them missing"


def _markdown(report: Report, tables: list[Comparison]) -> str:
    parts = [f"# {report.layout.title}\n", f"{state_line(report.frame)}.{_apart(tables)}\n"]
    parts += [to_markdown(table) for table in tables]
    parts += [f"{reading_note(report.frame)}\n", *(f"- {name}: {value}" for name, value in report.facts.items())]
    return "\n".join(parts) + "\n"


def reading_note(frame: pd.DataFrame) -> str:
    """How to read the table."""
    seeds = len(set(frame["seed"]))
    spread = f" Mean ± standard deviation over {seeds} seeds." if seeds > 1 else " One seed: no spread is known."
    return f"The best value of every column is in bold.{spread}"


def _apart(tables: list[Comparison]) -> str:
    if len(tables) < 2:
        return ""
    return " Numbers that cannot be compared are kept apart: " + " | ".join(table.label for table in tables) + "."


def _html(report: Report, tables: list[Comparison]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        title=report.layout.title,
        state=state_line(report.frame) + "." + _apart(tables),
        note=reading_note(report.frame),
        tables=tables,
        cells=_gallery(report),
        curves=loss_figure(report.curves),
        shared=_shared_parameters(report),
        facts=report.facts,
    )


def _gallery(report: Report) -> list[dict[str, Any]]:
    """A picture and a caption of every cell that has samples."""
    cells = []
    for row in report.frame.to_dict("records"):
        path = report.pictures.get(row["cell"])
        if path is not None and path.exists():
            data = base64.b64encode(path.read_bytes()).decode()
            cells.append({"name": row["cell"], "picture": f"data:image/png;base64,{data}", "fid": _caption(row)})
    return cells


def _caption(row: dict[Any, Any]) -> str:
    """The first score that a cell has."""
    for name in CAPTION_METRICS:
        value = row.get(name)
        if isinstance(value, float) and not math.isnan(value):
            return f"FID {value:.3f} ({name[4:]})"
    return ""


def _shared_parameters(report: Report) -> list[tuple[str, str]]:
    """Parameters that every cell has in common, less those that say nothing."""
    axes = (*report.layout.rows, *report.layout.columns, "seed")
    sections = ("data.", "model.", "training.", "sampling.", "evaluation.")
    names = [name for name in report.frame if str(name).startswith(sections) and name not in axes]
    columns = {name: report.frame[name].tolist() for name in names}
    shared = [name for name, values in columns.items() if len(set(map(str, values))) == 1 and not pd.isna(values[0])]
    return [(name, show_value(report.frame[name].iloc[0])) for name in shared]


def loss_figure(curves: pd.DataFrame) -> str:
    """Loss curves as an interactive figure with its script inside; empty where there are none.

    Solid with markers on the val split, at fixed noise; faint and smoothed on the batches that were trained on.
    """
    if curves.empty:
        return ""
    import plotly.express as px  # heavy
    import plotly.graph_objects as go

    figure = go.Figure()
    palette = px.colors.qualitative.D3
    for number, (name, curve) in enumerate(curves.groupby("training", sort=False)):
        seen, held_out = curve.dropna(subset="loss"), curve.dropna(subset="val_loss")
        look: dict[str, Any] = {
            "name": str(name),
            "legendgroup": str(name),
            "line_color": palette[number % len(palette)],
        }
        smooth = seen["loss"].ewm(halflife=5).mean()
        figure.add_scatter(x=seen["kimg"], y=smooth, opacity=0.35, showlegend=False, hovertemplate=HOVER, **look)
        figure.add_scatter(
            x=held_out["kimg"], y=held_out["val_loss"], mode="lines+markers", hovertemplate=HOVER, **look
        )
    figure.update_layout(
        template="plotly_white",
        height=420,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        xaxis_title="images seen (thousands)",
        yaxis_title="weighted denoising loss",
        legend={"orientation": "h", "y": 1.08},
    )
    figure.update_yaxes(type="log")
    return figure.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False, "responsive": True})
