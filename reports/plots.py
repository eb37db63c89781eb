"""Draws charts as SVG and PDF at the width of a paper's column."""

# matplotlib's functions are partly untyped
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.charts import COLOURS, Chart, ChartPoint, Series, tick_label, ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMN_INCHES = 3.4  # the width of a column in a paper of two columns
HEIGHT_INCHES = 2.4
CATEGORY_INCHES = 0.13
LEGEND_INCHES = 0.16  # for each row of the legend
LONG_NAME = 22  # letters of a series from which on two do not fit beside each other in the legend
LETTERS = 52  # that fit side by side along the x axis
LONG_LABEL, SMALL_SIZE = 24, 4.5  # letters of a category from which on labels are smaller, and their size
FORMATS = ("svg", "pdf")
MARKERS = "osD^"
STYLE: dict[Any, Any] = {
    "font.size": 7,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name with $ in it is no formula
    "svg.hashsalt": "edm-sweep",  # the same chart makes the same file
}


def write_figures(charts: Iterable[Chart], folder: Path) -> list[Path]:
    """Write every chart as SVG and PDF, and their captions; return the files."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # else it says where its cache of fonts is
    import matplotlib

    matplotlib.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    captions: list[str] = []
    for chart in charts:
        with matplotlib.rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # PDF shows a box, SVG has the text
            made += _save(chart, folder)
        captions.append(f"{chart.key}: {chart.title}. {chart.caption}\n")
    (folder / "captions.txt").write_text("\n".join(captions), encoding="utf-8")
    return [*made, folder / "captions.txt"]


def _save(chart: Chart, folder: Path) -> list[Path]:
    from matplotlib.figure import Figure

    legend = chart.legend
    columns = 1 if any(len(series.name) >= LONG_NAME for series in legend) else 2
    rows = math.ceil(len(legend) / columns)
    body = max(HEIGHT_INCHES, 0.7 + CATEGORY_INCHES * len(chart.y.categories))
    figure = Figure(figsize=(COLUMN_INCHES, body + LEGEND_INCHES * rows), layout="constrained")
    axes = figure.add_subplot()
    for series in chart.series:
        _draw(axes, series)
    _dress(axes, chart)
    if legend:
        figure.legend(loc="outside upper center", ncols=columns, frameon=False, title=chart.legend_title or None)
    paths = [folder / f"{chart.key}.{format_}" for format_ in FORMATS]
    for path in paths:
        dates = {"Date": None} if path.suffix == ".svg" else {"CreationDate": None}
        drawn = BytesIO()  # a file on a full disk would end in matplotlib's own error, not in the system's
        figure.savefig(drawn, format=path.suffix[1:], metadata=dates)
        path.write_bytes(drawn.getvalue())
    return paths


def _dress(axes: Axes, chart: Chart) -> None:
    """Set the scales, labels and lines of a chart, with the ticks that it has on the page."""
    for name, axis, ends in (("x", chart.x, chart.x_range()), ("y", chart.y, chart.y_range())):
        if axis.is_log:
            axes.set(**{f"{name}scale": "log"})
        places = range(len(axis.categories)) if axis.categories else ticks(*ends, axis.is_log)
        if name == "x" and not axis.categories:
            places = _apart(places, ends, axis.is_log)
        labels = axis.categories or tuple(map(tick_label, places))
        axes.set(
            **{f"{name}ticks": places, f"{name}ticklabels": labels, f"{name}lim": ends, f"{name}label": axis.title}
        )
    axes.minorticks_off()
    if max(map(len, chart.y.categories), default=0) > LONG_LABEL:
        axes.tick_params(axis="y", labelsize=SMALL_SIZE)
    if chart.line is not None:
        axes.axvline(chart.line[0], color=COLOURS[1], linestyle="--", linewidth=0.8)
    axes.grid(alpha=0.25, linewidth=0.4)


def _apart(places: Iterable[float], ends: tuple[float, float], is_log: bool) -> list[float]:
    """Return those ticks of the x axis whose labels do not touch the one before."""
    low, high = map(math.log, ends) if is_log else ends
    kept: list[float] = []
    free_from = -math.inf
    for place in places:
        at = LETTERS * ((math.log(place) if is_log else place) - low) / (high - low)
        width = len(tick_label(place)) + 1
        if at - width / 2 >= free_from:
            kept.append(place)
            free_from = at + width / 2
    return kept


def _draw(axes: Axes, series: Series) -> None:
    colour, points = COLOURS[series.colour], series.points
    x, y = [p.x for p in points], [p.y for p in points]
    alpha = 0.35 if series.is_faint else 1.0
    label = series.name if series.name and not series.is_faint else "_"
    line = ("--" if series.is_dashed else "-") if series.is_line else "none"
    marker = MARKERS[series.colour % len(MARKERS)] if series.has_markers else "none"
    axes.plot(x, y, linestyle=line, marker="none", color=colour, alpha=alpha)
    fill = "none" if series.is_hollow else "full"
    axes.plot([], [], linestyle=line, marker=marker, fillstyle=fill, color=colour, alpha=alpha, label=label)
    if not series.has_markers:
        return
    x_margins, y_margins = _margins(points, "x_margin"), _margins(points, "y_margin")
    if x_margins or y_margins:
        axes.errorbar(x, y, xerr=x_margins, yerr=y_margins, fmt="none", ecolor=colour, elinewidth=0.7)
    fills = [("none" if p.is_hollow else colour) for p in points]
    axes.scatter(x, y, s=9, marker=marker, facecolors=fills, edgecolors=colour, linewidths=0.7, zorder=3)


def _margins(points: Iterable[ChartPoint], which: str) -> list[float] | None:
    """The margins of all points; None if none is known."""
    found = [getattr(point, which) or 0.0 for point in points]
    return found if any(found) else None
