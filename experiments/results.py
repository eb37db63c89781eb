"""The final table as a data frame: one row a cell, from the store or from MLflow, the same either way."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

from edm.config import SPLITS
from experiments.plan import Plan
from experiments.store import JOURNAL, VALIDATION, Journal, Store


def metrics_in_store(plan: Plan, store: Store) -> dict[str, dict[str, float]]:
    """The metrics of a plan's finished evaluations, by signature."""
    results = {name: store.result("evaluations", name) for name in plan.evaluations}
    return {name: result["metrics"] for name, result in results.items() if result is not None}


def results_frame(plan: Plan, metrics: dict[str, dict[str, float]]) -> pd.DataFrame:
    """One row a cell, in the sweep's order: name, axes, all other parameters, signatures, what the scores are, scores.

    noise_fid_* and real_fid_* are what pure noise and the real train split score, to read the others by.
    A cell without scores yet has status "missing" and empty scores. Holds nothing that depends on when, where or how
    fast the work was done.
    """
    rows = []
    for planned in plan.cells:
        parameters = {name: _plain(value) for name, value in planned.cell.parameters().items()}
        evaluation = planned.evaluation
        own = metrics.get(evaluation.signature, {})
        splits = planned.cell.evaluation.splits
        scores = {f"fid_{split}": own.get(f"fid_{split}") for split in SPLITS if split in splits}
        done = None not in scores.values()
        context = {f"{who}_fid_{split}": own.get(f"{who}_fid_{split}") for who in ("noise", "real") for split in SPLITS}
        rows.append(
            {
                "cell": plan.cell_name(planned),
                **{axis: parameters[axis] for axis in plan.sweep.axes},
                **{name: value for name, value in parameters.items() if name not in plan.sweep.axes},
                "data": planned.training.data.signature,
                "training": planned.training.signature,
                "evaluation": evaluation.signature,
                "features": evaluation.features.label,
                "status": "done" if done else "missing",
                **scores,
                "class_accuracy": own.get("class_accuracy"),
                **context,
            }
        )
    frame = pd.DataFrame(rows)
    optional = [name for name in frame.columns if name == "class_accuracy" or name.startswith(("noise_", "real_"))]
    return frame.drop(columns=[name for name in optional if not any(frame[name].notna().tolist())])


def _plain(value: Any) -> Any:
    """Lists and mappings as one word: a frame's cells compare, group and print as single values."""
    if isinstance(value, tuple):
        return ",".join(f"{entry:g}" if isinstance(entry, float) else str(entry) for entry in value)
    return str(value) if dataclasses.is_dataclass(value) else value


def curves_frame(plan: Plan, store: Store) -> pd.DataFrame:
    """Loss against kimg of every training that has begun: columns training, kimg, loss, val_loss, one of them a row."""
    rows: list[dict[str, Any]] = []
    for name in plan.trainings:
        folder = store.folder("trainings", name)
        for journal, key in ((JOURNAL, "loss"), (VALIDATION, "val_loss")):
            lines = Journal(folder / journal).read()
            rows += [{"training": plan.names[name], "kimg": line["kimg"], key: line[key]} for line in lines]
    return pd.DataFrame(rows, columns=["training", "kimg", "loss", "val_loss"])


def facts_of(plan: Plan, store: Store) -> dict[str, str]:
    """Where a plan's numbers come from: code, packages, machines and the time that it took."""
    results = [store.result("trainings", name) for name in plan.trainings]
    results += [store.result("evaluations", name) for name in plan.evaluations]
    done = [result for result in results if result is not None]
    facts = {key: _united(done, key) for key in ("git_commit", "git_dirty", "host", "python")}
    for package in ("torch", "ray", "mlflow"):
        versions = {str(result["provenance"]["packages"][package]) for result in done}
        facts[package] = ", ".join(sorted(versions))
    facts["devices"] = ", ".join(sorted({str(result["device"]) for result in done}))
    facts["trained in"] = ", ".join(sorted({_computing(result) for result in done if "computing" in result}))
    facts["compute"] = f"{sum(result['seconds'] for result in done):,.0f} s on those devices"
    return {key: value for key, value in facts.items() if value}


def _computing(result: dict[str, Any]) -> str:
    """How a training was computed."""
    return result["computing"]["precision"] + (" compiled" if result["computing"]["compiled"] else "")


def _united(results: list[dict[str, Any]], key: str) -> str:
    return ", ".join(sorted({str(result["provenance"][key]) for result in results}))
