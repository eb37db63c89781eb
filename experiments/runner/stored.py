"""What the store says of a run's tasks."""

from __future__ import annotations

from edm.metrics.weights import WeightsError, present_weights
from experiments.environment import given_weights
from experiments.store.damage import Damage
from experiments.store.drawings import drawn_segments
from experiments.store.results import EvaluationResult, Result
from experiments.store.store import Store
from experiments.sweep.jobs import Task
from experiments.sweep.preparations import WeightsDownload
from experiments.sweep.segments import segment_starts
from experiments.sweep.tasks import Evaluation


def is_done(store: Store, task: Task) -> bool:
    """Return whether the store, or this machine, has all that a task is to give."""
    if isinstance(task, WeightsDownload):
        return is_downloaded(task)
    return done_result(store, task) is not None


def is_downloaded(task: WeightsDownload) -> bool:
    """Return whether a file of weights is on this machine; of one that a person gave the run says what is wrong."""
    try:
        return present_weights(task.file, given_weights()) is not None
    except WeightsError:
        return True


def done_result(store: Store, task: Task) -> Result | None:
    """Return a task's result; None unless the store has all that the task is to give."""
    if isinstance(task, Evaluation):
        result = store.result(EvaluationResult, task.signature)
        return result if result is not None and task.is_covered_by(result) else None
    return store.result(task.result_type, task.signature)


def parts_left(store: Store, evaluation: Evaluation) -> int:
    """Return how many segments of an evaluation are neither drawn nor being drawn."""
    drawn = drawn_segments(store, evaluation.drawing, evaluation.features.signature)
    open_ = [start for start in segment_starts(evaluation.config.images) if start not in drawn]
    return sum(store.holder("segments", evaluation.segment_name(start)) is None for start in open_)


def damage_notice(damage: Damage) -> str:
    """Return a line of the store's log of damage as a sentence."""
    files = ", ".join(f"{damage.kind}/{damage.signature}/{name}" for name in damage.files)
    return f"Damaged files were set aside and will be redone: {files} ({damage.why})"
