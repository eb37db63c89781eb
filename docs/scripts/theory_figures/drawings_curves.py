"""Draws the figures over one number."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory_figures.curves import (
    BOTTOM,
    FITTED_FROM,
    METHODS,
    ONE_STEP,
    SCHEDULES,
    TANGENTS_AT,
    TOP,
    toy_solution,
)
from theory_figures.drawings_plane import subplots
from theory_figures.plane import Arrays
from theory_figures.style import Theme

NAMES = {"euler": "Euler", "heun": "Heun"}
TITLES = {"karras": "Karras (EDM)", "exponential": "exponential", "vp": "VP", "iddpm": "iDDPM"}


def solvers(data: Arrays, theme: Theme) -> Figure:
    """Draw one step with its slopes, a coarse solution, and errors by steps and by evaluations."""
    figure, axes = subplots(1, 4, 3.1)
    _one_step(axes[0, 0], data, theme)
    _coarse(axes[0, 1], data, theme)
    for panel, by_evaluations in ((axes[0, 2], False), (axes[0, 3], True)):
        _errors(panel, data, theme, by_evaluations)
    return figure


def _one_step(panel: Axes, data: Arrays, theme: Theme) -> None:
    start, end = ONE_STEP
    x, by_euler, by_heun = data["step_x"]
    sigma = np.linspace(0.2, 0.55, 60)
    panel.plot(sigma, toy_solution(x, start, sigma), color=theme.text, label="exact", linewidth=1.2)
    panel.plot([start, end], [x, by_euler], color=theme.blue, label="Euler")
    panel.plot([start, end], [x, by_heun], color=theme.orange, label="Heun")
    half = np.array([-0.05, 0.05])
    panel.plot(end + half, by_euler + half * data["step_slopes"][1], color=theme.blue, linestyle=":", linewidth=2.2)
    panel.scatter(
        [start, end, end], [x, by_euler, by_heun], color=[theme.text, theme.blue, theme.orange], s=22, zorder=3
    )
    panel.set(title="one step", xlabel="σ", ylabel="x", xlim=(0.56, 0.18))
    panel.legend(loc="upper right")


def _coarse(panel: Axes, data: Arrays, theme: Theme) -> None:
    sigma = np.linspace(BOTTOM, TOP, 100)
    panel.plot(sigma, toy_solution(4.0, TOP, sigma), color=theme.text, label="exact", linewidth=1.2)
    for name, color, marker in zip(METHODS, theme.series, "os", strict=False):
        panel.plot(data["coarse_sigmas"], data[f"{name}_coarse"], color=color, marker=marker, markersize=4, linewidth=1)
    panel.set(title="five steps", xlabel="σ", xscale="log", xlim=(TOP * 1.2, BOTTOM / 1.2))
    panel.set_xticks([5, 1, 0.1], ["5", "1", "0.1"])
    panel.minorticks_off()


def _errors(panel: Axes, data: Arrays, theme: Theme, by_evaluations: bool) -> None:
    """Draw errors, and beside each curve its fitted order."""
    for name, color, marker in zip(METHODS, theme.series, "os", strict=False):
        steps = data["steps"]
        cost = 2 * steps - 1 if by_evaluations and name == "heun" else steps
        panel.plot(cost, data[f"{name}_errors"], color=color, marker=marker, markersize=4, linewidth=1.2)
        if not by_evaluations:
            at = list(steps).index(FITTED_FROM)
            text = f"{NAMES[name]}\norder {float(data[f'{name}_order'][0]):.2f}"
            above = name == "euler"
            offset, align = ((4, 6), "bottom") if above else ((-4, -6), "top")
            place = {"xytext": offset, "textcoords": "offset points", "color": color}
            panel.annotate(
                text, (cost[at], data[f"{name}_errors"][at]), va=align, ha="left" if above else "right", **place
            )
    panel.set(xscale="log", yscale="log", xticks=[], ylim=(5e-6, 0.5))
    ticks = (4, 16, 64, 256)
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.minorticks_off()
    title, label = ("error by steps", "steps N")
    if by_evaluations:
        title, label = ("error by cost", "evaluations of D")
    panel.set(title=title, xlabel=label)


def slope(data: Arrays, theme: Theme) -> Figure:
    """Draw paths on a line with tangents that end at D, and state and D along one path."""
    figure, axes = subplots(1, 2, 3.6)
    left, right = axes[0]
    sigmas, paths, denoised = data["sigmas"], data["paths"], data["denoised"]
    share = data["density"] / data["density"].max(axis=0)
    look = {"origin": "lower", "aspect": "auto", "cmap": theme.density, "interpolation": "none"}
    left.imshow(share**0.6, extent=(0, 3, -4.5, 4.5), vmin=0, vmax=1.7, **look)  # pale: the paths lie on it
    left.plot(sigmas, paths, color=theme.grey, linewidth=1)
    for number, level in zip((3, 8, 5), TANGENTS_AT, strict=True):
        at = int(np.abs(sigmas - level).argmin())
        x, d = paths[at, number], denoised[at, number]
        left.plot(sigmas, paths[:, number], color=theme.blue, linewidth=1.6)
        left.plot([sigmas[at], 0], [x, d], color=theme.orange, linestyle="--", linewidth=1.5)
        left.scatter([sigmas[at]], [x], color=theme.blue, s=30, zorder=4)
        left.scatter([0], [d], color=theme.orange, s=40, zorder=4, clip_on=False)
    left.set(xlim=(3, 0), ylim=(-4.5, 4.5), xlabel="σ", ylabel="x", title="the tangent at x hits σ = 0 at D")
    number = 5
    right.plot(sigmas, paths[:, number], color=theme.blue, label="state x")
    right.plot(sigmas, denoised[:, number], color=theme.orange, linestyle="--", label="D(x; σ)")
    right.set(xscale="log", xlim=(3, 0.006), xlabel="σ", title="along one path, D arrives first")
    right.set_xticks([3, 1, 0.1, 0.01], ["3", "1", "0.1", "0.01"])
    right.minorticks_off()
    right.legend(loc="best")
    return figure


def preconditioning(data: Arrays, theme: Theme) -> Figure:
    """Draw the coefficients, the loss weight, and the variances that they keep at 1."""
    figure, axes = subplots(1, 3, 3.2)
    sigma, sigma_data = data["sigma"], float(data["sigma_data"][0])
    for name, style in (("c_skip", "-"), ("c_out", "--"), ("c_in", "-.")):
        axes[0, 0].plot(sigma, data[name], linestyle=style, label=name)
    axes[0, 0].set(title="coefficients")
    axes[0, 1].plot(sigma, data["weight"], label="loss weight λ")
    axes[0, 1].plot(sigma, data["weight"] * data["c_out"] ** 2, linestyle="--", label="λ c_out²")
    axes[0, 1].set(title="weight of the loss", yscale="log")
    panel = axes[0, 2]
    panel.plot(sigma, sigma**2 + sigma_data**2, color=theme.grey, label="of x")
    panel.plot(
        data["measured_at"], data["input_variance"], "o", markersize=8, markerfacecolor="none", label="of c_in x"
    )
    panel.plot(data["measured_at"], data["target_variance"], "x", color=theme.orange, label="of the target of F")
    panel.set(title="variance, measured on digits", yscale="log", ylim=(0.2, 2000))
    opaque = {"frameon": True, "framealpha": 1, "edgecolor": "none"}  # the dotted line passes behind it
    for panel, place in zip(axes[0], ("upper right", "upper right", "upper left"), strict=True):
        panel.legend(loc=place, **opaque)
        panel.axvline(sigma_data, color=theme.grey, linewidth=0.9, linestyle=":", zorder=0)
        panel.set(xscale="log", xlabel="σ", xlim=(0.002, 80))
    return figure


def schedules(data: Arrays, theme: Theme) -> Figure:
    """Draw noise levels by step, and where on the axis of noise levels the steps fall."""
    figure, axes = subplots(1, 2, 3.3)
    left, right = axes[0]
    for row, (name, color, style) in enumerate(zip(SCHEDULES, theme.series, ("-", "--", "-.", ":"), strict=True)):
        left.plot(data[name], color=color, linestyle=style, label=TITLES[name])
        right.vlines(data[name], len(SCHEDULES) - row - 0.32, len(SCHEDULES) - row + 0.32, color=color, linewidth=2)
    left.set(yscale="log", xlabel="step", ylabel="σ", title="noise level at each of 18 steps")
    left.set_xticks([0, 5, 10, 17])
    left.legend(loc="lower left")
    right.set(xscale="log", xlim=(110, 0.0014), xlabel="σ", title="where the steps fall")
    right.set_yticks([4, 3, 2, 1], [TITLES[name] for name in SCHEDULES])
    right.tick_params(axis="y", length=0)
    right.spines["left"].set_visible(False)
    return figure


def training_noise(data: Arrays, theme: Theme) -> Figure:
    """Draw the distribution of noise levels in training above the loss at each level."""
    figure, axes = subplots(1, 2, 3.2)
    left, right = axes[0]
    drawn = {"fill": True, "facecolor": theme.faint, "edgecolor": theme.grey, "linewidth": 0.7}
    left.stairs(data["histogram"], data["edges"], label="20,000 drawn in training", **drawn)
    left.plot(data["sigma"], data["density"], color=theme.blue, label="ln σ ~ N(-1.2, 1.2²)")
    left.set(title="noise levels of training", ylabel="density of ln σ", ylim=(0, 0.47))
    left.legend(loc="upper right")
    right.plot(
        data["levels"], data["untrained"], "s--", color=theme.orange, markersize=4, label="F = 0 (before training)"
    )
    right.plot(
        data["levels"], data["trained"], "o-", color=theme.blue, markersize=4, label="digits network, 50,000 images"
    )
    right.set(title="loss by noise level, val split", ylabel="weighted loss", ylim=(0, 1.62))
    right.legend(loc="upper left")
    for panel in (left, right):
        panel.set(xscale="log", xlabel="σ", xlim=(0.002, 80))
    return figure
