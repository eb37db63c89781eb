"""Runs, metrics and tags as MLflow has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.tracking import mlflow_environment  # noqa: F401  isort: skip  (MLflow reads it as it is imported)
import mlflow
from mlflow.entities import Metric, Run, RunTag
from mlflow.exceptions import MlflowException

from experiments.errors import UserError, one_line
from experiments.store import leases
from experiments.store.failures import Failure
from experiments.store.layout import JOURNAL, RESULT, VALIDATION
from experiments.store.results import EvaluationResult, Provenance
from experiments.store.training_records import Pruning
from experiments.sweep.plan import Plan, PlannedCell, guide_cell
from experiments.tracking.sync_state import MirroredRun

PAGE = 200  # runs a call: some 4 ms each, and an answer has to come within the timeout
BATCH = 900  # metrics a call; MLflow takes 1,000
FOUND = ("scores", "notes", "stopped_at", "stopped_by")  # of a result, in tags: what a report needs beside the metrics
CURVES = {JOURNAL: "loss", VALIDATION: "val_loss"}  # of a training's files
PARENT = "mlflow.parentRunId"
FINISHED, FAILED, KILLED, RUNNING = "FINISHED", "FAILED", "KILLED", "RUNNING"


def first_cells(plan: Plan) -> dict[str, PlannedCell]:
    """Of every task the first cell that it is for."""
    cells: dict[str, PlannedCell] = {}
    for planned in plan.cells:
        cells.setdefault(planned.training.signature, planned)
        cells.setdefault(planned.evaluation.signature, planned)
    for planned in plan.cells:  # last, as a guide may be another cell's network
        guide, cell = planned.evaluation.guide, guide_cell(planned.cell)
        if guide is not None and cell is not None:
            cells.setdefault(guide.signature, dataclasses.replace(planned, cell=cell, training=guide))
    return cells


def known_run(run: Run) -> MirroredRun:
    tags = run.data.tags
    return MirroredRun(
        run.info.run_id,
        run.info.status,
        has_parameters=bool(run.data.params),
        message=tags.get("edm.status", ""),
        result=tags.get("edm.result", ""),
        parent=tags.get(PARENT, ""),
    )


def unfinished(folder: Path, ended: bool) -> tuple[str, str, float | None]:
    """How a training stands that has begun and is not finished: MLflow's status, a message, the kimg of its pruning."""
    pruning, failure = Pruning.of(folder), Failure.read(folder)
    if pruning is not None:
        return KILLED, pruning.text, pruning.kimg
    if failure is not None:
        return FAILED, failure.message, None
    if ended and leases.holder(folder) is None:  # else another run is at it
        return KILLED, "interrupted; run the sweep again to go on", None
    return RUNNING, "", None


def batches(lines: Iterable[list[Metric]]) -> Iterator[list[Metric]]:
    """Lines' metrics in as few calls as may be, none of them cut in two."""
    batch: list[Metric] = []
    for line in lines:
        if batch and len(batch) + len(line) > BATCH:
            yield batch
            batch = []
        batch = batch + line
    if batch:
        yield batch


def modified_ns(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def curve_metrics(line: dict[str, Any], step: int) -> list[Metric]:
    """A journal's line as metrics: its numbers, and the loss on the val split at each noise level."""
    told = ("val_loss",) if "val_loss" in line else ("loss", "kimg", "images_per_s", "memory_gib")
    numbers = {key: line[key] for key in told if key in line}
    numbers |= {f"val_loss_at/{sigma}": loss for sigma, loss in line.get("levels", {}).items()}
    return [Metric(key, value, int(line["time"] * 1000), step) for key, value in numbers.items()]


def prefix_metrics(result: EvaluationResult, finished_ms: int) -> list[Metric]:
    """FIDs of the first images alone, with the number of images as the step: a curve."""
    return [
        Metric(f"prefix/{key}", value, finished_ms, int(row["images"]))
        for row in result.prefixes
        for key, value in row.items()
        if key != "images"
    ]


def finished_ms(folder: Path) -> int:
    return int((folder / RESULT).stat().st_mtime * 1000)


def provenance_tags(provenance: Provenance) -> list[RunTag]:
    flat = {key: value for key, value in provenance.to_json().items() if key not in ("packages", "tags")}
    flat |= {f"package.{name}": version for name, version in provenance.packages.items()}
    own = [RunTag(key, value) for key, value in provenance.tags.items()]
    return [*own, *(RunTag(f"edm.{key}", str(value)) for key, value in flat.items())]


@contextmanager
def answering(uri: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, ImportError) as error:  # the latter of a kind of database that needs a package of its own
        raise UserError(f"--tracking-uri {uri}: does not answer ({one_line(error)}); {remedy}") from None


def all_runs(client: mlflow.MlflowClient, experiment: str) -> Iterator[Run]:
    """Run by run, as each holds a hundred numbers."""
    token = None
    while True:
        page = client.search_runs([experiment], max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
