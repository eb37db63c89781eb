"""The scores behind one entry of a table: one cell for each seed, and what to say of cells without a score."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from reports.changed_code import changed_marks
from reports.entries import TableEntry
from reports.metrics import METRICS
from reports.rows import CellRow
from reports.significance import Mark, Sample

States = Mapping[str, str]  # what happens to cells that are not done, by name: "running", "failed", "planned" ...
PLANNED = "planned"
SHARED = "is shared"  # of a cell whose evaluation is that of several seeds


def distinct_results(cells: Sequence[CellRow]) -> list[CellRow]:
    """Return the cells of an entry, each evaluation once: all seeds of a network that was not trained here share one.

    Counted for every seed it would have no spread, and its differences would look certain.
    """
    sharing: dict[object, list[CellRow]] = {}
    for cell in cells:
        sharing.setdefault(cell.get("evaluation") or cell["cell"], []).append(cell)
    return [{**own[0], SHARED: True} if len(own) > 1 else own[0] for own in sharing.values()]


def sample_of(cells: Sequence[CellRow], metric: str) -> Sample:
    """Return the scores of an entry's seeds; none if any ended early: the mean of the others would be too good."""
    scored = [cell for cell in cells if cell[metric] is not None] if not _ended_early(cells) else []
    errors = [cell.get(f"{metric}_se") for cell in scored]
    return Sample(
        tuple(int(cell["seed"]) for cell in scored),
        tuple(str(cell["cell"]) for cell in scored),
        tuple(float(cell[metric]) for cell in scored),
        tuple(math.nan if error is None else float(error) for error in errors),
        METRICS[metric].by_chance,
        any(cell.get(SHARED) for cell in scored),
    )


def entry_of(
    cells: Sequence[CellRow], sample: Sample, mark: Mark, metric: str, states: States, *, is_first: bool
) -> TableEntry:
    """Return the entry of a metric. is_first: it is the first of its cells, which says why they ended early."""
    has_number = bool(sample.values)
    waiting = Counter(states.get(str(cell["cell"]), PLANNED) for cell in cells if cell.get("status") == "missing")
    early = ", ".join(_early_ends(cells)) if is_first else ""
    return TableEntry(
        mean=sample.mean if has_number else None,
        margin=sample.margin if has_number else None,
        std=sample.std,
        num_seeds=sum(cell[metric] is not None for cell in cells),
        expected_seeds=len(cells),
        mark=mark,
        scale=METRICS[metric].scale,
        unit=METRICS[metric].unit,
        num_stopped=len(_stopped_at(cells)),
        num_pruned=len(_pruned_at(cells)),
        replacement="" if has_number else early if _ended_early(cells) else _not_done(waiting, len(cells)),
        cells=tuple(str(cell["cell"]) for cell in cells),
        footnotes=changed_marks(cells) if has_number else (),
        waiting=tuple(f"{count} {state}" for state, count in waiting.items() if state != PLANNED),
    )


def _ended_early(cells: Sequence[CellRow]) -> bool:
    return bool(_stopped_at(cells) or _pruned_at(cells))


def _not_done(waiting: Counter[str], total: int) -> str:
    """Say which states cells are in, if all of them are the seeds of one entry that has no number yet."""
    if not waiting.total():
        return ""
    return ", ".join(f"{state}{_share(count, total)}" for state, count in waiting.items())


def _early_ends(cells: Sequence[CellRow]) -> Iterator[str]:
    """What to say of seeds that ended early, and how many they are if others did not."""
    stopped, pruned = _stopped_at(cells), _pruned_at(cells)
    if stopped:
        yield f"worse, stopped at {max(stopped):,}{_share(len(stopped), len(cells))}"
    if pruned:
        yield f"pruned at {max(pruned):,g} kimg{_share(len(pruned), len(cells))}"


def _share(some: int, total: int) -> str:
    return f" ({some} of {total} seeds)" if some < total else ""


def _stopped_at(cells: Sequence[CellRow]) -> list[int]:
    """The numbers of images after which evaluations were stopped as clearly worse."""
    return [int(cell["stopped_at"]) for cell in cells if cell.get("stopped_at") is not None]


def _pruned_at(cells: Sequence[CellRow]) -> list[float]:
    """The kimg after which trainings were pruned."""
    return [float(cell["pruned_at"]) for cell in cells if cell.get("pruned_at") is not None]
