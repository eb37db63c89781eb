"""What a run in MLflow says of a task: its state, metrics and tags, from what the store has."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from experiments.tracking import mlflow_environment  # noqa: F401  isort: skip  (MLflow reads it as it is imported)
from mlflow.entities import Metric, RunTag

from experiments.store import leases
from experiments.store.failures import Failure
from experiments.store.files import modified_ns
from experiments.store.layout import CONFIG, RESULT
from experiments.store.results import EvaluationResult, Provenance, TrainingResult
from experiments.store.training_records import Pruning
from experiments.sweep.code_changes import ResultCode
from experiments.sweep.plan import Plan, PlannedCell
from experiments.sweep.tasks import DataSource, Evaluation
from experiments.tracking.metric_names import BY_NOISE, METRIC_OF
from experiments.tracking.runs import FAILED, KILLED, RUNNING

UNFOLDED = {"mlflow.runType": "evaluation"}  # MLflow's table shows the parents of such runs unfolded at first
RESULT_TAGS = ("scores", "notes", "stopped_at", "stopped_by")  # what a report needs of a result beside the metrics
CODE_TAG, SINCE_TAG = "edm.code", "edm.code_since"  # the digests of what made a result, and the commit in words


def first_cells(plan: Plan) -> dict[str, PlannedCell]:
    """Return the first cell that each task is for, by the task's signature."""
    cells: dict[str, PlannedCell] = {}
    for planned in plan.cells:
        cells.setdefault(planned.training.signature, planned)
        cells.setdefault(planned.evaluation.signature, planned)
    for planned in plan.cells:  # last, as a guide or what a training begins with may be another cell's network
        for cell, training in planned.trainings:
            cells.setdefault(training.signature, dataclasses.replace(planned, cell=cell, training=training))
    return cells


def unfinished(folder: Path, ended: bool) -> tuple[str, str, float | None]:
    """Return MLflow's status of a training that has begun and is not finished, a message, and the kimg of its pruning.

    ended: whether the run that the mirror belongs to has ended.
    """
    pruning, failure = Pruning.of(folder), Failure.read(folder)
    if pruning is not None:
        return KILLED, pruning.text, pruning.kimg
    if failure is not None:
        return FAILED, failure.message, None
    if ended and leases.holder(folder) is None:  # else another run works on it
        return KILLED, "interrupted; run the sweep again to continue", None
    return RUNNING, "", None


def begun_ms(folder: Path) -> int | None:
    """Return when a task was begun, in milliseconds since 1970 and as whole seconds, as results are dated."""
    begun_ns = modified_ns(folder / CONFIG)
    return None if begun_ns is None else begun_ns // 10**9 * 1000


def finished_ms(result: TrainingResult | EvaluationResult, folder: Path) -> int:
    """Return when a task was finished, in milliseconds since 1970; its file's time may be that of a copy."""
    try:
        return int(datetime.fromisoformat(result.provenance.time).timestamp() * 1000)
    except ValueError:  # a result of an early version does not say
        return int((folder / RESULT).stat().st_mtime * 1000)


def curve_metrics(line: dict[str, Any], step: int, time_ms: int | None = None) -> list[Metric]:
    """Return the numbers of a journal's line, and the loss on the val split at each noise level.

    time_ms: when the line was written, if not when it says.
    """
    at_ms = int(line["time"] * 1000) if time_ms is None else time_ms
    names = ("val_loss",) if "val_loss" in line else tuple(METRIC_OF)
    numbers = {METRIC_OF[name]: line[name] for name in names if name in line}
    numbers |= {f"{BY_NOISE}{sigma}": loss for sigma, loss in line.get("levels", {}).items()}
    return [Metric(name, value, at_ms, step) for name, value in numbers.items()]


def training_metrics(result: TrainingResult, finished_ms: int) -> list[Metric]:
    """Return the numbers of a finished training that are no curves."""
    numbers = {"seconds": result.seconds, "parameters": result.parameters, "kimg": result.kimg}
    return [Metric(name, value, finished_ms, 0) for name, value in numbers.items()]


def at_model(metrics: list[Metric], model: str | None, data: DataSource) -> list[Metric]:
    """Return metrics of a training so that MLflow shows them at its logged model, too, if it has one."""
    if model is None:
        return metrics
    numbers = ((one.key, one.value, one.timestamp, one.step) for one in metrics)
    return [Metric(*each, model, data.config.title, data.signature) for each in numbers]


def training_tags(result: TrainingResult) -> list[RunTag]:
    """Return how a finished training was computed, and where it comes from."""
    computing = dataclasses.asdict(result.computing) if result.computing is not None else {}
    tags = [RunTag(f"edm.computing.{name}", str(value)) for name, value in computing.items()]
    return [*tags, *provenance_tags(result.provenance)]


def evaluation_metrics(evaluation: Evaluation, result: EvaluationResult, finished_ms: int) -> list[Metric]:
    """Return the scores of a finished evaluation; FIDs of its first images are a curve against their number."""
    numbers = {**result.metrics, "seconds": result.seconds, "nfe": evaluation.sampling.nfe}
    curves = [
        Metric(f"prefix/{name}", value, finished_ms, int(row["images"]))
        for row in result.prefixes
        for name, value in row.items()
        if name != "images"
    ]
    return [Metric(name, value, finished_ms, 0) for name, value in numbers.items()] + curves


def evaluation_tags(evaluation: Evaluation, result: EvaluationResult, digest: str) -> list[RunTag]:
    """Return what a report needs beside the metrics, and where the result comes from. digest: of its result.json."""
    return [
        RunTag("edm.label", result.label),
        RunTag("edm.training", evaluation.training.signature),
        *(RunTag(f"edm.{name}", json.dumps(getattr(result, name))) for name in RESULT_TAGS),
        RunTag("edm.result", digest),
        RunTag(CODE_TAG, json.dumps(dict(result.code))),
        RunTag(SINCE_TAG, ResultCode.of(result).since),
        *(RunTag(name, value) for name, value in UNFOLDED.items()),
        *provenance_tags(result.provenance),
    ]


def provenance_tags(provenance: Provenance) -> list[RunTag]:
    """Return a person's own tags, and those that say where a result comes from."""
    flat = {name: value for name, value in provenance.to_json().items() if name not in ("packages", "tags")}
    flat |= {f"package.{name}": version for name, version in provenance.packages.items()}
    own = [RunTag(name, value) for name, value in provenance.tags.items()]
    return [*own, *(RunTag(f"edm.{name}", str(value)) for name, value in flat.items())]
