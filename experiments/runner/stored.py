"""What the store says of a run's tasks."""

from __future__ import annotations

from typing import Any

from experiments.store.store import Store
from experiments.sweep.jobs import Task
from experiments.sweep.tasks import SEGMENT_IMAGES, Evaluation


def is_done(store: Store, task: Task) -> bool:
    """Return whether the store has all that a task is to give."""
    result = store.result(task.store_kind, task.signature)
    return result is not None and (not isinstance(task, Evaluation) or task.is_covered_by(result))


def parts_left(store: Store, evaluation: Evaluation) -> int:
    """Return how many segments of an evaluation are neither drawn nor being drawn."""
    shelf = store.folder("drawings", evaluation.drawing) / evaluation.features.signature
    drawn = {path.name[:8] for path in shelf.glob("*.safetensors")}
    starts = [number * SEGMENT_IMAGES for number in range(evaluation.num_segments)]
    open_ = [start for start in starts if f"{start:08d}" not in drawn]
    return sum(store.holder("segments", evaluation.segment_name(start)) is None for start in open_)


def damage_notice(line: dict[str, Any]) -> str:
    """Return a line of the store's log of damage as a sentence."""
    files = ", ".join(f"{line['kind']}/{line['signature']}/{name}" for name in line["files"])
    return f"Damaged files were set aside and will be redone: {files} ({line['why']})"
