"""What `gc` would delete."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.cli.views.tables import TextTable, numbers, sentences, values
from experiments.inspection.garbage import Garbage, Reason
from experiments.wording import size

MAX_ROWS = 40
REASONS: dict[Reason, str] = {
    "unused": "no sweep refers to it",
    "policy": "a checkpoint that the policy does not keep",
    "states": "the state at the end of a training",
    "drawings": "features of images that have all their scores",
    "abandoned": "left behind by a run that was killed",
    "damaged": "damaged, and set aside",
    "replaced": "made again with today's code",
}


def garbage_table(items: Sequence[Garbage]) -> TextTable:
    """Return a row for each folder or file, the largest first."""
    left_out = len(items) - MAX_ROWS
    remark = f"... and {left_out:,} smaller ones (--json lists all)" if left_out > 0 else ""
    table = TextTable(*values("in the store"), *numbers("size"), *sentences("reason"), remark=remark)
    for item in sorted(items, key=lambda item: -item.size)[:MAX_ROWS]:
        table.add(f"{item.kind}/{item.name}", size(item.size), REASONS[item.reason])
    return table
