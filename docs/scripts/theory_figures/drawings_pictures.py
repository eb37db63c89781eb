"""Draws the figures of images."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from theory_figures.drawings_plane import subplots
from theory_figures.plane import Arrays
from theory_figures.style import Theme

Grid = list[tuple[str, NDArray[np.floating]]]  # title of each row, and its images [n, c, h, w]


def _grid(rows: Grid, heads: list[str], height: float, low: float = -1.0, high: float = 1.0) -> Figure:
    """Draw rows of images with a title left of each row and one above each column."""
    figure, axes = subplots(len(rows), len(heads), height)
    for row, (title, images) in enumerate(rows):
        for column, image in enumerate(images):
            panel: Axes = axes[row, column]
            panel.imshow(image[0], cmap="gray", vmin=low, vmax=high)
            panel.set(xticks=[], yticks=[])
            for spine in panel.spines.values():
                spine.set_visible(False)
            if row == 0:
                panel.set_title(heads[column])
        axes[row, 0].set_ylabel(title, rotation=0, ha="right", va="center", labelpad=6)
    return figure


def denoising(data: Arrays, _theme: Theme) -> Figure:
    """Draw the states and the network's outputs of some images, step by step; the last column is the image."""
    heads = [*(f"σ = {sigma:.3g}" for sigma in data["sigma"]), "image"]
    rows: Grid = []
    for image in range(3):
        final = data["images"][image][None]
        rows.append(("state x", np.concatenate([data["states"][:, image], final])))
        rows.append(("D(x; σ)", np.concatenate([data["denoised"][:, image], final])))
    return _grid(rows, heads, 6.6)


def slope_digits(data: Arrays, _theme: Theme) -> Figure:
    """Draw a digit's states, where the slope of its path points, and the network's output."""
    heads = [f"σ = {sigma:.2g}" for sigma in data["sigma"]]
    image = 2
    rows: Grid = [
        ("state x", data["states"][:, image]),
        ("x - σ dx/dσ,\nfrom the path", data["pointed"][:, image]),
        ("D(x; σ),\nof the network", data["denoised"][:, image]),
    ]
    return _grid(rows, heads, 4.6)


def targets(data: Arrays, _theme: Theme) -> Figure:
    """Draw what the network gets and what it is asked for, for one image."""
    heads = [f"σ = {sigma:g}" for sigma in data["sigma"]]
    rows: Grid = [("input\nc_in x", data["inputs"]), ("target\nof F", data["targets"])]
    return _grid(rows, heads, 3.6, low=-2.2, high=2.2)


def neighbours(data: Arrays, _theme: Theme) -> Figure:
    """Draw images above their nearest training images, and above those that a reshape instead of a transpose finds."""
    rows: Grid = [
        ("drawn", data["drawn"]),
        ("nearest\nin pixels", data["pixels"]),
        ("nearest\nin features", data["features"]),
        ("what a reshape\ncompared", data["compared"].clip(0, 255)),
        ("and the images\nit returned", data["scrambled"]),
    ]
    return _grid(rows, [""] * len(data["drawn"]), 5.9, low=0, high=255)
