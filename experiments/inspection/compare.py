"""Compares two cells or trainings: their configurations, provenance and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from experiments.errors import UserError
from experiments.inspection.config_diff import FieldDifference, differences, fields_of, in_sweep_fields
from experiments.inspection.explain import resolve
from experiments.inspection.lookup import NamedTask, find_one
from experiments.store.layout import FOLDER_OF_TASK, StoreKind
from experiments.store.store import Store
from experiments.sweep.metrics import ERRORS, METRICS
from experiments.sweep.tasks import Evaluation

NORMAL_95 = 1.959964  # standard errors to either side of a 95% interval
LOSSES = ("loss", "val_loss")
NESTED = ("tags", "packages")  # fields of a provenance that are mappings


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
        """Whether the 95% interval of the difference excludes 0; None if the error is unknown."""
        if self.difference is None or self.error is None:
            return None
        return abs(self.difference) > NORMAL_95 * self.error


@dataclass(frozen=True)
class CellComparison:
    """Two cells or trainings: the fields and the provenance that differ, and all numbers of either."""

    here: NamedTask
    there: NamedTask
    fields: tuple[FieldDifference, ...]
    provenance: tuple[FieldDifference, ...]
    numbers: tuple[ComparedNumber, ...]


def compare(a: str, b: str, store: Store) -> CellComparison:
    """Compare the cells, or the trainings, that two texts stand for. Raises UserError if they stand for none."""
    here, there = find_one(a, store), find_one(b, store)
    if (here.evaluation is None) != (there.evaluation is None):
        training = a if here.evaluation is None else b
        raise UserError(f"{training}: is a training, but the other is a cell; give two cells or two trainings")
    resolved = resolve(here, a, store), resolve(there, b, store)
    tasks = resolved[0].task, resolved[1].task
    kind: StoreKind = FOLDER_OF_TASK[tasks[0].kind]
    results = [store.result(kind, task.signature) or {} for task in tasks]
    trained = [
        store.result("trainings", (task.training if isinstance(task, Evaluation) else task).signature) or {}
        for task in tasks
    ]
    origins = [_origin(result or other) for result, other in zip(results, trained, strict=True)]
    return CellComparison(
        here,
        there,
        in_sweep_fields(differences(fields_of(tasks[0]), fields_of(tasks[1])), resolved[0].cell, resolved[1].cell),
        differences(origins[0], origins[1]),
        tuple(_numbers(here, there, results, trained, store)),
    )


def _origin(result: dict[str, Any]) -> dict[str, Any]:
    """A result's provenance as one flat mapping."""
    known = result.get("provenance", {})
    flat = {name: value for name, value in known.items() if name not in NESTED}
    flat |= {f"package {name}": value for name, value in known.get("packages", {}).items()}
    flat |= {f"tag {name}": value for name, value in known.get("tags", {}).items()}
    return {**flat, "device": result.get("device"), "threads": result.get("threads"), "seconds": result.get("seconds")}


def _numbers(
    here: NamedTask, there: NamedTask, results: list[dict[str, Any]], trained: list[dict[str, Any]], store: Store
) -> Iterator[ComparedNumber]:
    for name in LOSSES:
        if any(result.get(name) is not None for result in trained):
            yield ComparedNumber(name, trained[0].get(name), trained[1].get(name))
    metrics = [result.get("metrics", {}) for result in results]
    errors: dict[str, float] = {}
    if here.evaluation is not None and there.evaluation is not None and all(metrics):
        from experiments.tracking.paired_errors import influence_errors  # numpy

        errors = influence_errors(store, here.evaluation, there.evaluation)
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
