"""Equal-compute views: the cells, or the points of loss curves, that cost equally much."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from reports.costs import COSTS
from reports.layout import Layout, TableSpec, table_specs
from reports.rows import CellRow, cell_rows
from reports.values import cell_list, show_value

Costs = defaultdict[tuple[object, ...], defaultdict[object, list[float]]]  # of every seed, by cell and length
STEPS, KIMG = "sampling.steps", "training.kimg"
LENGTHS = {"nfe": STEPS, "kimg": KIMG, "training_s": KIMG, "gpu_hours": KIMG}  # the axis that makes a cell cost more
MEASURED = ("training_s", "gpu_hours")
TOLERANCE = 0.05  # of a measured time, which differs from one run of the same training to the next
OF_TRAININGS = ("sweep", "data.", "model.", "training.")  # how axes begin that a loss depends on


@dataclass(frozen=True)
class EqualView:
    """A table at equal compute: its cells, and what to make of them."""

    frame: pd.DataFrame
    specs: list[TableSpec]


def equal_view(frame: pd.DataFrame, layout: Layout, curves: pd.DataFrame) -> EqualView:
    """Return what a table with `layout.equal` shows: cells of equal cost, or losses where trainings had cost as much.

    curves: as in a report.
    """
    length, rows = LENGTHS[layout.equal], cell_rows(frame)
    if layout.equal == "nfe" or (length in layout.axes and len({row[length] for row in rows}) > 1):
        return _of_cells(frame, rows, layout)
    return _of_curves(frame, rows, layout, curves)


# cells --------------------------------------------------------------------------------------------


def _of_cells(frame: pd.DataFrame, rows: Sequence[CellRow], layout: Layout) -> EqualView:
    """Of cells that differ in their length alone, the longest one that costs no more than all others can."""
    length, column = LENGTHS[layout.equal], COSTS[layout.equal].column
    others = tuple(axis for axis in layout.axes if axis != length)
    costs: Costs = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.get(column) is not None:
            costs[_key(row, others)][row[length]].append(float(row[column]))
    means = {key: {at: statistics.fmean(seeds) for at, seeds in each.items()} for key, each in costs.items()}
    if not means:
        return EqualView(frame, [replace(spec, note=_unknown(layout)) for spec in table_specs(frame, layout)])
    budget = min(max(each.values()) for each in means.values())
    chosen = {key: _longest(each, budget, layout.equal) for key, each in means.items()}
    places = {key: place for place, key in enumerate(means)}  # the order of the table without the axis
    lengths = [chosen.get(_key(row, others)) for row in rows]
    kept = [i for i, row in enumerate(rows) if lengths[i] is not None and lengths[i] == row[length]]
    kept.sort(key=lambda i: places[_key(rows[i], others)])
    left_out = [", ".join(map(show_value, key)) for key, value in chosen.items() if value is None]
    note = (
        f"Equal compute: every entry is the cell of the largest {length} that costs at most "
        f"{_amount(budget, layout.equal)}, the most that all of them reach."
    )
    if left_out:
        note += f" Left out, because even their cheapest cell costs more: {'; '.join(left_out)}."
    unknown = [str(row["cell"]) for row in rows if row.get(column) is None]
    if unknown:
        note += f" Left out, because their cost is not known, or not yet: {cell_list(unknown, len(rows))}."
    shown = replace(layout, rows=_without(layout.rows, length), columns=_without(layout.columns, length))
    shown = replace(shown, costs=tuple(dict.fromkeys((layout.equal, *layout.costs))))
    group = frame.iloc[kept]
    return EqualView(group, [replace(spec, note=note) for spec in table_specs(group, shown)])


def _longest(costs: dict[object, float], budget: float, cost: str) -> object:
    """The length with the highest cost within the budget; None if there is none."""
    limit = budget * (1 + TOLERANCE) if cost in MEASURED else budget
    within = {length: value for length, value in costs.items() if value <= limit}
    return max(within, key=within.__getitem__, default=None)


def _key(row: CellRow, axes: Iterable[str]) -> tuple[object, ...]:
    return tuple(row[axis] for axis in axes)


def _without(axes: tuple[str, ...], axis: str) -> tuple[str, ...]:
    return tuple(each for each in axes if each != axis)


def _unknown(layout: Layout) -> str:
    return f"Equal compute: nothing is matched, as no cost in {COSTS[layout.equal].title} is known."


def _amount(value: float, cost: str) -> str:
    info = COSTS[cost]
    return f"{value * info.scale:,.4g}{info.unit} {info.title.replace('training, s', 's of training')}"


# loss curves --------------------------------------------------------------------------------------


def _of_curves(frame: pd.DataFrame, rows: Sequence[CellRow], layout: Layout, curves: pd.DataFrame) -> EqualView:
    """The loss on the val split of every training when it had cost as much as the cheapest of them did in the end."""
    column = COSTS[layout.equal].column
    totals = {str(row["training_name"]): (float(row[KIMG]), float(row[column])) for row in rows if row.get(column)}
    budget = min((cost for _, cost in totals.values()), default=0.0)
    seen = {name: kimg * budget / cost for name, (kimg, cost) in totals.items()}
    losses = {name: _loss_at(curves, name, kimg) for name, kimg in seen.items()}
    names = frame["training_name"]
    matched = frame.assign(matched_kimg=names.map(seen), matched_loss=names.map(losses))
    note = (
        f"Equal compute: the loss on the val split when each training had cost {_amount(budget, layout.equal)}, which "
        "is what the cheapest one cost in all. It is read off the curve, between two measurements."
        if totals
        else _unknown(layout)
    )
    on_rows, on_columns = (
        tuple(axis for axis in side if axis.startswith(OF_TRAININGS)) for side in (layout.rows, layout.columns)
    )
    costs = ("matched_loss", "matched_kimg", *layout.costs)
    group = matched.drop_duplicates("training_name")
    return EqualView(group, [TableSpec(layout.name, (), on_rows, on_columns, True, costs, layout.caption, note=note)])


def _loss_at(curves: pd.DataFrame, training: str, kimg: float) -> float | None:
    """The loss on the val split of a training at so many images, between two measurements; None outside of them."""
    known = curves[curves["training"] == training].dropna(subset="val_loss").sort_values("kimg")
    at: list[float] = known["kimg"].tolist()
    losses: list[float] = known["val_loss"].tolist()
    if not at or not at[0] <= kimg <= at[-1] * (1 + 1e-9):
        return None
    return float(np.interp(kimg, at, losses))
