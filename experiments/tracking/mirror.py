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

import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from experiments.tracking import mlflow_environment  # noqa: F401  isort: skip  (MLflow reads it as it is imported)
import mlflow
from mlflow.entities import Experiment, Metric, Param, Run, RunTag

from experiments.store import leases
from experiments.store.failures import Failure
from experiments.store.files import checksum
from experiments.store.layout import FAILURE, FOLDER_OF_TASK, GRIDS, JOURNAL, LOG, PAIRS, PRUNED, RESULT, SAMPLES
from experiments.store.provenance import diff_path
from experiments.store.results import EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import TRAINING_SECTIONS, Plan
from experiments.sweep.tasks import Evaluation, SweepTask, Training
from experiments.tracking.database import DATABASE, embedded_uri, ensure_database
from experiments.tracking.runs import (
    CURVES,
    FAILED,
    FINISHED,
    FOUND,
    KILLED,
    PARENT,
    RUNNING,
    all_runs,
    answering,
    batches,
    curve_metrics,
    finished_ms,
    first_cells,
    known_run,
    modified_ns,
    prefix_metrics,
    provenance_tags,
    unfinished,
)
from experiments.tracking.sync_state import CurveTail, MirroredRun, Notices, OnSyncProgress, SyncCounts

TaskT = TypeVar("TaskT", Training, Evaluation)
TaskResult = TrainingResult | EvaluationResult


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
                ensure_database(self.place.root / DATABASE)
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        self.uri = uri
        self.experiment = ""
        self.runs: dict[str, MirroredRun] = {}
        self.notices = Notices(self.place.root / "mirror", uri, plan.sweep.name)
        self.looked = False
        self.told: dict[str, int] = {}  # evaluations that MLflow has, with the time of the result that it was told
        self.final: set[str] = set()  # tasks that MLflow has and nothing of this plan will change
        self.sent: set[str] = set()  # runs made or changed by this mirror
        self.tails: dict[str, dict[str, CurveTail]] = {}
        self.mirrored_steps: dict[tuple[str, str], int] = {}
        self.mirrored_grids: dict[str, set[str]] = {}
        self.first_cells = first_cells(plan)

    @property
    def counts(self) -> SyncCounts:
        """How far the record is by what this mirror knows."""
        there = [known for name, known in self.runs.items() if name in self.plan.names]
        return SyncCounts(len(there), sum(known.status == FINISHED for known in there), len(self.sent))

    def update(self, ended: bool = False, on_progress: OnSyncProgress = lambda done, total: None) -> None:
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
        self.runs = self._reconciled(all_runs(self.client, self.experiment))
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

    def _reconciled(self, runs: Iterator[Run]) -> dict[str, MirroredRun]:
        """One run for each signature: a finished one before others, then the oldest; those too many are deleted."""
        found: dict[str, dict[str, tuple[tuple[bool, int], MirroredRun]]] = {}
        for run in runs:
            copies = found.setdefault(run.data.tags.get("edm.signature", ""), {})
            copies[run.info.run_id] = (run.info.status != FINISHED, run.info.start_time), known_run(run)
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
            self.runs[signature] = known_run(self.client.get_run(run_id))
            self.told.pop(signature, None)
            self.final.discard(signature)
            self.tails.pop(signature, None)
            self.mirrored_grids.pop(signature, None)
            for key in CURVES.values():
                self.mirrored_steps.pop((signature, key), None)

    def _send(self, ended: bool, on_progress: OnSyncProgress) -> None:
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
            folders = [self.store.folder(kind, signature) for kind in FOLDER_OF_TASK.values()]
            begun = [folder for folder in folders if folder.exists()]  # here, and not in another store
            if begun and all(leases.holder(folder) is None for folder in begun):
                self._end(signature, KILLED, "interrupted, and not in the sweep any more")

    def _due(self, tasks: Mapping[str, TaskT]) -> list[TaskT]:
        """Those tasks of a kind that have begun and may have more to tell."""
        open_ = [task for name, task in tasks.items() if name not in self.final]
        if not open_:
            return []
        try:
            begun = set(os.listdir(self.store.root / FOLDER_OF_TASK[open_[0].kind]))
        except FileNotFoundError:
            return []
        return [task for task in open_ if task.signature in begun and not self._is_told(task)]

    def _is_told(self, task: SweepTask) -> bool:
        """Whether a result is still the one that MLflow was told."""
        told = self.told.get(task.signature)
        return told is not None and told == modified_ns(self._folder(task) / RESULT)

    def _training(self, training: Training, ended: bool) -> None:
        name, folder = training.signature, self._folder(training)
        if self._status(name) == FINISHED:
            self.final.add(name)
            return
        result = self.store.result(TrainingResult, name)
        if result is None and not any((folder / file).exists() for file in (FAILURE, PRUNED, JOURNAL)):
            return
        run = self._run(training, None, self._parameters(name, TRAINING_SECTIONS), result)
        self._curves(run, training, folder)
        self._grids(run, name, folder)
        if result is None:
            self._end(name, *unfinished(folder, ended))
            return
        numbers = {"seconds": result.seconds, "parameters": result.parameters, "kimg": result.kimg}
        computing = asdict(result.computing) if result.computing is not None else {}
        tags = [RunTag(f"edm.computing.{key}", str(value)) for key, value in computing.items()]
        metrics = [Metric(key, value, finished_ms(folder), 0) for key, value in numbers.items()]
        self._finish(name, folder, metrics, tags + provenance_tags(result.provenance), ("config.yaml", "log.txt"))
        self.final.add(name)

    def _curves(self, run: MirroredRun, training: Training, folder: Path) -> None:
        """Send the journals' lines that MLflow does not have; the step of a curve counts images seen."""
        name, batch_size = training.signature, training.config.batch_size
        tails = self.tails.setdefault(name, {file: CurveTail(folder / file) for file in CURVES})
        fresh = []
        for file, key in CURVES.items():
            lines = tails[file].fresh()
            sent = self._mirrored(run, name, key) if lines else -1
            new = [line for line in lines if line["step"] * batch_size > sent]
            fresh += [curve_metrics(line, line["step"] * batch_size) for line in new]
            if lines:
                self.mirrored_steps[name, key] = max([sent, *(line["step"] * batch_size for line in new)])
        for batch in batches(fresh):
            self.client.log_batch(run.run_id, metrics=batch)

    def _mirrored(self, run: MirroredRun, name: str, key: str) -> int:
        """Up to which step MLflow has a curve."""
        if (name, key) not in self.mirrored_steps:
            known = self.client.get_metric_history(run.run_id, key)
            self.mirrored_steps[name, key] = max((metric.step for metric in known), default=-1)
        return self.mirrored_steps[name, key]

    def _grids(self, run: MirroredRun, name: str, folder: Path) -> None:
        """Send the sample grids that MLflow was not sent by this mirror; sending one twice stores it once."""
        sent = self.mirrored_grids.setdefault(name, set())
        for path in sorted((folder / GRIDS).glob("[!.]*.png")):
            if path.name not in sent:
                self.client.log_artifact(run.run_id, str(path), GRIDS)
                sent.add(path.name)

    def _evaluation(self, evaluation: Evaluation) -> None:
        name, folder = evaluation.signature, self._folder(evaluation)
        modified = modified_ns(folder / RESULT)  # before it is read: one that is replaced meanwhile is read again
        result = self.store.result(EvaluationResult, name)
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
        failure = Failure.read(folder)
        if failure is not None:
            self._evaluation_run(evaluation, None)
            self._end(evaluation.signature, FAILED, failure.message)

    def _finished_evaluation(self, evaluation: Evaluation, folder: Path, result: EvaluationResult, told: str) -> None:
        self._evaluation_run(evaluation, result)
        numbers = {**result.metrics, "seconds": result.seconds, "nfe": evaluation.sampling.nfe}
        metrics = [Metric(key, value, finished_ms(folder), 0) for key, value in numbers.items()]
        metrics += prefix_metrics(result, finished_ms(folder))
        tags = [RunTag("edm.label", result.label), RunTag("edm.training", evaluation.training.signature)]
        tags += [RunTag(f"edm.{key}", json.dumps(getattr(result, key))) for key in FOUND]
        tags += [RunTag("edm.result", told), *provenance_tags(result.provenance)]
        self._finish(evaluation.signature, folder, metrics, tags, (SAMPLES, PAIRS, LOG))
        self.runs[evaluation.signature].result = told

    # MLflow ---------------------------------------------------------------------------------------

    def _folder(self, task: SweepTask) -> Path:
        return self.store.folder(task.store_kind, task.signature)

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

    def _evaluation_run(self, evaluation: Evaluation, result: EvaluationResult | None) -> None:
        """The run of an evaluation, under that of its training."""
        parent = self.runs.get(evaluation.training.signature)
        run = self._run(evaluation, parent, self._parameters(evaluation.signature), result)
        if parent is not None and run.parent != parent.run_id:  # a training's run that was there twice, and deleted
            self.client.set_tag(run.run_id, PARENT, parent.run_id)
            run.parent = parent.run_id

    def _run(
        self, task: SweepTask, parent: MirroredRun | None, parameters: list[Param], result: TaskResult | None
    ) -> MirroredRun:
        """The run of a task, made with all its parameters if it is not there."""
        run = self.runs.get(task.signature) or self._made(task, parent, result)
        if not run.has_parameters:  # it is new, or a kill came between making it and telling them
            self.client.log_batch(run.run_id, params=parameters)
            run.has_parameters = True
        return run

    def _made(self, task: SweepTask, parent: MirroredRun | None, result: TaskResult | None) -> MirroredRun:
        signature = task.signature
        tags = {
            "edm.signature": signature,
            "edm.kind": task.kind,
            "edm.sweep": self.plan.sweep.name,
            "edm.store": self.store.name,
            "mlflow.source.name": "edm-sweep",
        }
        began_ms = finished_ms(self._folder(task)) - int(result.seconds * 1000) if result is not None else None
        if parent is not None:
            tags[PARENT] = parent.run_id
        run = self.client.create_run(
            self.experiment, start_time=began_ms, run_name=self.plan.names[signature], tags=tags
        )
        self.runs[signature] = known_run(run)
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
        self.client.set_terminated(run.run_id, FINISHED, finished_ms(folder))
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


def sync(
    plan: Plan,
    store: Store,
    uri: str,
    on_progress: OnSyncProgress = lambda done, total: None,
    place: Store | None = None,
) -> SyncCounts:
    """Bring a record up to date with a store by hand; raises UserError where the server does not answer."""
    with answering(uri, "nothing is lost: try again when it does"):
        mirror = Mirror(store, plan, uri, place)
        mirror.update(ended=True, on_progress=on_progress)
    return mirror.counts
