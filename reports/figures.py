"""Draws a page's interactive figures: scores with their intervals, truncation errors and losses."""

# plotly has no type stubs
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from reports.entries import TableEntry
from reports.layout import Layout
from reports.metrics import METRICS, PREFERRED_SPLITS
from reports.tables import ResultTable
from reports.values import label_value, short_axes

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

LOSS_HOVER = "%{x:.4g} kimg: loss %{y:.4f}"
STEPS = "sampling.steps"
MAX_DOTS = 60
FARTHEST_BASELINE = 2.0  # in spans of all dots; drawing one that is farther away would squeeze the dots together
DASHES = ("solid", "dash", "dot")
BEST_COLOUR, OTHER_COLOUR, BASELINE_COLOUR = "#067647", "#667085", "#b54708"
MAX_NAMES_ABOVE = 6  # legends with more names stand beside the figure


def embed(figures: dict[str, Figure | None]) -> dict[str, str]:
    """Return the figures that are not None as HTML fragments of one page; the first contains plotly's script."""
    present = {name: figure for name, figure in figures.items() if figure is not None}
    config = {"displaylogo": False, "responsive": True}
    return {
        name: str(figure.to_html(full_html=False, include_plotlyjs=i == 0, config=config, div_id=f"figure-{name}"))
        for i, (name, figure) in enumerate(present.items())
    }


def score_figure(table: ResultTable) -> Figure | None:
    """Draw every FID of a table with its 95% interval, in the table's order, and that of real images as a line.

    Shows one split: test, else val, else train. None if there are fewer than two intervals or too many dots to read.
    """
    metric = next((f"fid_{s}" for s in PREFERRED_SPLITS if f"fid_{s}" in {head.metric for head in table.heads}), None)
    dots = [(name, entry) for name, entry in _named_entries(table, metric) if entry.mean is not None]
    if metric is None or sum(bool(entry.margin) for _, entry in dots) < 2 or len(dots) > MAX_DOTS:
        return None
    import plotly.graph_objects as go  # slow to import

    figure = go.Figure()
    _add_dots(figure, "best, or not significantly different from the best", BEST_COLOUR, [d for d in dots if d[1].mark])
    _add_dots(figure, "significantly worse than the best", OTHER_COLOUR, [d for d in dots if not d[1].mark])
    ends = [entry.mean + sign * (entry.margin or 0) for _, entry in dots if entry.mean is not None for sign in (-1, 1)]
    low, high = min(ends), max(ends)
    low = _add_baseline(figure, table, metric, low, high)
    figure.update_layout(**_appearance(METRICS[metric].title, "", height=150 + 22 * len(dots)))
    figure.update_xaxes(range=[low - 0.04 * (high - low), high + 0.04 * (high - low)])
    order = [name for name, _ in dots]
    figure.update_yaxes(categoryorder="array", categoryarray=order, autorange="reversed", automargin=True, dtick=1)
    return figure


def _named_entries(table: ResultTable, metric: str | None) -> list[tuple[str, TableEntry]]:
    """The entries of a metric, each named after its row and column."""
    columns = [(i, head.axis_values) for i, head in enumerate(table.heads) if head.metric == metric]
    rows = [(label, entries) for label, (_, entries) in zip(table.row_labels, table.rows, strict=True)]
    return [(", ".join((label, *values)), entries[i]) for label, entries in rows for i, values in columns]


def _add_dots(figure: Figure, title: str, colour: str, dots: list[tuple[str, TableEntry]]) -> None:
    figure.add_scatter(
        x=[entry.mean for _, entry in dots],
        y=[name for name, _ in dots],
        error_x={"type": "data", "array": [entry.margin or 0 for _, entry in dots], "thickness": 1.5, "width": 3},
        mode="markers",
        marker={"color": colour, "size": 8},
        name=title,
        showlegend=bool(dots),
        customdata=[entry.text for _, entry in dots],
        hovertemplate="%{y}: %{customdata}<extra></extra>",
    )


def _add_baseline(figure: Figure, table: ResultTable, metric: str, low: float, high: float) -> float:
    """Draw the score of real images as a line; returns where the axis starts, which leaves out a line far below."""
    column = next(i for i, head in enumerate(table.heads) if head.metric == metric)
    for row in table.baselines:
        entry = row.entries[column]
        if row.kind != "real" or entry.mean is None:
            continue
        is_near = low - entry.mean < FARTHEST_BASELINE * (high - low)
        name = f"{row.title}: {entry.text}" if is_near else f"{row.title}: {entry.text}, outside the figure to the left"
        line = {"color": BASELINE_COLOUR, "dash": "dash"}
        figure.add_vline(entry.mean, line=line, name=name, showlegend=True)
        low = min(low, entry.mean) if is_near else low
    return low


def truncation_figure(frame: pd.DataFrame, layout: Layout) -> Figure | None:
    """Draw truncation error against network evaluations, log-log, as a line for each combination of the other axes.

    Shows means over seeds. None if there is no error above 0.
    """
    if not {"truncation_rms", "nfe"} <= set(frame.columns):
        return None
    points = frame.loc[(frame["truncation_rms"] > 0) & frame["nfe"].notna()]
    if points.empty:
        return None
    import plotly.graph_objects as go  # slow to import

    axes = tuple(axis for axis in (*layout.rows, *layout.columns) if axis != STEPS)
    lines: dict[str, dict[int, list[float]]] = {}
    for row in points.to_dict("records"):
        lines.setdefault(_line_name(row, axes), {}).setdefault(int(row["nfe"]), []).append(row["truncation_rms"])
    figure, colours = go.Figure(), _palette()
    for i, (name, line) in enumerate(lines.items()):
        figure.add_scatter(
            x=sorted(line),
            y=[statistics.fmean(line[nfe]) for nfe in sorted(line)],
            mode="lines+markers",
            name=name,
            line={"color": colours[i % len(colours)], "dash": DASHES[i // len(colours) % len(DASHES)]},
            hovertemplate="%{x} evaluations: %{y:.3g} grey levels",
        )
    figure.update_layout(**_appearance("network evaluations per image", "truncation error (grey levels)", len(lines)))
    figure.update_xaxes(**_log_axis(points["nfe"].tolist()))
    figure.update_yaxes(**_log_axis(points["truncation_rms"].tolist()))
    return figure


def _line_name(row: dict[Any, Any], axes: tuple[str, ...]) -> str:
    return ", ".join(label_value(name, row[axis]) for axis, name in zip(axes, short_axes(axes), strict=True)) or "all"


def loss_figure(curves: pd.DataFrame) -> Figure | None:
    """Draw the loss curves of all trainings; None if there are none.

    Solid with markers: on the val split at fixed noise. Faint and smoothed: on the training batches.
    """
    if curves.empty:
        return None
    import plotly.graph_objects as go  # slow to import

    figure, colours = go.Figure(), _palette()
    groups = curves.groupby("training", sort=False)
    for i, (name, curve) in enumerate(groups):
        batches, validation = curve.dropna(subset="loss"), curve.dropna(subset="val_loss")
        look = {"name": str(name), "legendgroup": str(name), "line_color": colours[i % len(colours)]}
        look["hovertemplate"] = LOSS_HOVER
        smooth = batches["loss"].ewm(halflife=5).mean()
        figure.add_scatter(x=batches["kimg"], y=smooth, opacity=0.35, showlegend=False, **look)
        figure.add_scatter(x=validation["kimg"], y=validation["val_loss"], mode="lines+markers", **look)
    figure.update_layout(**_appearance("images seen (thousands)", "weighted denoising loss", groups.ngroups))
    figure.update_yaxes(**_log_axis([*curves["loss"], *curves["val_loss"]]))
    return figure


def _log_axis(values: Iterable[float]) -> dict[str, Any]:
    """A logarithmic axis with labels at 1, 2 and 5 of every power of ten that `values` span."""
    positive = [value for value in values if value > 0]
    low, high = (math.floor(math.log10(end(positive, default=1.0))) for end in (min, max))
    ticks = [digit * 10.0**power for power in range(low, high + 1) for digit in (1, 2, 5)]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _palette() -> list[str]:
    import plotly.express as px  # slow to import

    return list(px.colors.qualitative.D3)


def _appearance(x_title: str, y_title: str, num_names: int = 0, height: int = 0) -> dict[str, Any]:
    """The layout that all figures share: a legend of many names stands beside the figure, of few above it."""
    above = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    beside = {"orientation": "v", "y": 1, "x": 1.02}
    return {
        "template": "plotly_white",
        "height": height or max(450, 130 + 19 * num_names),
        "margin": {"l": 60, "r": 20, "t": 70, "b": 50},  # leaves room above the legend for plotly's buttons
        "xaxis_title": x_title,
        "yaxis_title": y_title,
        "legend": beside if num_names > MAX_NAMES_ABOVE else above,
        "font": {"family": "system-ui, sans-serif", "color": "#1d2430"},
    }
