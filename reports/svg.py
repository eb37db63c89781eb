"""Draws charts as SVG for the page. Colours are classes, so that the page's style decides between light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from reports.charts import Axis, Chart, ChartPoint, Series, tick_label, ticks

WIDTH, HEIGHT = 720, 380
ROW_HEIGHT = 20  # of a category
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 46
LETTER = 6.6  # width of a letter in a label
MOST_LABEL = 0.55  # of the width, for names of categories
MARKERS = ("circle", "square", "diamond", "triangle")
SIZE = 3.6
Scale = Callable[[float], float]


@dataclass(frozen=True)
class _Frame:
    """Where a chart's points lie on the picture."""

    left: float
    right: float
    top: float
    bottom: float
    x: Scale
    y: Scale


def to_svg(chart: Chart) -> str:
    """Return a chart as an SVG element with a text for every point."""
    labels = chart.y.categories
    height = TOP + BOTTOM + ROW_HEIGHT * len(labels) if labels else HEIGHT
    x_range, y_range = chart.x_range(), chart.y_range()
    box = (_left(chart.y, y_range), WIDTH - RIGHT, TOP, height - BOTTOM)
    frame = _Frame(
        *box,
        _scale(*x_range, box[0], box[1], chart.x.is_log),
        _scale(*y_range, box[3], box[2], chart.y.is_log),
    )
    parts = [*_x_axis(chart.x, x_range, frame), *_y_axis(chart.y, y_range, frame), *_line(chart, frame)]
    parts += [part for series in chart.series for part in _series(series, frame)]
    name = escape(f"{chart.title}. {chart.caption}")
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{name}">{"".join(parts)}</svg>'


def marker_svg(series: Series) -> str:
    """Return the small picture that a legend shows for a series."""
    dash = " dashed" if series.is_dashed else ""
    sign = _marker(11, 6, series.colour, "", hollow=series.is_hollow) if series.has_markers else ""
    line = f'<line class="stroke c{series.colour}{dash}" x1="0" y1="6" x2="22" y2="6"/>' if series.is_line else ""
    return f'<svg viewBox="0 0 22 12" width="22" height="12" aria-hidden="true">{line}{sign}</svg>'


def _left(axis: Axis, ends: tuple[float, float]) -> float:
    """Return how much room the labels of the y axis need, beside its title where it has one."""
    labels, beside = axis.categories, 14
    if not labels:
        labels, beside = tuple(map(tick_label, ticks(*ends, axis.is_log))), 30
    widest = max(map(len, labels), default=0) * LETTER + beside
    return min(max(LEFT, widest), MOST_LABEL * WIDTH)


def _scale(low: float, high: float, start: float, end: float, is_log: bool) -> Scale:
    a, b = (math.log10(low), math.log10(high)) if is_log else (low, high)
    return lambda value: start + (end - start) * ((math.log10(value) if is_log else value) - a) / ((b - a) or 1)


def _x_axis(axis: Axis, ends: tuple[float, float], frame: _Frame) -> Iterator[str]:
    for tick in ticks(*ends, axis.is_log):
        x = frame.x(tick)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top:.1f}" y2="{frame.bottom:.1f}"/>'
        yield _centred("tick", x, frame.bottom + 16, tick_label(tick))
    yield _centred("title", (frame.left + frame.right) / 2, frame.bottom + 36, axis.title)


def _centred(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{escape(text)}</text>'


def _y_axis(axis: Axis, ends: tuple[float, float], frame: _Frame) -> Iterator[str]:
    if axis.categories:
        room = int((frame.left - 14) / LETTER)
        for i, label in enumerate(axis.categories):
            y = frame.y(i)
            text = label if len(label) <= room else f"{label[: room - 1]}…"
            yield f'<line class="grid" x1="{frame.left:.1f}" x2="{frame.right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield (
                f'<text class="tick" x="{frame.left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">'
                f"<title>{escape(label)}</title>{escape(text)}</text>"
            )
        return
    for tick in ticks(*ends, axis.is_log):
        y = frame.y(tick)
        yield f'<line class="grid" x1="{frame.left:.1f}" x2="{frame.right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{frame.left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick_label(tick)}</text>'
    middle = (frame.top + frame.bottom) / 2
    yield (
        f'<text class="title" transform="translate(14 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(axis.title)}</text>"
    )


def _line(chart: Chart, frame: _Frame) -> Iterator[str]:
    if chart.line is not None:
        x = f"{frame.x(chart.line[0]):.1f}"
        yield f'<line class="reference" x1="{x}" x2="{x}" y1="{frame.top:.1f}" y2="{frame.bottom:.1f}">'
        yield f"<title>{escape(chart.line[1])}</title></line>"


def _series(series: Series, frame: _Frame) -> Iterator[str]:
    places = [(frame.x(point.x), frame.y(point.y)) for point in series.points]
    if series.is_line and len(places) > 1:
        looks = f"{' faint' if series.is_faint else ''}{' dashed' if series.is_dashed else ''}"
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline class="stroke c{series.colour}{looks}" points="{path}"/>'
    if not series.has_markers:
        return
    for point, (x, y) in zip(series.points, places, strict=True):
        yield from _bars(point, x, y, series.colour, frame)
        yield _marker(x, y, series.colour, point.text, hollow=point.is_hollow)


def _bars(point: ChartPoint, x: float, y: float, colour: int, frame: _Frame) -> Iterator[str]:
    if point.x_margin:
        ends = [frame.x(point.x + sign * point.x_margin) for sign in (-1, 1)]
        yield f'<line class="stroke c{colour}" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    if point.y_margin:
        ends = [_within(point.y + sign * point.y_margin, point.y, frame) for sign in (-1, 1)]
        yield f'<line class="stroke c{colour}" x1="{x:.1f}" x2="{x:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}"/>'


def _within(end: float, value: float, frame: _Frame) -> float:
    """The place of an interval's end; on a logarithmic axis, one below 0 is at the axis."""
    try:
        return frame.y(end)
    except ValueError:
        return frame.bottom if end < value else frame.top


def _marker(x: float, y: float, colour: int, text: str, *, hollow: bool) -> str:
    """A point whose shape depends on its colour, for those who do not see the colour."""
    look = f'class="{"hollow" if hollow else "fill"} c{colour}"'
    shape = MARKERS[colour % len(MARKERS)]
    if shape == "circle":
        body = f'circle {look} cx="{x:.1f}" cy="{y:.1f}" r="{SIZE}"'
        return f"<{body}><title>{escape(text)}</title></circle>" if text else f"<{body}/>"
    corners = _corners(shape, x, y)
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
    return f'<polygon {look} points="{path}">{f"<title>{escape(text)}</title>" if text else ""}</polygon>'


def _corners(shape: str, x: float, y: float) -> Sequence[tuple[float, float]]:
    if shape == "square":
        s = SIZE * 0.9
        return (x - s, y - s), (x + s, y - s), (x + s, y + s), (x - s, y + s)
    s = SIZE * 1.3
    if shape == "diamond":
        return (x, y - s), (x + s, y), (x, y + s), (x - s, y)
    return (x, y - s), (x + s, y + s * 0.8), (x - s, y + s * 0.8)
