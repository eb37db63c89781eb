"""Equal-compute views: the cells, or the points of loss curves, that cost equally much."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from reports.costs import COSTS
from reports.layout import Layout, TableSpec, table_specs
from reports.rows import CellRow, cell_rows
from reports.values import cell_list, show_value

Key = tuple[object, ...]  # what cells that differ in their length alone have in common
Costs = dict[Key, dict[object, float]]  # means over seeds, by length
STEPS, KIMG = "sampling.steps", "training.kimg"
LENGTHS = {"nfe": STEPS, "kimg": KIMG, "training_s": KIMG, "gpu_hours": KIMG}  # the axis that makes a cell cost more
MEASURED = ("training_s", "gpu_hours")
TOLERANCE = 0.05  # of a measured time, which differs from one run of the same training to the next
ALIKE = 0.125  # the share by which equal costs may differ: Heun's method takes 7 evaluations where Euler's takes 8
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
    if layout.equal != "nfe" and not (length in layout.axes and len({row[length] for row in rows}) > 1):
        return _of_curves(frame, rows, layout, curves)
    costs = _costs(rows, _without(layout.axes, length), layout.equal)
    if not costs:
        return EqualView(frame, [replace(spec, note=_unknown(layout)) for spec in table_specs(frame, layout)])
    choice = _choose(costs, layout.equal)
    if layout.equal != "nfe" and len(choice.found) < 2 <= len(costs):
        return _of_curves(frame, rows, layout, curves, " No two of these cells have scores at equal compute.")
    return _of_cells(frame, rows, layout, choice)


# cells --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Choice:
    """The cells that a table compares: of those that differ in their length alone, the longest that costs no more.

    cost: what is equal. costs: of all cells. amount: what they cost at most. lengths: of the chosen cells, None where
    even the cheapest one costs more.
    """

    cost: str
    costs: Costs
    amount: float
    lengths: Mapping[Key, object]

    @property
    def found(self) -> list[float]:
        """The costs of the chosen cells."""
        return [self.costs[key][length] for key, length in self.lengths.items() if length is not None]

    @property
    def spread(self) -> float:
        """By which share of the largest cost the smallest is below it."""
        return 1 - min(self.found) / max(self.found) if any(self.found) else 0.0

    @property
    def is_equal(self) -> bool:
        """Whether the chosen cells cost about equally much."""
        return self.spread <= ALIKE


def _costs(rows: Sequence[CellRow], others: tuple[str, ...], cost: str) -> Costs:
    """The known costs of all cells. others: the axes besides their length."""
    length, column = LENGTHS[cost], COSTS[cost].column
    found: defaultdict[Key, defaultdict[object, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.get(column) is not None:
            found[_key(row, others)][row[length]].append(float(row[column]))
    return {key: {at: statistics.fmean(seeds) for at, seeds in each.items()} for key, each in found.items()}


def _choose(costs: Costs, cost: str) -> _Choice:
    """The largest amount that all cells can reach, or another one at which their costs are closer.

    With evaluations this may be one that counts as equal, though it is larger: Euler's 8, where Heun's reaches 7.
    """
    most, amounts = _most(costs), sorted({value for each in costs.values() for value in each.values()})
    limit = most / (1 - ALIKE) if cost == "nfe" else most

    def choice_at(amount: float) -> _Choice:
        return _Choice(cost, costs, amount, {key: _longest(each, amount, cost) for key, each in costs.items()})

    reached = [choice_at(amount) for amount in amounts if most <= amount <= limit]
    best = min(reached, key=lambda one: (-len(one.found), 0 if one.is_equal else one.spread))
    for choice in (choice_at(amount) for amount in reversed(amounts) if amount < most):
        if best.is_equal or len(choice.found) < len(best.found):  # smaller amounts would leave out even more
            break
        best = min(best, choice, key=lambda one: one.spread)
    return best


def _most(costs: Costs) -> float:
    """The largest amount that all cells can reach."""
    return min(max(each.values()) for each in costs.values())


def _of_cells(frame: pd.DataFrame, rows: Sequence[CellRow], layout: Layout, choice: _Choice) -> EqualView:
    """The table of the chosen cells, without the axis of their length."""
    length = LENGTHS[layout.equal]
    others = _without(layout.axes, length)
    places = {key: place for place, key in enumerate(choice.costs)}  # the order of the table without the axis
    lengths = [choice.lengths.get(_key(row, others)) for row in rows]
    kept = [i for i, row in enumerate(rows) if lengths[i] is not None and lengths[i] == row[length]]
    kept.sort(key=lambda i: places[_key(rows[i], others)])
    shown = replace(
        layout,
        rows=_without(layout.rows, length),
        columns=_without(layout.columns, length),
        costs=tuple(dict.fromkeys((layout.equal, *layout.costs))),
        baseline={axis: value for axis, value in layout.baseline.items() if axis != length},
    )
    group, note = frame.iloc[kept], " ".join(_notes(rows, choice))
    specs = [replace(spec, note=note, is_comparable=choice.is_equal) for spec in table_specs(group, shown)]
    return EqualView(group, specs)


def _notes(rows: Sequence[CellRow], choice: _Choice) -> Iterator[str]:
    """Say what the cells have in common, in what they differ all the same, and which are left out."""
    cost, found = choice.cost, choice.found
    why = (
        "the most that all of them reach"
        if choice.amount == _most(choice.costs)
        else "the amount at which their costs are closest"
    )
    yield f"Equal compute: every entry is the cell of the largest {LENGTHS[cost]} that costs at most"
    yield f"{_amount(choice.amount, cost)}, {why}."
    if not choice.is_equal:
        costs = f"{_number(min(found), cost)} to {_amount(max(found), cost)}"
        yield f"They do not cost the same, but {costs}, so none is marked as the best."
    left_out = [", ".join(map(show_value, key)) for key, value in choice.lengths.items() if value is None]
    if left_out:
        yield f"Left out, because even their cheapest cell costs more: {'; '.join(left_out)}."
    unknown = [str(row["cell"]) for row in rows if row.get(COSTS[cost].column) is None]
    if unknown:
        yield f"Left out, because their cost is not known, or not yet: {cell_list(unknown, len(rows))}."


def _longest(costs: Mapping[object, float], budget: float, cost: str) -> object:
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
    return f"{_number(value, cost)} {COSTS[cost].title.replace('training, s', 's of training')}"


def _number(value: float, cost: str) -> str:
    return f"{value * COSTS[cost].scale:,.4g}{COSTS[cost].unit}"


# loss curves --------------------------------------------------------------------------------------


def _of_curves(
    frame: pd.DataFrame, rows: Sequence[CellRow], layout: Layout, curves: pd.DataFrame, remark: str = ""
) -> EqualView:
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
        f"is what the cheapest one cost in all. It is read off the curve, between two measurements.{remark}"
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
