"""MLflow as a mirror of the store: one way, idempotent. The only file that imports mlflow.

One code path serves live updates, catching up after an outage and filling an empty server: look at what the store has,
look at what MLflow has, send the difference. Timestamps come from the store, so that sending a line twice stores it
once.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import secrets
import sys
import threading
from pathlib import Path
from typing import Any

QUIET = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})

import mlflow  # noqa: E402
from filelock import FileLock  # noqa: E402
from mlflow.entities import Experiment, Metric, Param, Run, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

from experiments.errors import UserError  # noqa: E402
from experiments.plan import (  # noqa: E402
    TRAINING_SECTIONS,
    Evaluation,
    Piece,
    Plan,
    PlannedCell,
    Training,
    guide_cell,
)
from experiments.results import Found  # noqa: E402
from experiments.store import (  # noqa: E402
    FAILURE,
    GRIDS,
    JOURNAL,
    KIND_OF_PIECE,
    LOG,
    PAIRS,
    RESULT,
    SAMPLES,
    VALIDATION,
    Journal,
    Store,
    checksum,
    read_json,
)

PERIOD_S = 3.0
BATCH = 900  # metrics a call; MLflow takes 1,000
FOUND = ("scores", "notes", "stopped_at", "stopped_by")  # of a result, in tags: what a report needs beside the metrics
FINISHED, FAILED, KILLED, RUNNING = "FINISHED", "FAILED", "KILLED", "RUNNING"

log = logging.getLogger("edm_sweep.mlflow")


def embedded_uri(store: Store) -> str:
    """The tracking URI of the database inside a store."""
    return f"sqlite:///{store.root / 'mlflow.db'}"


class Mirror:
    """Brings one experiment of a tracking server up to date with a plan's part of a store."""

    def __init__(self, store: Store, plan: Plan, uri: str) -> None:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.store, self.plan = store, plan
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        self.uri = uri
        self.identity = secrets.token_hex(8)
        self.experiment = ""
        self.runs: dict[str, Run] = {}
        self.mirrored_steps: dict[tuple[str, str], int] = {}
        self.mirrored_grids: dict[str, set[str]] = {}
        self.first_cells: dict[str, PlannedCell] = {}
        for planned in plan.cells:
            self.first_cells.setdefault(planned.training.signature, planned)
            self.first_cells.setdefault(planned.evaluation.signature, planned)
        for planned in plan.cells:  # last, as a guide may be another cell's network
            guide, cell = planned.evaluation.guide, guide_cell(planned.cell)
            if guide is not None and cell is not None:
                self.first_cells.setdefault(guide.signature, dataclasses.replace(planned, cell=cell, training=guide))

    def _experiment(self) -> str:
        name = self.plan.sweep.name
        found: Experiment | None = self.client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage != "active":
                self.client.restore_experiment(found.experiment_id)
            return found.experiment_id
        place = (self.store.root / "mlartifacts" / name).as_uri() if self.uri.startswith("sqlite:") else None
        return self.client.create_experiment(name, artifact_location=place)

    def update(self, ended: bool = False) -> None:
        """Send what is new; with `ended`, nothing runs any more and no run is left as running.

        One mirror of a store writes at a time, and looks anew where another one has written since.
        """
        with FileLock(self.store.root / ".mirror.lock"):
            last_writer = self.store.root / ".mirror.writer"
            if not last_writer.exists() or last_writer.read_text() != self.identity:
                self._look()
                last_writer.write_text(self.identity)
            self._send(ended)

    def _look(self) -> None:
        self.experiment = self._experiment()
        runs = _all_runs(self.client, self.experiment)
        self.runs = {run.data.tags["edm.signature"]: run for run in runs if "edm.signature" in run.data.tags}
        self.mirrored_steps, self.mirrored_grids = {}, {}

    def _send(self, ended: bool) -> None:
        for training in self.plan.trainings.values():
            self._training(training, ended)
        for evaluation in self.plan.evaluations.values():
            self._evaluation(evaluation)

    def _training(self, training: Training, ended: bool) -> None:
        name = training.signature
        if self._status(name) == FINISHED:
            return
        folder, result = self.store.folder("trainings", name), self.store.result("trainings", name)
        failure = read_json(folder / FAILURE)
        if result is None and failure is None and not (folder / JOURNAL).exists():
            return
        run = self._run(training, None, self._parameters(name, TRAINING_SECTIONS), result)
        self._curves(run, training, folder)
        self._grids(run, name, folder)
        if result is not None:
            numbers = {key: result[key] for key in ("seconds", "parameters", "kimg")}
            tags = [RunTag(f"edm.computing.{key}", str(value)) for key, value in result.get("computing", {}).items()]
            metrics = [Metric(key, value, _finished_ms(folder), 0) for key, value in numbers.items()]
            self._finish(run, folder, metrics, tags + _provenance_tags(result), ("config.yaml", "log.txt"))
        elif failure is not None:
            self._end(run, FAILED, failure["message"])
        elif ended:
            self._end(run, KILLED, "interrupted; run the sweep again to go on")
        elif self._status(name) != RUNNING:
            self._end(run, RUNNING, "")

    def _curves(self, run: Run, training: Training, folder: Path) -> None:
        """Send the journals' lines that MLflow does not have; the step of a curve counts images seen."""
        name, batch_size = training.signature, training.config.batch_size
        metrics = []
        for journal, key in ((JOURNAL, "loss"), (VALIDATION, "val_loss")):
            lines = Journal(folder / journal).read()
            sent = self._mirrored(run, name, key)
            fresh = [line for line in lines if line["step"] * batch_size > sent]
            metrics += [metric for line in fresh for metric in _metrics(line, line["step"] * batch_size)]
            self.mirrored_steps[name, key] = max([sent, *(line["step"] * batch_size for line in fresh)])
        for first in range(0, len(metrics), BATCH):
            self.client.log_batch(run.info.run_id, metrics=metrics[first : first + BATCH])

    def _mirrored(self, run: Run, name: str, key: str) -> int:
        """Up to which step MLflow has a curve."""
        if (name, key) not in self.mirrored_steps:
            known = self.client.get_metric_history(run.info.run_id, key) if key in run.data.metrics else []
            self.mirrored_steps[name, key] = max((metric.step for metric in known), default=-1)
        return self.mirrored_steps[name, key]

    def _grids(self, run: Run, name: str, folder: Path) -> None:
        """Send the sample grids that MLflow was not sent by this mirror; sending one twice stores it once."""
        sent = self.mirrored_grids.setdefault(name, set())
        for path in sorted((folder / GRIDS).glob("[!.]*.png")):
            if path.name not in sent:
                self.client.log_artifact(run.info.run_id, str(path), GRIDS)
                sent.add(path.name)

    def _evaluation(self, evaluation: Evaluation) -> None:
        name = evaluation.signature
        result = self.store.result("evaluations", name)
        folder = self.store.folder("evaluations", name)
        failure = read_json(folder / FAILURE)
        if result is None and failure is None:
            return
        if self._status(name) == FINISHED and result is not None and self._is_told(name, folder):
            return
        parent = self.runs.get(evaluation.training.signature)
        run = self._run(evaluation, parent, self._parameters(name), result)
        if result is None:
            self._end(run, FAILED, failure["message"] if failure else "")
            return
        numbers = {**result["metrics"], "seconds": result["seconds"], "nfe": evaluation.sampling.nfe}
        metrics = [Metric(key, value, _finished_ms(folder), 0) for key, value in numbers.items()]
        metrics += _prefix_metrics(result, _finished_ms(folder))
        tags = [RunTag("edm.label", result["label"]), RunTag("edm.training", evaluation.training.signature)]
        tags += [RunTag(f"edm.{key}", json.dumps(result[key])) for key in FOUND]
        tags.append(RunTag("edm.result", checksum(folder / RESULT)))
        self._finish(run, folder, metrics, tags + _provenance_tags(result), (SAMPLES, PAIRS, LOG))

    def _is_told(self, name: str, folder: Path) -> bool:
        """Whether MLflow has this very result, not an earlier one."""
        return self.runs[name].data.tags.get("edm.result") == checksum(folder / RESULT)

    # MLflow ---------------------------------------------------------------------------------------

    def _status(self, signature: str) -> str | None:
        run = self.runs.get(signature)
        return run.info.status if run else None

    def _parameters(self, signature: str, sections: tuple[str, ...] | None = None) -> list[Param]:
        parameters = self.first_cells[signature].cell.parameters()
        wanted = {k: v for k, v in parameters.items() if sections is None or k == "seed" or k.split(".")[0] in sections}
        return [Param(key, str(value)) for key, value in wanted.items()]

    def _run(self, piece: Piece, parent: Run | None, parameters: list[Param], result: dict[str, Any] | None) -> Run:
        """The run of a piece of work, made with all its parameters if it is not there."""
        signature = piece.signature
        if signature in self.runs:
            run = self.runs[signature]
            if not run.data.params:  # a kill came between making it and telling them
                self.client.log_batch(run.info.run_id, params=parameters)
            return run
        tags = {
            "edm.signature": signature,
            "edm.kind": piece.kind,
            "edm.sweep": self.plan.sweep.name,
            "edm.store": str(self.store.root),
            "mlflow.source.name": "edm-sweep",
        }
        folder = self.store.folder(KIND_OF_PIECE[piece.kind], signature)
        began_ms = _finished_ms(folder) - int(result["seconds"] * 1000) if result is not None else None
        if parent is not None:
            tags["mlflow.parentRunId"] = parent.info.run_id
        run = self.client.create_run(
            self.experiment, start_time=began_ms, run_name=self.plan.names[signature], tags=tags
        )
        self.client.log_batch(run.info.run_id, params=parameters)
        self.runs[signature] = self.client.get_run(run.info.run_id)
        return self.runs[signature]

    def _finish(
        self, run: Run, folder: Path, metrics: list[Metric], tags: list[RunTag], artifacts: tuple[str, ...]
    ) -> None:
        for name in artifacts:
            if (folder / name).exists():
                self.client.log_artifact(run.info.run_id, str(folder / name))
        tags = [*tags, RunTag("edm.status", "done")]
        self.client.log_batch(run.info.run_id, metrics=metrics, tags=tags)
        self._set_status(run, FINISHED, _finished_ms(folder))

    def _end(self, run: Run, status: str, message: str) -> None:
        if run.info.status == status and run.data.tags.get("edm.status") == message:
            return
        self.client.set_tag(run.info.run_id, "edm.status", message)
        self._set_status(run, status)

    def _set_status(self, run: Run, status: str, ended_ms: int | None = None) -> None:
        if status == RUNNING:
            self.client.update_run(run.info.run_id, status=RUNNING)
        else:
            self.client.set_terminated(run.info.run_id, status, ended_ms)
        self.runs[run.data.tags["edm.signature"]] = self.client.get_run(run.info.run_id)


def _metrics(line: dict[str, Any], step: int) -> list[Metric]:
    """A journal's line as metrics: its numbers, and the loss on the val split at each noise level."""
    numbers = {key: line[key] for key in ("loss", "val_loss", "kimg", "images_per_s", "memory_gib") if key in line}
    numbers |= {f"val_loss_at/{sigma}": loss for sigma, loss in line.get("levels", {}).items()}
    return [Metric(key, value, int(line["time"] * 1000), step) for key, value in numbers.items()]


def _prefix_metrics(result: dict[str, Any], finished_ms: int) -> list[Metric]:
    """FIDs of the first images alone, with the number of images as the step: a curve."""
    return [
        Metric(f"prefix/{key}", value, finished_ms, int(row["images"]))
        for row in result["prefixes"]
        for key, value in row.items()
        if key != "images"
    ]


def _finished_ms(folder: Path) -> int:
    return int((folder / "result.json").stat().st_mtime * 1000)


def _provenance_tags(result: dict[str, Any]) -> list[RunTag]:
    provenance = result["provenance"]
    flat = {key: value for key, value in provenance.items() if not isinstance(value, dict)}
    flat |= {f"package.{name}": version for name, version in provenance["packages"].items()}
    return [RunTag(f"edm.{key}", str(value)) for key, value in flat.items()]


class MirrorThread:
    """A mirror kept up to date in the background: a server that is slow or down slows nothing."""

    def __init__(self, store: Store, plan: Plan, uri: str) -> None:
        self.store, self.plan, self.uri = store, plan, uri
        self.problem: str | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="mlflow-mirror", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        mirror: Mirror | None = None
        while True:
            ending = self._ending.is_set()  # asked before the update, so that the last one sees everything
            try:
                mirror = mirror or Mirror(self.store, self.plan, self.uri)
                mirror.update(ended=ending)
                self.problem = None
            except Exception as error:
                # whatever a server or a database may say: MLflow is a mirror, and the next round tries again
                mirror, self.problem = None, _one_line(error)
            if ending:
                return
            self._ending.wait(PERIOD_S)

    def finish(self, timeout_s: float) -> str | None:
        """Catch up and end; returns what went wrong, or None where MLflow has everything."""
        self._ending.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return self.problem or f"no answer within {timeout_s:.0f} s"
        return self.problem


def _one_line(error: Exception) -> str:
    text = error.message if isinstance(error, MlflowException) else str(error)
    lines = text.strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def found_in_mlflow(plan: Plan, uri: str) -> dict[str, Found]:
    """A plan's finished evaluations as MLflow has them, by signature.

    Raises UserError where the server does not answer or has no such experiment.
    """
    client = mlflow.MlflowClient(tracking_uri=uri)
    try:
        experiment = client.get_experiment_by_name(plan.sweep.name)
        if experiment is None:
            raise UserError(f"--tracking-uri {uri}: has no experiment {plan.sweep.name!r}; run the sweep with it first")
        runs = _all_runs(client, experiment.experiment_id)
    except MlflowException as error:
        raise UserError(
            f"--tracking-uri {uri}: does not answer ({_one_line(error)}); leave it out to use the store"
        ) from None
    finished = {run.data.tags.get("edm.signature", ""): run for run in runs if run.info.status == FINISHED}
    return {name: _found(finished[name]) for name in plan.evaluations if name in finished}


def _found(run: Run) -> Found:
    scores, notes, *stopped = (json.loads(run.data.tags.get(f"edm.{key}", "null")) for key in FOUND)
    # MLflow's databases hold the largest number there is in place of infinity
    told = run.data.metrics.items()
    metrics = {key: math.copysign(math.inf, v) if abs(v) >= sys.float_info.max else v for key, v in told}
    return Found(metrics, frozenset(scores or ()), tuple(notes or ()), *stopped)


def _all_runs(client: mlflow.MlflowClient, experiment: str) -> list[Run]:
    runs, token = [], None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs
