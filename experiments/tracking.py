"""MLflow as a mirror of the store: one way, idempotent. The only file that imports mlflow.

One code path serves live updates, catching up after an outage and filling an empty server: look at what the store has,
look at what MLflow has, send the difference.

A server may be killed after it has written something and before it says so. Then:
- a run: after any error the mirror looks anew and finds it by its signature; of several, all but one are deleted
- numbers: MLflow's databases have (run, key, timestamp, step, value) as the primary key of metrics and answer a second
  copy of a row with success, so that it is stored once. Timestamps come from the store, which makes every copy the same
- a journal's line goes in one call, which is one transaction: where its loss is, all of it is
- parameters, tags and files are overwritten by themselves
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

QUIET = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # a repeated call could make a run twice unseen; the mirror looks first
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})

import mlflow  # noqa: E402
from mlflow.entities import Experiment, Metric, Param, Run, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.store.db.utils import _get_latest_schema_revision, _get_schema_version, _upgrade_db  # noqa: E402
from sqlalchemy import Engine, create_engine, text  # noqa: E402
from sqlalchemy.exc import DatabaseError  # noqa: E402

from experiments import leases  # noqa: E402
from experiments.errors import UserError, one_line  # noqa: E402
from experiments.frames import Found, Trained, joined  # noqa: E402
from experiments.planning import (  # noqa: E402
    TRAINING_SECTIONS,
    Evaluation,
    Piece,
    Plan,
    PlannedCell,
    Training,
    guide_cell,
)
from experiments.provenance import diff_path  # noqa: E402
from experiments.pruning import Pruning  # noqa: E402
from experiments.store import (  # noqa: E402
    DAMAGED,
    FAILURE,
    GRIDS,
    JOURNAL,
    KIND_OF_PIECE,
    LOG,
    PAIRS,
    PRUNED,
    RESULT,
    SAMPLES,
    VALIDATION,
    Store,
    checksum,
    publish,
    read_json,
    temporary_beside,
)
from experiments.syncing import Counts, Known, Notices, OnProgress, Tail  # noqa: E402

DATABASE = "mlflow.db"
PAGE = 200  # runs a call: some 4 ms each, and an answer has to come within the timeout
BATCH = 900  # metrics a call; MLflow takes 1,000
FOUND = ("scores", "notes", "stopped_at", "stopped_by")  # of a result, in tags: what a report needs beside the metrics
CURVES = {JOURNAL: "loss", VALIDATION: "val_loss"}  # of a training's files
PARENT = "mlflow.parentRunId"
FINISHED, FAILED, KILLED, RUNNING = "FINISHED", "FAILED", "KILLED", "RUNNING"

PieceT = TypeVar("PieceT", Training, Evaluation)

log = logging.getLogger("edm_sweep.mlflow")


def embedded_uri(store: Store) -> str:
    """The tracking URI of the database inside a store."""
    return f"sqlite:///{store.root / DATABASE}"


def _ensure_database(path: Path) -> None:
    """Have a whole database of this MLflow's, whatever was killed while it was made; for who holds the mirror's lease.

    MLflow makes its tables in dozens of steps, and refuses for ever what a kill has left of them. One of an older
    MLflow is brought up to date; what cannot be is set aside, as the store has all that it held.
    """
    if path.exists():
        if _is_up_to_date(path):
            return
        place = path.parent / DAMAGED / f"{path.stem}-{secrets.token_hex(4)}"
        place.mkdir(parents=True)
        for file in path.parent.glob(f"{path.name}*"):  # SQLite's own journal with it
            file.rename(place / file.name)
        log.warning("%s: was not a whole database, set aside in %s to be made again", path, place)
    temporary = temporary_beside(path)
    try:
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{temporary}").search_experiments(max_results=1)
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_up_to_date(path: Path) -> bool:
    """Whether a database is this MLflow's, or could be made so; one that holds runs is never given up."""
    engine = create_engine(f"sqlite:///{path}")
    try:
        if _get_schema_version(engine) != _get_latest_schema_revision():
            _upgrade_db(engine)
        return True
    except Exception:  # whatever a migration over half a database may meet
        if _has_runs(engine):
            raise
        return False
    finally:
        engine.dispose()


def _has_runs(engine: Engine) -> bool:
    """Whether a database holds any run; raises where it cannot be asked now."""
    try:
        with engine.connect() as connection:
            return connection.execute(text("SELECT 1 FROM runs LIMIT 1")).first() is not None
    except DatabaseError as error:
        if "no such table" in str(error) or "not a database" in str(error):
            return False
        raise


class Mirror:
    """Brings one experiment of a tracking server up to date with a plan's part of a store.

    place: the store that an embedded database is in, where that is another one, as for what a bundle holds.
    """

    def __init__(self, store: Store, plan: Plan, uri: str, place: Store | None = None) -> None:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails is said in a line, at the end
        self.store, self.plan, self.place = store, plan, place or store
        if uri == embedded_uri(self.place):
            with leases.waited_for(self.place.root / "mirror"):
                _ensure_database(self.place.root / DATABASE)
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        self.uri = uri
        self.experiment = ""
        self.runs: dict[str, Known] = {}
        self.notices = Notices(self.place.root / "mirror", uri, plan.sweep.name)
        self.looked = False
        self.told: dict[str, int] = {}  # evaluations that MLflow has, with the time of the result that it was told
        self.final: set[str] = set()  # pieces that MLflow has and nothing of this plan will change
        self.sent: set[str] = set()  # runs made or changed by this mirror
        self.tails: dict[str, dict[str, Tail]] = {}
        self.mirrored_steps: dict[tuple[str, str], int] = {}
        self.mirrored_grids: dict[str, set[str]] = {}
        self.first_cells = _first_cells(plan)

    @property
    def counts(self) -> Counts:
        """How far the record is by what this mirror knows."""
        there = [known for name, known in self.runs.items() if name in self.plan.names]
        return Counts(len(there), sum(known.status == FINISHED for known in there), len(self.sent))

    def update(self, ended: bool = False, on_progress: OnProgress = lambda done, total: None) -> None:
        """Send what is new; with `ended`, nothing of this run goes on and only what another one does stays as running.

        One mirror of a store writes at a time. An update that fails is repeated by calling this again.
        """
        with leases.waited_for(self.place.root / "mirror"):
            known, self.looked = self.looked, False  # what a lost answer leaves behind is seen only by looking
            if known:
                self._hear_of_others()
            else:
                self._look()
            self._send(ended, on_progress)
            self.looked = True

    def _look(self) -> None:
        """Read all that MLflow has."""
        self.notices.of_others()
        self.experiment = self._experiment()
        self.runs = self._reconciled(_all_runs(self.client, self.experiment))
        self.told, self.final, self.tails = {}, set(), {}
        self.mirrored_steps, self.mirrored_grids = {}, {}

    def _experiment(self) -> str:
        name = self.plan.sweep.name
        found: Experiment | None = self.client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage != "active":
                self.client.restore_experiment(found.experiment_id)
            return found.experiment_id
        place = (self.place.root / "mlartifacts" / name).as_uri() if self.uri.startswith("sqlite:") else None
        return self.client.create_experiment(name, artifact_location=place)

    def _reconciled(self, runs: Iterator[Run]) -> dict[str, Known]:
        """One run for each signature: a finished one before others, then the oldest; those too many are deleted."""
        found: dict[str, dict[str, tuple[tuple[bool, int], Known]]] = {}
        for run in runs:
            copies = found.setdefault(run.data.tags.get("edm.signature", ""), {})
            copies[run.info.run_id] = (run.info.status != FINISHED, run.info.start_time), _known(run)
        found.pop("", None)  # a person's own
        kept = {}
        for signature, copies in found.items():
            kept[signature], *others = (known for _, known in sorted(copies.values(), key=lambda copy: copy[0]))
            for known in others:
                self.client.delete_run(known.run_id)
        return kept

    def _hear_of_others(self) -> None:
        """Look at what other mirrors have changed, and at nothing else."""
        for signature, run_id in self.notices.of_others().items():
            self.runs[signature] = _known(self.client.get_run(run_id))
            self.told.pop(signature, None)
            self.final.discard(signature)
            self.tails.pop(signature, None)
            self.mirrored_grids.pop(signature, None)
            for key in CURVES.values():
                self.mirrored_steps.pop((signature, key), None)

    def _send(self, ended: bool, on_progress: OnProgress) -> None:
        if ended:
            self.final.clear()  # a last look at the disk: what was damaged may have been redone
            self._end_strays()
        trainings, evaluations = self._due(self.plan.trainings), self._due(self.plan.evaluations)
        total = len(trainings) + len(evaluations)
        for done, training in enumerate(trainings, 1):
            self._training(training, ended)
            on_progress(done, total)
        for done, evaluation in enumerate(evaluations, 1 + len(trainings)):
            self._evaluation(evaluation)
            on_progress(done, total)

    def _end_strays(self) -> None:
        """End the runs of what the sweep no longer asks for and nobody is at."""
        for signature, known in self.runs.items():
            if known.status != RUNNING or signature in self.plan.names:
                continue
            folders = [self.store.folder(kind, signature) for kind in KIND_OF_PIECE.values()]
            begun = [folder for folder in folders if folder.exists()]  # here, and not in another store
            if begun and all(leases.holder(folder) is None for folder in begun):
                self._end(signature, KILLED, "interrupted, and not in the sweep any more")

    def _due(self, pieces: Mapping[str, PieceT]) -> list[PieceT]:
        """Those pieces of a kind that have begun and may have more to tell."""
        open_ = [piece for name, piece in pieces.items() if name not in self.final]
        if not open_:
            return []
        try:
            begun = set(os.listdir(self.store.root / KIND_OF_PIECE[open_[0].kind]))
        except FileNotFoundError:
            return []
        return [piece for piece in open_ if piece.signature in begun and not self._is_told(piece)]

    def _is_told(self, piece: Piece) -> bool:
        """Whether a result is still the one that MLflow was told."""
        told = self.told.get(piece.signature)
        return told is not None and told == _modified_ns(self._folder(piece) / RESULT)

    def _training(self, training: Training, ended: bool) -> None:
        name, folder = training.signature, self._folder(training)
        if self._status(name) == FINISHED:
            self.final.add(name)
            return
        result = self.store.result("trainings", name)
        if result is None and not any((folder / file).exists() for file in (FAILURE, PRUNED, JOURNAL)):
            return
        run = self._run(training, None, self._parameters(name, TRAINING_SECTIONS), result)
        self._curves(run, training, folder)
        self._grids(run, name, folder)
        if result is None:
            self._end(name, *_unfinished(folder, ended))
            return
        numbers = {key: result[key] for key in ("seconds", "parameters", "kimg")}
        tags = [RunTag(f"edm.computing.{key}", str(value)) for key, value in result.get("computing", {}).items()]
        metrics = [Metric(key, value, _finished_ms(folder), 0) for key, value in numbers.items()]
        self._finish(name, folder, metrics, tags + _provenance_tags(result), ("config.yaml", "log.txt"))
        self.final.add(name)

    def _curves(self, run: Known, training: Training, folder: Path) -> None:
        """Send the journals' lines that MLflow does not have; the step of a curve counts images seen."""
        name, batch_size = training.signature, training.config.batch_size
        tails = self.tails.setdefault(name, {file: Tail(folder / file) for file in CURVES})
        fresh = []
        for file, key in CURVES.items():
            lines = tails[file].fresh()
            sent = self._mirrored(run, name, key) if lines else -1
            new = [line for line in lines if line["step"] * batch_size > sent]
            fresh += [_metrics(line, line["step"] * batch_size) for line in new]
            if lines:
                self.mirrored_steps[name, key] = max([sent, *(line["step"] * batch_size for line in new)])
        for batch in _batches(fresh):
            self.client.log_batch(run.run_id, metrics=batch)

    def _mirrored(self, run: Known, name: str, key: str) -> int:
        """Up to which step MLflow has a curve."""
        if (name, key) not in self.mirrored_steps:
            known = self.client.get_metric_history(run.run_id, key)
            self.mirrored_steps[name, key] = max((metric.step for metric in known), default=-1)
        return self.mirrored_steps[name, key]

    def _grids(self, run: Known, name: str, folder: Path) -> None:
        """Send the sample grids that MLflow was not sent by this mirror; sending one twice stores it once."""
        sent = self.mirrored_grids.setdefault(name, set())
        for path in sorted((folder / GRIDS).glob("[!.]*.png")):
            if path.name not in sent:
                self.client.log_artifact(run.run_id, str(path), GRIDS)
                sent.add(path.name)

    def _evaluation(self, evaluation: Evaluation) -> None:
        name, folder = evaluation.signature, self._folder(evaluation)
        modified = _modified_ns(folder / RESULT)  # before it is read: one that is replaced meanwhile is read again
        result = self.store.result("evaluations", name)
        if result is None:
            self._failed_evaluation(evaluation, folder)
            return
        told = checksum(folder / RESULT)
        known = self.runs.get(name)
        if known is None or known.status != FINISHED or known.result != told:
            self._finished_evaluation(evaluation, folder, result, told)
        if modified is not None:
            self.told[name] = modified
        if evaluation.is_covered_by(result):
            self.final.add(name)

    def _failed_evaluation(self, evaluation: Evaluation, folder: Path) -> None:
        failure = read_json(folder / FAILURE)
        if failure is not None:
            self._evaluation_run(evaluation, None)
            self._end(evaluation.signature, FAILED, failure["message"])

    def _finished_evaluation(self, evaluation: Evaluation, folder: Path, result: dict[str, Any], told: str) -> None:
        self._evaluation_run(evaluation, result)
        numbers = {**result["metrics"], "seconds": result["seconds"], "nfe": evaluation.sampling.nfe}
        metrics = [Metric(key, value, _finished_ms(folder), 0) for key, value in numbers.items()]
        metrics += _prefix_metrics(result, _finished_ms(folder))
        tags = [RunTag("edm.label", result["label"]), RunTag("edm.training", evaluation.training.signature)]
        tags += [RunTag(f"edm.{key}", json.dumps(result[key])) for key in FOUND]
        tags.append(RunTag("edm.result", told))
        self._finish(evaluation.signature, folder, metrics, tags + _provenance_tags(result), (SAMPLES, PAIRS, LOG))
        self.runs[evaluation.signature].result = told

    # MLflow ---------------------------------------------------------------------------------------

    def _folder(self, piece: Piece) -> Path:
        return self.store.folder(KIND_OF_PIECE[piece.kind], piece.signature)

    def _status(self, signature: str) -> str | None:
        known = self.runs.get(signature)
        return known.status if known else None

    def _changed(self, signature: str) -> None:
        self.sent.add(signature)
        self.notices.leave(signature, self.runs[signature].run_id)

    def _parameters(self, signature: str, sections: tuple[str, ...] | None = None) -> list[Param]:
        parameters = self.first_cells[signature].cell.parameters()
        wanted = {k: v for k, v in parameters.items() if sections is None or k == "seed" or k.split(".")[0] in sections}
        return [Param(key, str(value)) for key, value in wanted.items()]

    def _evaluation_run(self, evaluation: Evaluation, result: dict[str, Any] | None) -> None:
        """The run of an evaluation, under that of its training."""
        parent = self.runs.get(evaluation.training.signature)
        run = self._run(evaluation, parent, self._parameters(evaluation.signature), result)
        if parent is not None and run.parent != parent.run_id:  # a training's run that was there twice, and deleted
            self.client.set_tag(run.run_id, PARENT, parent.run_id)
            run.parent = parent.run_id

    def _run(self, piece: Piece, parent: Known | None, parameters: list[Param], result: dict[str, Any] | None) -> Known:
        """The run of a piece of work, made with all its parameters if it is not there."""
        run = self.runs.get(piece.signature) or self._made(piece, parent, result)
        if not run.has_parameters:  # it is new, or a kill came between making it and telling them
            self.client.log_batch(run.run_id, params=parameters)
            run.has_parameters = True
        return run

    def _made(self, piece: Piece, parent: Known | None, result: dict[str, Any] | None) -> Known:
        signature = piece.signature
        tags = {
            "edm.signature": signature,
            "edm.kind": piece.kind,
            "edm.sweep": self.plan.sweep.name,
            "edm.store": self.store.name,
            "mlflow.source.name": "edm-sweep",
        }
        began_ms = _finished_ms(self._folder(piece)) - int(result["seconds"] * 1000) if result is not None else None
        if parent is not None:
            tags[PARENT] = parent.run_id
        run = self.client.create_run(
            self.experiment, start_time=began_ms, run_name=self.plan.names[signature], tags=tags
        )
        self.runs[signature] = _known(run)
        self.mirrored_steps |= {(signature, key): -1 for key in CURVES.values()}
        self._changed(signature)
        return self.runs[signature]

    def _finish(
        self, signature: str, folder: Path, metrics: list[Metric], tags: list[RunTag], artifacts: tuple[str, ...]
    ) -> None:
        run = self.runs[signature]
        for name in artifacts:
            if (folder / name).exists():
                self.client.log_artifact(run.run_id, str(folder / name))
        for tag in tags:
            if tag.key == "edm.git_diff" and (diff := diff_path(self.store, tag.value)).exists():
                self.client.log_artifact(run.run_id, str(diff))
        tags = [*tags, RunTag("edm.status", "done")]
        self.client.log_batch(run.run_id, metrics=metrics, tags=tags)
        self.client.set_terminated(run.run_id, FINISHED, _finished_ms(folder))
        run.status, run.message = FINISHED, "done"
        self._changed(signature)

    def _end(self, signature: str, status: str, message: str, pruned_at: float | None = None) -> None:
        """Say how a run stands that is not finished."""
        run = self.runs[signature]
        if run.status == status and run.message == message:
            return
        tags = [RunTag("edm.status", message), RunTag("edm.pruned_at", json.dumps(pruned_at))]
        self.client.log_batch(run.run_id, tags=tags)
        if status == RUNNING:
            self.client.update_run(run.run_id, status=RUNNING)
        else:
            self.client.set_terminated(run.run_id, status)
        run.status, run.message = status, message
        self._changed(signature)


def _first_cells(plan: Plan) -> dict[str, PlannedCell]:
    """Of every piece of work the first cell that it is for."""
    cells: dict[str, PlannedCell] = {}
    for planned in plan.cells:
        cells.setdefault(planned.training.signature, planned)
        cells.setdefault(planned.evaluation.signature, planned)
    for planned in plan.cells:  # last, as a guide may be another cell's network
        guide, cell = planned.evaluation.guide, guide_cell(planned.cell)
        if guide is not None and cell is not None:
            cells.setdefault(guide.signature, dataclasses.replace(planned, cell=cell, training=guide))
    return cells


def _known(run: Run) -> Known:
    tags = run.data.tags
    return Known(
        run.info.run_id,
        run.info.status,
        has_parameters=bool(run.data.params),
        message=tags.get("edm.status", ""),
        result=tags.get("edm.result", ""),
        parent=tags.get(PARENT, ""),
    )


def _unfinished(folder: Path, ended: bool) -> tuple[str, str, float | None]:
    """How a training stands that has begun and is not finished: MLflow's status, a message, the kimg of its pruning."""
    pruning, failure = Pruning.of(folder), read_json(folder / FAILURE)
    if pruning is not None:
        return KILLED, pruning.text, pruning.kimg
    if failure is not None:
        return FAILED, failure["message"], None
    if ended and leases.holder(folder) is None:  # else another run is at it
        return KILLED, "interrupted; run the sweep again to go on", None
    return RUNNING, "", None


def _batches(lines: Iterable[list[Metric]]) -> Iterator[list[Metric]]:
    """Lines' metrics in as few calls as may be, none of them cut in two."""
    batch: list[Metric] = []
    for line in lines:
        if batch and len(batch) + len(line) > BATCH:
            yield batch
            batch = []
        batch = batch + line
    if batch:
        yield batch


def _modified_ns(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _metrics(line: dict[str, Any], step: int) -> list[Metric]:
    """A journal's line as metrics: its numbers, and the loss on the val split at each noise level."""
    told = ("val_loss",) if "val_loss" in line else ("loss", "kimg", "images_per_s", "memory_gib")
    numbers = {key: line[key] for key in told if key in line}
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
    return int((folder / RESULT).stat().st_mtime * 1000)


def _provenance_tags(result: dict[str, Any]) -> list[RunTag]:
    provenance = result["provenance"]
    flat = {key: value for key, value in provenance.items() if not isinstance(value, dict)}
    flat |= {f"package.{name}": version for name, version in provenance["packages"].items()}
    own = [RunTag(key, value) for key, value in provenance.get("tags", {}).items()]
    return [*own, *(RunTag(f"edm.{key}", str(value)) for key, value in flat.items())]


def sync(
    plan: Plan,
    store: Store,
    uri: str,
    on_progress: OnProgress = lambda done, total: None,
    place: Store | None = None,
) -> Counts:
    """Bring a record up to date with a store by hand; raises UserError where the server does not answer."""
    with _answering(uri, "nothing is lost: try again when it does"):
        mirror = Mirror(store, plan, uri, place)
        mirror.update(ended=True, on_progress=on_progress)
    return mirror.counts


@contextmanager
def _answering(uri: str, remedy: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, ImportError) as error:  # the latter of a kind of database that needs a package of its own
        raise UserError(f"--tracking-uri {uri}: does not answer ({one_line(error)}); {remedy}") from None


def found_in_mlflow(plan: Plan, uri: str) -> dict[str, Found]:
    """A plan's finished evaluations as MLflow has them, and those whose training was pruned, by signature.

    Raises UserError where the server does not answer or has no such experiment.
    """
    done: dict[str, Found] = {}
    trained = dict.fromkeys(plan.trainings, Trained())
    with _answering(uri, "leave it out to use the store"):
        client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(plan.sweep.name)
        if experiment is None:
            raise UserError(f"--tracking-uri {uri}: has no experiment {plan.sweep.name!r}; run the sweep with it first")
        for run in _all_runs(client, experiment.experiment_id):
            name, status = run.data.tags.get("edm.signature", ""), run.info.status
            if name in plan.trainings and status in (FINISHED, KILLED):
                trained[name] = _trained(run)
            elif name in plan.evaluations and status == FINISHED:
                done[name] = _found(run)
    return joined(plan, done, trained)


def _trained(run: Run) -> Trained:
    if run.info.status == KILLED:
        return Trained(pruned_at=json.loads(run.data.tags.get("edm.pruned_at", "null")))
    micro_batch = run.data.tags.get("edm.computing.micro_batch", "None")
    return Trained(micro_batch=None if micro_batch == "None" else int(micro_batch))


def _found(run: Run) -> Found:
    scores, notes, *stopped = (json.loads(run.data.tags.get(f"edm.{key}", "null")) for key in FOUND)
    # MLflow's databases hold the largest number there is in place of infinity
    told = run.data.metrics.items()
    metrics = {key: math.copysign(math.inf, v) if abs(v) >= sys.float_info.max else v for key, v in told}
    return Found(metrics, frozenset(scores or ()), tuple(notes or ()), *stopped)


def _all_runs(client: mlflow.MlflowClient, experiment: str) -> Iterator[Run]:
    """Run by run, as each holds a hundred numbers."""
    token = None
    while True:
        page = client.search_runs([experiment], max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
