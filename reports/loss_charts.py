"""The charts of losses: against images seen, and at every noise level."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import pandas as pd

from reports.charts import MAX_COLOURED, MAX_SERIES, Axis, Chart, ChartPoint, Series
from reports.report import Report


def loss_charts(report: Report) -> Iterator[Chart]:
    """Yield the loss curves of all trainings, and the loss of the finished networks at every noise level.

    One without a number yet is left out.
    """
    curves, levels = report.curves, report.levels
    names = list(dict.fromkeys(curves["training"])) if not curves.empty else []
    if names and len(names) <= MAX_SERIES:
        lengths = curves.groupby("training")["kimg"].max()
        # a training that begins where a shorter one ended has its curve, which is drawn over it
        longest_first = sorted(enumerate(names), key=lambda numbered: -lengths[numbered[1]])
        series = list(itertools.chain.from_iterable(_loss_series(curves, name, i) for i, name in longest_first))
        caption = (
            "Lines with markers: loss of the averaged weights on the val split, always with the same noise. Faint "
            "lines: loss of the raw weights on the training batches, smoothed. The two cannot be compared."
        )
        yield from _of_losses("loss", "Loss against images seen", caption, Axis("images seen (thousands)"), series)
    trained = list(dict.fromkeys(levels["training"])) if not levels.empty else []
    if trained and len(trained) <= MAX_SERIES:
        series = [_level_series(levels, name, i) for i, name in enumerate(trained)]
        caption = (
            "Loss of the newest averaged weights on the val split at each noise level, with the same noise for all."
        )
        x = Axis("noise level sigma", is_log=True)
        yield from _of_losses("loss-by-noise", "Loss by noise level", caption, x, series)


def _of_losses(key: str, title: str, caption: str, x: Axis, series: Sequence[Series]) -> Iterator[Chart]:
    """Yield a chart of losses if there are any: logarithmic unless some are not above 0, as with a learned weight."""
    losses = [point.y for each in series for point in each.points]
    if losses:
        y = Axis("weighted denoising loss", is_log=min(losses) > 0)
        yield Chart(key, title, caption, x, y, tuple(series), None, "training")


def _loss_series(curves: pd.DataFrame, name: str, colour: int) -> Iterator[Series]:
    own = curves[curves["training"] == name]
    batches, validation = own.dropna(subset="loss"), own.dropna(subset="val_loss")
    smooth = batches["loss"].ewm(halflife=5).mean() if len(batches) else batches["loss"]
    faint = _curve(batches["kimg"].tolist(), smooth.tolist(), name)
    yield Series(name, colour % MAX_COLOURED, faint, is_line=True, is_faint=True, has_markers=False)
    points = _curve(validation["kimg"].tolist(), validation["val_loss"].tolist(), name)
    yield Series(name, colour % MAX_COLOURED, points, is_line=True, is_dashed=colour >= MAX_COLOURED)


def _level_series(levels: pd.DataFrame, name: str, colour: int) -> Series:
    own = levels[levels["training"] == name].sort_values("sigma")
    points = _curve(own["sigma"].tolist(), own["val_loss"].tolist(), name)
    return Series(name, colour % MAX_COLOURED, points, is_line=True, is_dashed=colour >= MAX_COLOURED)


def _curve(x: Sequence[float], y: Sequence[float], name: str) -> tuple[ChartPoint, ...]:
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return tuple(ChartPoint(a, b, f"{name} at {a:.4g}: {b:.4g}") for a, b in pairs)
