"""Draws the figures in the plane."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from theory_figures.mixture import arms
from theory_figures.plane import GUIDED, HALF, Arrays, guided_summary, square
from theory_figures.style import Theme

EXTENT = (-HALF, HALF, -HALF, HALF)
WIDTH = 9.6  # inches, of every figure
SETS = np.linspace(0, 1, 9)  # of level sets, as shares of the largest density to the power of 0.6
FIRST_TRAIL = 6  # steps of the paths in the first panel; the others show the paths from one panel to the next


def subplots(rows: int, columns: int, height: float) -> tuple[Figure, NDArray[np.object_]]:
    """Return a figure with equal panels, laid out so that nothing overlaps."""
    figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06))
    return figure, figure.subplots(rows, columns, squeeze=False)


def field(data: Arrays, theme: Theme) -> Figure:
    """Draw density, score and paths at each noise level, without churn above and with it below."""
    figure, axes = subplots(2, len(data["sigma"]), 5.2)
    for row, (name, label) in enumerate((("deterministic", "no churn"), ("churned", "with churn"))):
        for column, sigma in enumerate(data["sigma"]):
            panel: Axes = axes[row, column]
            _density(panel, data["log_density"][column], theme)
            if row == 0:
                _arrows(panel, data["score"][column], theme)
                panel.set_title(f"σ = {sigma:g}")
            before = data["sigma"][column - 1] if column else None
            _trails(panel, data, name, (before, sigma), theme)
            _plain(panel)
        axes[row, 0].set_ylabel(label)
    return figure


def _density(panel: Axes, log_density: NDArray[np.floating], theme: Theme) -> None:
    """Draw level sets of a density, at fixed shares of its maximum."""
    share = np.exp(log_density - log_density.max())
    axis = np.linspace(-HALF, HALF, len(share))
    shaded = panel.contourf(axis, axis, share**0.6, levels=SETS, cmap=theme.density)
    edges = panel.contour(axis, axis, share**0.6, levels=SETS[1:-1], colors=[theme.faint], linewidths=0.5)
    for sets in (shaded, edges):
        sets.set_rasterized(True)  # as lines they would be most of the file


def _arrows(panel: Axes, vectors: NDArray[np.floating], theme: Theme) -> None:
    """Draw the directions of vectors on the grid, shorter where they are small."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    shown = vectors / length * np.sqrt(np.minimum(1, length / np.quantile(length, 0.8)))
    points = square(int(np.sqrt(len(vectors)))).numpy()
    panel.quiver(*points.T, *shown.T, color=theme.text, alpha=0.55, scale=19, width=0.006, headwidth=4)


def _trails(panel: Axes, data: Arrays, name: str, between: tuple[float | None, float], theme: Theme) -> None:
    """Draw the paths from one noise level to the next, and the states there."""
    sigmas, states = data[f"{name}_sigmas"], data[f"{name}_states"]
    first, last = (None if each is None else int(np.abs(np.log(sigmas[:-1] / each)).argmin()) for each in between)
    assert last is not None
    for path in states[last - FIRST_TRAIL if first is None else first : last + 1].transpose(1, 2, 0):
        panel.plot(*path, color=theme.orange, linewidth=1.1, alpha=0.9)
    panel.scatter(*states[last].T, color=theme.orange, s=11, zorder=3, linewidths=0)


def _plain(panel: Axes) -> None:
    panel.set(xlim=EXTENT[:2], ylim=EXTENT[2:], xticks=[], yticks=[], aspect="equal")


def guidance(data: Arrays, theme: Theme) -> Figure:
    """Draw what guidance adds to the slope, and where points of a class end in each way of guiding."""
    figure, axes = subplots(2, 3, 6.6)
    panels: list[Axes] = list(axes.flat)
    _density(panels[0], data["log_density_noisy"], theme)
    _arrows(panels[0], data["added"], theme)
    panels[0].set_title("what guidance adds to the step\n(σ = 0.5; shaded: the class)")
    summary = guided_summary(data)
    axis = np.linspace(-HALF, HALF, len(data["log_density"]))
    share = np.exp(data["log_density"] - data["log_density"].max())
    for number, (panel, title) in enumerate(zip(panels[1:], GUIDED, strict=True)):
        counts, _, _ = np.histogram2d(*data[f"points_{number}"].T, bins=72, range=[EXTENT[:2], EXTENT[2:]])
        panel.imshow(_smooth(counts).T ** 0.6, extent=EXTENT, origin="lower", cmap=theme.density, interpolation="none")
        panel.contour(axis, axis, share, levels=[0.1], colors=[theme.orange], linewidths=1.3)
        other = arms()[1].means.numpy()
        panel.scatter(*other.T, color=theme.pink, marker="x", s=26, linewidths=1.3)
        panel.set_title(title)
        text = f"spread {summary['spread'][number]:.2f}\nln p(x | class) {summary['log_density'][number]:.2f}"
        panel.text(0.03, 0.03, text, transform=panel.transAxes, fontsize=9, va="bottom")
    for panel in panels:
        _plain(panel)
    return figure


def _smooth(counts: NDArray[np.floating]) -> NDArray[np.floating]:
    """Average every bin with its neighbours."""
    kernel = np.array([0.25, 0.5, 0.25])
    for axis in (0, 1):
        counts = np.apply_along_axis(np.convolve, axis, counts, kernel, mode="same")
    return counts
