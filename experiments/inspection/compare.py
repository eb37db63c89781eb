"""Compares two cells or trainings: their configurations, provenance and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from experiments.errors import UserError
from experiments.inspection.config_diff import FieldDifference, differences, fields_of, in_sweep_fields
from experiments.inspection.explain import resolve
from experiments.inspection.lookup import NamedTask, find_one
from experiments.store.results import EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.sweep.metrics import ERRORS
from experiments.sweep.tasks import Evaluation, SweepTask
from reports.metrics import METRICS, NORMAL_95, is_rounding

LOSSES = ("loss", "val_loss")


@dataclass(frozen=True)
class ComparedNumber:
    """A metric of both, with standard errors if they are known.

    error: of the difference, paired by image.
    """

    metric: str
    here: float | None
    there: float | None
    here_error: float | None = None
    there_error: float | None = None
    error: float | None = None

    @property
    def difference(self) -> float | None:
        """The value here minus the value there."""
        return None if self.here is None or self.there is None else self.here - self.there

    @property
    def is_significant(self) -> bool | None:
        """Whether the 95% interval of the difference excludes 0; None if the error is unknown or only rounding."""
        if self.here is None or self.there is None or self.error is None:
            return None
        if is_rounding(self.error, (self.here, self.there)):
            return None
        return abs(self.here - self.there) > NORMAL_95 * self.error


@dataclass(frozen=True)
class CellComparison:
    """Two cells or trainings: the fields and the provenance that differ, and all numbers of either."""

    here: NamedTask
    there: NamedTask
    fields: tuple[FieldDifference, ...]
    provenance: tuple[FieldDifference, ...]
    numbers: tuple[ComparedNumber, ...]


def compare(a: str, b: str, store: Store) -> CellComparison:
    """Compare the cells, or the trainings, that two texts match. Raises UserError if they match none."""
    here, there = find_one(a, store), find_one(b, store)
    if (here.evaluation is None) != (there.evaluation is None):
        training = a if here.evaluation is None else b
        raise UserError(f"{training}: is a training, but the other is a cell; give two cells or two trainings")
    resolved = resolve(here, a, store), resolve(there, b, store)
    tasks = resolved[0].task, resolved[1].task
    scored, trained = zip(*(_results(task, store) for task in tasks), strict=True)
    origins = [_origin(result or other) for result, other in zip(scored, trained, strict=True)]
    return CellComparison(
        here,
        there,
        in_sweep_fields(differences(fields_of(tasks[0]), fields_of(tasks[1])), resolved[0].cell, resolved[1].cell),
        differences(origins[0], origins[1]),
        tuple(_numbers(here, there, scored, trained, store)),
    )


def _results(task: SweepTask, store: Store) -> tuple[EvaluationResult | None, TrainingResult | None]:
    """The results of an evaluation, if the task is one, and of its training."""
    if isinstance(task, Evaluation):
        return store.result(EvaluationResult, task.signature), store.result(TrainingResult, task.training.signature)
    return None, store.result(TrainingResult, task.signature)


def _origin(result: TrainingResult | EvaluationResult | None) -> dict[str, Any]:
    """A result's provenance as one flat mapping."""
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
        from experiments.tracking.paired_errors import difference_errors  # numpy

        errors = difference_errors(store, here.evaluation, there.evaluation)
    for name in METRICS:
        if any(name in own for own in metrics):
            a, b = ((own.get(name), own.get(f"{name}{ERRORS[0]}")) for own in metrics)
            yield ComparedNumber(name, a[0], b[0], a[1], b[1], errors.get(name))


def comparison_json(found: CellComparison) -> dict[str, Any]:
    """Return a comparison for a script."""
    numbers = [
        {**asdict(number), "difference": number.difference, "told_apart": number.is_significant}
        for number in found.numbers
    ]
    return {**asdict(found), "numbers": numbers}
