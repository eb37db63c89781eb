"""The provenance of a sweep's numbers, as a report states it."""

from __future__ import annotations

from collections.abc import Iterable

from experiments.store.results import ComputingRecord, EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan


def provenance_of(plan: Plan, store: Store) -> dict[str, str]:
    """Return where a plan's numbers come from: code, packages, machines, and how long the work took."""
    trained = [result for name in plan.trainings if (result := store.result(TrainingResult, name)) is not None]
    scored = [result for name in plan.evaluations if (result := store.result(EvaluationResult, name)) is not None]
    origins = [result.provenance for result in (*trained, *scored)]
    provenance = {
        "git_commit": _united(origin.git_commit for origin in origins),
        "git_dirty": _united(origin.git_dirty for origin in origins),
        "host": _united(origin.host for origin in origins),
        "python": _united(origin.python for origin in origins),
        **{name: _united(origin.packages.get(name) for origin in origins) for name in ("torch", "ray", "mlflow")},
        "extensions": _united(f"{e.name} ({e.where}; {e.code})" for e in plan.extensions.values()),
        "devices": _united(result.device for result in (*trained, *scored)),
        "trained in": _united(_precision(result.computing) for result in trained if result.computing is not None),
        "compute": f"{sum(result.seconds for result in (*trained, *scored)):,.0f} s on those devices",
    }
    return {key: value for key, value in provenance.items() if value}


def _precision(computing: ComputingRecord) -> str:
    """Return the precision that a training was computed in, and whether its network was compiled."""
    return computing.precision + (" compiled" if computing.compiled else "")


def _united(values: Iterable[object]) -> str:
    return ", ".join(sorted({str(value) for value in values}))
