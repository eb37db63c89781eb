"""How figures look: one style for a light page and one for a dark one, with the same meaning of colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Theme:
    """The colours of one page: of text and lines, of curves that are compared, and of densities.

    grey: of axes, and of curves that stand behind others. faint: of what may nearly vanish. panel: the page itself.
    """

    name: str
    text: str
    grey: str
    faint: str
    panel: str
    blue: str
    orange: str
    green: str
    pink: str
    density: LinearSegmentedColormap

    @property
    def series(self) -> tuple[str, ...]:
        """Colours of curves in their order."""
        return self.blue, self.orange, self.green, self.pink


# Okabe and Ito's colours, which the colour-blind can tell apart, lighter on the dark page
LIGHT = Theme(
    *("light", "#1f2328", "#7d8590", "#c3c8cf", "#ffffff", "#0072b2", "#d55e00", "#00795a", "#b0478b"),
    LinearSegmentedColormap.from_list("light", ["#ffffff", "#cfe0ef", "#7fa8cf"]),
)
DARK = Theme(
    *("dark", "#e4e6eb", "#8b93a4", "#4c5261", "#1e2129", "#66b6ee", "#ff9a52", "#3fcfa2", "#ec93c8"),
    LinearSegmentedColormap.from_list("dark", ["#1e2129", "#28405a", "#3f6f9e"]),
)
THEMES = LIGHT, DARK
PNG_DPI = 150  # 1,440 pixels wide: sharp on a slide


def save(draw: Callable[[Theme], Figure], name: str, folder: Path) -> None:
    """Write a figure for both pages, as NAME-light.svg and NAME-dark.svg, and as PNG with the page's background."""
    for theme in THEMES:
        with mpl.rc_context(_settings(theme)):
            figure, path = draw(theme), folder / f"{name}-{theme.name}"
            figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None})
            pixels = {"facecolor": theme.panel, "dpi": PNG_DPI, "pil_kwargs": {"optimize": True}}
            figure.savefig(path.with_suffix(".png"), metadata={"Software": None}, **pixels)


def _settings(theme: Theme) -> dict[str, object]:
    coloured = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor")
    return {
        **dict.fromkeys(coloured, theme.text),
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), theme.grey),
        "xtick.labelcolor": theme.text,
        "ytick.labelcolor": theme.text,
        "axes.facecolor": theme.panel,
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": mpl.cycler(color=theme.series),
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "axes.titlesize": 10.5,
        "axes.labelsize": 10,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "lines.linewidth": 1.8,
        "svg.fonttype": "path",  # looks the same on every machine
        "svg.hashsalt": "theory",  # the same names of elements every time
        "image.interpolation": "nearest",
        "figure.dpi": 100,
        "savefig.dpi": 110,  # of what is rasterised
    }
