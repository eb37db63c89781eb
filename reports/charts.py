"""Charts as data: what a page's SVG and a paper's PDF are both drawn from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# after Okabe and Ito's, which colour-blind people tell apart; brown and purple for their orange and sky blue, which are
# not visible on white or, when darkened, like the vermilion and the blue
COLOURS = ("#0072b2", "#d55e00", "#00805c", "#b5508a", "#6b4a00", "#7a3fd0", "#4d4d4d")
NUM_COLOURS = len(COLOURS)
MAX_COLOURED = 7  # values of the axis that colours show
MAX_SERIES = 24  # with more, which nobody could tell apart, a chart is left out


@dataclass(frozen=True)
class ChartPoint:
    """A point with half of its 95% intervals, if they are known, and what to say of it."""

    x: float
    y: float
    text: str
    x_margin: float | None = None
    y_margin: float | None = None
    is_hollow: bool = False


@dataclass(frozen=True)
class Series:
    """Points of one colour, joined by a line or not. is_faint: it is in the background of another, without a legend."""

    name: str
    colour: int
    points: tuple[ChartPoint, ...]
    is_line: bool = False
    is_faint: bool = False
    is_dashed: bool = False
    has_markers: bool = True

    @property
    def is_hollow(self) -> bool:
        """Whether all points are hollow, and so the marker in a legend."""
        return all(point.is_hollow for point in self.points)


@dataclass(frozen=True)
class Axis:
    """An axis of a chart. categories: names for the positions 0, 1, 2 ... from top to bottom."""

    title: str
    is_log: bool = False
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A chart. key: its file's name. line: a value of x to draw a line at, and its name."""

    key: str
    title: str
    caption: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    line: tuple[float, str] | None = None
    legend_title: str = ""

    @property
    def legend(self) -> list[Series]:
        """The series that a legend names."""
        named = [series for series in self.series if series.name and not series.is_faint]
        return named if len(named) > 1 else []

    def x_range(self) -> tuple[float, float]:
        """Return the ends of the x axis, intervals and line included."""
        ends = [end for p in self._points() for end in _ends(p.x, p.x_margin, self.x.is_log)]
        return _padded([*ends, *([self.line[0]] if self.line else [])], self.x.is_log)

    def y_range(self) -> tuple[float, float]:
        """Return the ends of the y axis, intervals included; categories run from top to bottom."""
        if self.y.categories:
            return len(self.y.categories) - 0.5, -0.5
        return _padded([e for p in self._points() for e in _ends(p.y, p.y_margin, self.y.is_log)], self.y.is_log)

    def _points(self) -> Iterable[ChartPoint]:
        return (point for series in self.series for point in series.points)


@dataclass
class Palette:
    """One colour for each value of an axis, the same in every chart. values: of every axis, in the table's order."""

    values: dict[str, list[object]] = field(default_factory=dict[str, list[object]])

    def colour(self, axis: str, value: object) -> int:
        """Return the number of a value's colour."""
        known = self.values.setdefault(axis, [])
        if value not in known:
            known.append(value)
        return known.index(value) % NUM_COLOURS


def ticks(low: float, high: float, is_log: bool) -> list[float]:
    """Return round numbers between two ends: about five or, over several powers of ten, 1, 2 and 5 of each."""
    if high <= low or not math.isfinite(high - low):
        return [low]
    if is_log and high > 10 * low:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        digits = (1, 2, 5) if len(powers) <= 4 else (1,)
        found = [digit * 10.0**power for power in powers for digit in digits]
        return [tick for tick in found if low <= tick <= high]
    size = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(size * factor for factor in (1, 2, 5, 10) if (high - low) / (size * factor) <= 6)
    first = math.ceil(low / step)
    return [round(i * step, 12) for i in range(first, math.floor(high / step) + 1)]


def tick_label(value: float) -> str:
    """Return a tick as people write it."""
    if 1e6 <= abs(value) < 1e9:
        return f"{value / 1e6:g} M"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:g}"


def finite(values: Iterable[float | str | None]) -> list[float]:
    """Return those values that are numbers; text stands for what means nothing in a cell."""
    return [value for value in values if isinstance(value, int | float) and math.isfinite(value)]


def _ends(value: float, margin: float | None, is_log: bool) -> list[float]:
    ends = [value - (margin or 0), value + (margin or 0)]
    return [end for end in ends if end > 0] if is_log else ends


def _padded(values: Sequence[float], is_log: bool) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if is_log:
        ratio = (high / low) ** 0.05 if high > low else 1.5
        return low / ratio, high * ratio
    room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return low - room, high + room
