"""The final table as a data frame: one row a cell, from the store or from MLflow, the same either way."""

from __future__ import annotations

from typing import Any

import pandas as pd

from experiments.plan import Plan
from experiments.spec import METRICS
from experiments.store import JOURNAL, Journal, Store


def metrics_in_store(plan: Plan, store: Store) -> dict[str, dict[str, float]]:
    """The metrics of a plan's finished evaluations, by signature."""
    results = {name: store.result("evaluations", name) for name in plan.evaluations}
    return {name: result["metrics"] for name, result in results.items() if result is not None}


def results_frame(plan: Plan, metrics: dict[str, dict[str, float]]) -> pd.DataFrame:
    """One row a cell, in the sweep's order: name, axes, all other parameters, signatures, what the scores are, scores.

    A cell without scores yet has status "missing" and empty scores. Holds nothing that depends on when, where or how
    fast the work was done.
    """
    rows = []
    for planned in plan.cells:
        parameters, evaluation = planned.cell.parameters(), planned.evaluation
        own = metrics.get(evaluation.signature, {})
        wanted = {f"fid_{split}" for split in planned.cell.evaluation.splits} | {"class_accuracy"}
        scores = {name: own.get(name) for name in METRICS if name in wanted}
        rows.append(
            {
                "cell": plan.names[evaluation.signature],
                **{axis: parameters[axis] for axis in plan.sweep.axes},
                **{name: value for name, value in parameters.items() if name not in plan.sweep.axes},
                "data": planned.training.data.signature,
                "training": planned.training.signature,
                "evaluation": evaluation.signature,
                "features": evaluation.features.label,
                "status": "done" if any(value is not None for value in scores.values()) else "missing",
                **scores,
            }
        )
    frame = pd.DataFrame(rows)
    present = [name for name in METRICS if name in frame and (name != "class_accuracy" or frame[name].notna().any())]
    return frame[[column for column in frame if column not in METRICS] + present]


def curves_frame(plan: Plan, store: Store) -> pd.DataFrame:
    """Loss against kimg of every training that has begun: columns training, kimg, loss."""
    rows: list[dict[str, Any]] = []
    for name in plan.trainings:
        lines = Journal(store.folder("trainings", name) / JOURNAL).read()
        rows += [{"training": plan.names[name], "kimg": line["kimg"], "loss": line["loss"]} for line in lines]
    return pd.DataFrame(rows, columns=["training", "kimg", "loss"])
