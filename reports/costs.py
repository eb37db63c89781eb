"""The columns of a table that say what its cells cost: parameters, network evaluations, training."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reports.entries import TableEntry, round_column
from reports.rows import CellRow


@dataclass(frozen=True)
class CostInfo:
    """How a cost is shown. column: of the frame. decimals: None for as many as show its first three digits."""

    column: str
    title: str
    scale: float = 1.0
    unit: str = ""
    decimals: int | None = None


COSTS = {
    "parameters": CostInfo("parameters", "parameters", 1e-6, " M"),
    "nfe": CostInfo("nfe", "NFE", decimals=0),
    "kimg": CostInfo("training.kimg", "kimg"),
    "training_s": CostInfo("training_s", "training, s", decimals=0),
    "gpu_hours": CostInfo("gpu_hours", "GPU-hours"),
    "matched_loss": CostInfo("matched_loss", "val loss", decimals=4),  # these two are of tables at equal compute
    "matched_kimg": CostInfo("matched_kimg", "kimg by then"),
}


def cost_entries(column: Sequence[Sequence[CellRow]], cost: str) -> list[TableEntry]:
    """Return the entries of one cost for the cells of every row, as means over seeds."""
    info = COSTS[cost]
    means = [_mean(cells, info.column) for cells in column]
    entries = round_column([TableEntry(mean, scale=info.scale, unit=info.unit) for mean in means])
    whole = all(mean is None or float(mean * info.scale).is_integer() for mean in means)
    decimals = info.decimals if info.decimals is not None else 0 if whole else None
    return entries if decimals is None else [replace(entry, decimals=decimals) for entry in entries]


def _mean(cells: Sequence[CellRow], column: str) -> float | None:
    values = [float(cell[column]) for cell in cells if cell.get(column) is not None]
    return statistics.fmean(values) if values and all(map(math.isfinite, values)) else None
