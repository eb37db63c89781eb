"""Estimates what tasks need on the disk."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from edm.cost import num_parameters
from experiments.sweep.jobs import Task
from experiments.sweep.preparations import ReferenceStatistics
from experiments.sweep.segments import segment_stop
from experiments.sweep.tasks import Evaluation, Training

GIB = 2**30
FLOAT_BYTES, DOUBLE_BYTES = 4, 8
CHECKPOINTS = 3  # the last two, and one that is being written
AVERAGES = 2  # of the power-function kind, in every snapshot


def disk_gib(tasks: Sequence[Task], at_once: int) -> float:
    """Return the GiB that tasks need in the store at its fullest, with so many trainings side by side."""
    drawings: dict[str, Evaluation] = {}
    for task in tasks:
        if isinstance(task, Evaluation):
            known = drawings.setdefault(task.drawing, task)
            if task.config.images > known.config.images:
                drawings[task.drawing] = task
    kept = sum(_kept_bytes(task) for task in tasks) + sum(map(_drawing_bytes, drawings.values()))
    passing = heapq.nlargest(at_once, (_passing_bytes(task) for task in tasks))
    return (kept + sum(passing)) / GIB


def disk_bytes(task: Task) -> int:
    """Return the bytes that one task needs in the store while it runs."""
    drawn = _drawing_bytes(task) if isinstance(task, Evaluation) else 0
    return drawn + _kept_bytes(task) + _passing_bytes(task)


def _kept_bytes(task: Task) -> int:
    """What stays when a task is done, without the features of its images, which others use as well."""
    if isinstance(task, Training):
        weights, config = FLOAT_BYTES * num_parameters(task.network), task.config
        states = config.keep_state + (0 if config.keep == "last" else _kept_states(task))
        snapshots = config.power_ema_snapshots * AVERAGES if config.power_ema else 0
        return weights * (1 + snapshots) + states * _state_bytes(task)
    if isinstance(task, Evaluation):
        dimension, errors = task.features.dimension, sum("/" in score for score in task.scores)
        return DOUBLE_BYTES * (dimension * (dimension + 1) + errors * task.config.images)
    return FLOAT_BYTES * task.images * task.features.dimension if isinstance(task, ReferenceStatistics) else 0


def _kept_states(training: Training) -> int:
    keep, config = training.config.keep, training.config
    if isinstance(keep, tuple):
        return len(keep)
    if keep == "best":
        return 2  # the best so far, and the next one before they are compared
    return round(config.kimg / config.checkpoint_kimg) if config.checkpoint_kimg else 1


def _state_bytes(training: Training) -> int:
    """Weights, their average, the optimizer's two moments, and averages of the power-function kind."""
    averages = len(training.config.power_ema)
    return FLOAT_BYTES * (4 + averages) * num_parameters(training.network)


def _passing_bytes(task: Task) -> int:
    """What is there only while a task runs."""
    return CHECKPOINTS * _state_bytes(task) if isinstance(task, Training) else 0


def _drawing_bytes(evaluation: Evaluation) -> int:
    """Features of all images in every space, and the first images themselves."""
    data, images = evaluation.training.data, evaluation.config.images
    pixels = data.channels * (evaluation.sampling.resolution or data.resolution) ** 2
    spaces = evaluation.spaces or ((evaluation.features, images),)
    features = sum(count * space.dimension * FLOAT_BYTES for space, count in spaces)
    return features + segment_stop(0, images) * pixels
