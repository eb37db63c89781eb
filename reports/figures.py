"""Interactive figures of a page: scores with intervals, truncation error, losses."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

import pandas as pd

from reports.entries import Entry
from reports.metrics import BEST_SPLITS, METRICS
from reports.parts import Layout
from reports.tables import Comparison, short_axes, show_value

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HOVER = "%{x:.4g} kimg, loss %{y:.4f}"
STEPS = "sampling.steps"
MOST_DOTS = 60
FARTHEST_FLOOR = 2.0  # times the span of all dots: farther away they would shrink to a blot
DASHES = ("solid", "dash", "dot")
BEST, OTHER, FLOOR = "#067647", "#667085", "#b54708"
SIDE_LEGEND = 6  # more names than this stand beside a figure, fewer above it


def embed(figures: dict[str, Figure | None]) -> dict[str, str]:
    """Those figures that there are as pieces of one page, by name; the first carries plotly's script for all."""
    there = {name: figure for name, figure in figures.items() if figure is not None}
    config = {"displaylogo": False, "responsive": True}
    return {
        name: figure.to_html(full_html=False, include_plotlyjs=number == 0, config=config, div_id=f"figure-{name}")
        for number, (name, figure) in enumerate(there.items())
    }


def score_figure(table: Comparison) -> Figure | None:
    """The FID of every entry of a table with its 95% interval, in the table's order, and real images' as a line.

    Of one split: test, else val, else train. None where fewer than two intervals are known, or more than can be read.
    """
    metric = next((f"fid_{s}" for s in BEST_SPLITS if f"fid_{s}" in {head.metric for head in table.heads}), None)
    dots = [(name, entry) for name, entry in _named_entries(table, metric) if entry.mean is not None]
    if metric is None or sum(bool(entry.margin) for _, entry in dots) < 2 or len(dots) > MOST_DOTS:
        return None
    import plotly.graph_objects as go  # heavy

    figure = go.Figure()
    kinds = (("best of its column, or not told apart from it", BEST, True), ("told apart from the best", OTHER, False))
    for title, colour, close in kinds:
        chosen = [(name, entry) for name, entry in dots if (entry.best or entry.close) == close]
        figure.add_scatter(
            x=[entry.mean for _, entry in chosen],
            y=[name for name, _ in chosen],
            error_x={"type": "data", "array": [entry.margin or 0 for _, entry in chosen], "thickness": 1.5, "width": 3},
            mode="markers",
            marker={"color": colour, "size": 8},
            name=title,
            showlegend=bool(chosen),
            hovertemplate="%{y}: %{x:.4g}<extra></extra>",
        )
    low = min(entry.mean - (entry.margin or 0) for _, entry in dots if entry.mean is not None)
    high = max(entry.mean + (entry.margin or 0) for _, entry in dots if entry.mean is not None)
    low = _add_floor(figure, table, metric, low, high)
    figure.update_layout(**_look(METRICS[metric].title, "", height=150 + 22 * len(dots)))
    figure.update_xaxes(range=[low - 0.04 * (high - low), high + 0.04 * (high - low)])
    order = [name for name, _ in dots]
    figure.update_yaxes(categoryorder="array", categoryarray=order, autorange="reversed", automargin=True, dtick=1)
    return figure


def _named_entries(table: Comparison, metric: str | None) -> list[tuple[str, Entry]]:
    """The entries of a metric, named by their row and their column."""
    columns = [(i, head.at) for i, head in enumerate(table.heads) if head.metric == metric]
    return [(", ".join((*names, *at)), line[i]) for names, line in table.rows for i, at in columns]


def _add_floor(figure: Figure, table: Comparison, metric: str, low: float, high: float) -> float:
    """Draw what real images score as a line; returns where the axis begins: far below all else it is left out of it."""
    column = next(i for i, head in enumerate(table.heads) if head.metric == metric)
    for row in table.context:
        entry = row.entries[column]
        if row.kind != "real" or entry.mean is None:
            continue
        near = low - entry.mean < FARTHEST_FLOOR * (high - low)
        name = f"{row.title}: {entry.text}" if near else f"{row.title}: {entry.text}, left of what is shown"
        figure.add_vline(entry.mean, line={"color": FLOOR, "dash": "dash"}, name=name, showlegend=True)
        low = min(low, entry.mean) if near else low
    return low


def truncation_figure(frame: pd.DataFrame, layout: Layout) -> Figure | None:
    """Truncation error against network evaluations, log-log: a line for each combination of axes but the steps.

    Means over seeds. None where no error above 0 is known.
    """
    if not {"truncation_rms", "nfe"} <= set(frame.columns):
        return None
    points = frame.loc[(frame["truncation_rms"] > 0) & frame["nfe"].notna()]
    if points.empty:
        return None
    import plotly.graph_objects as go  # heavy

    axes = tuple(axis for axis in (*layout.rows, *layout.columns) if axis != STEPS)
    lines: dict[str, dict[int, list[float]]] = {}
    for row in points.to_dict("records"):
        lines.setdefault(_name(row, axes), {}).setdefault(int(row["nfe"]), []).append(row["truncation_rms"])
    figure, colours = go.Figure(), _palette()
    for number, (name, line) in enumerate(lines.items()):
        figure.add_scatter(
            x=sorted(line),
            y=[statistics.fmean(line[nfe]) for nfe in sorted(line)],
            mode="lines+markers",
            name=name,
            line={"color": colours[number % len(colours)], "dash": DASHES[number // len(colours) % len(DASHES)]},
            hovertemplate="%{x} evaluations: %{y:.3g} grey levels",
        )
    figure.update_layout(**_look("network evaluations per image", "truncation error (grey levels)", len(lines)))
    figure.update_xaxes(**_log_axis(points["nfe"].tolist()))
    figure.update_yaxes(**_log_axis(points["truncation_rms"].tolist()))
    return figure


def _name(row: dict[Any, Any], axes: tuple[str, ...]) -> str:
    parts = (
        row[axis] if isinstance(row[axis], str) else f"{name}={show_value(row[axis])}"
        for axis, name in zip(axes, short_axes(axes), strict=True)
    )
    return ", ".join(parts) or "all"


def loss_figure(curves: pd.DataFrame) -> Figure | None:
    """Loss curves; None where there are none.

    Solid with markers on the val split, at fixed noise; faint and smoothed on the batches that were trained on.
    """
    if curves.empty:
        return None
    import plotly.graph_objects as go  # heavy

    figure, colours = go.Figure(), _palette()
    groups = curves.groupby("training", sort=False)
    for number, (name, curve) in enumerate(groups):
        seen, held_out = curve.dropna(subset="loss"), curve.dropna(subset="val_loss")
        look: dict[str, Any] = {
            "name": str(name),
            "legendgroup": str(name),
            "line_color": colours[number % len(colours)],
        }
        smooth = seen["loss"].ewm(halflife=5).mean()
        figure.add_scatter(x=seen["kimg"], y=smooth, opacity=0.35, showlegend=False, hovertemplate=HOVER, **look)
        figure.add_scatter(
            x=held_out["kimg"], y=held_out["val_loss"], mode="lines+markers", hovertemplate=HOVER, **look
        )
    figure.update_layout(**_look("images seen (thousands)", "weighted denoising loss", groups.ngroups))
    figure.update_yaxes(**_log_axis([*curves["loss"], *curves["val_loss"]]))
    return figure


def _log_axis(values: list[float]) -> dict[str, Any]:
    """A logarithmic axis with whole numbers at 1, 2 and 5 of every power of ten that `values` span."""
    known = [value for value in values if value > 0]
    low, high = (math.floor(math.log10(ends(known, default=1))) for ends in (min, max))
    ticks = [digit * 10.0**power for power in range(low, high + 1) for digit in (1, 2, 5)]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _palette() -> list[str]:
    import plotly.express as px  # heavy

    return px.colors.qualitative.D3


def _look(x: str, y: str, names: int = 0, height: int = 0) -> dict[str, Any]:
    """What all figures have in common; many names stand beside the figure, few above it."""
    above = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    beside = {"orientation": "v", "y": 1, "x": 1.02}
    return {
        "template": "plotly_white",
        "height": height or max(450, 130 + 19 * names),
        "margin": {"l": 60, "r": 20, "t": 70, "b": 50},  # above the legend: plotly's buttons
        "xaxis_title": x,
        "yaxis_title": y,
        "legend": beside if names > SIDE_LEGEND else above,
        "font": {"family": "system-ui, sans-serif", "color": "#1d2430"},
    }
