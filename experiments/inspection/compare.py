"""Two cells side by side: what they were asked to be, where their numbers come from, and the numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from experiments.errors import UserError
from experiments.inspection.config_diff import FieldDifference, differences, fields_of
from experiments.inspection.explain import piece_of
from experiments.inspection.lookup import NamedTask, find_one
from experiments.store.results import EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.sweep.metrics import ERRORS, METRICS
from experiments.sweep.tasks import Evaluation, SweepTask

NORMAL_95 = 1.959964  # of a two-sided interval
LOSSES = ("loss", "val_loss")


@dataclass(frozen=True)
class ComparedNumber:
    """A metric of both, the standard errors where they are known, and that of the difference, paired by image."""

    metric: str
    here: float | None
    there: float | None
    here_error: float | None = None
    there_error: float | None = None
    error: float | None = None

    @property
    def difference(self) -> float | None:
        """Here less there."""
        return None if self.here is None or self.there is None else self.here - self.there

    @property
    def told_apart(self) -> bool | None:
        """Whether the 95 % interval of the difference leaves 0 out; None where that is not known."""
        if self.difference is None or self.error is None:
            return None
        return abs(self.difference) > NORMAL_95 * self.error


@dataclass(frozen=True)
class CellComparison:
    """Two cells: fields in which they differ, provenance in which they differ, and all numbers of either."""

    here: NamedTask
    there: NamedTask
    fields: tuple[FieldDifference, ...]
    provenance: tuple[FieldDifference, ...]
    numbers: tuple[ComparedNumber, ...]


def compare(a: str, b: str, store: Store) -> CellComparison:
    """The cells, or trainings, that two texts stand for, side by side; raises UserError where they stand for none."""
    here, there = find_one(a, store), find_one(b, store)
    if (here.evaluation is None) != (there.evaluation is None):
        whole = a if here.evaluation is None else b
        raise UserError(f"{whole}: is a training and the other a cell; give two of a kind, more of a name says which")
    tasks = piece_of(here, a, store), piece_of(there, b, store)
    scored, trained = zip(*(_results(task, store) for task in tasks), strict=True)
    origins = [_origin(result or other) for result, other in zip(scored, trained, strict=True)]
    return CellComparison(
        here,
        there,
        differences(fields_of(tasks[0]), fields_of(tasks[1])),
        differences(origins[0], origins[1]),
        tuple(_numbers(here, there, scored, trained, store)),
    )


def _results(task: SweepTask, store: Store) -> tuple[EvaluationResult | None, TrainingResult | None]:
    """The results of an evaluation, where the task is one, and of its training."""
    if isinstance(task, Evaluation):
        return store.result(EvaluationResult, task.signature), store.result(TrainingResult, task.training.signature)
    return None, store.result(TrainingResult, task.signature)


def _origin(result: TrainingResult | EvaluationResult | None) -> dict[str, Any]:
    """A result's provenance, flat."""
    if result is None:
        return {}
    origin = result.provenance
    flat = {name: value for name, value in origin.to_json().items() if name not in ("tags", "packages")}
    flat |= {f"package {name}": version for name, version in origin.packages.items()}
    flat |= {f"tag {name}": value for name, value in origin.tags.items()}
    return {**flat, "device": result.device, "threads": result.threads, "seconds": result.seconds}


def _numbers(
    here: NamedTask,
    there: NamedTask,
    scored: tuple[EvaluationResult | None, ...],
    trained: tuple[TrainingResult | None, ...],
    store: Store,
) -> Iterator[ComparedNumber]:
    for name in LOSSES:
        values = [getattr(result, name) if result is not None else None for result in trained]
        if any(value is not None for value in values):
            yield ComparedNumber(name, *values)
    metrics = [result.metrics if result is not None else {} for result in scored]
    errors: dict[str, float] = {}
    if here.evaluation is not None and there.evaluation is not None and all(metrics):
        from experiments.tracking.paired_errors import influence_errors  # numpy

        errors = influence_errors(store, here.evaluation, there.evaluation)
    for name in METRICS:
        if any(name in own for own in metrics):
            a, b = ((own.get(name), own.get(f"{name}{ERRORS[0]}")) for own in metrics)
            yield ComparedNumber(name, a[0], b[0], a[1], b[1], errors.get(name))


def comparison_json(found: CellComparison) -> dict[str, Any]:
    """Two cells for a script."""
    numbers = [
        {**asdict(number), "difference": number.difference, "told_apart": number.told_apart} for number in found.numbers
    ]
    return {**asdict(found), "numbers": numbers}
