"""MLflow as a mirror of the store: one way, and idempotent.

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

import logging
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, get_args

from experiments.tracking import mlflow_environment  # noqa: F401  isort: skip  (MLflow reads it as it is imported)
import mlflow
from mlflow.entities import Metric, Param, RunTag

from experiments.store import leases
from experiments.store.failures import Failure
from experiments.store.files import checksum, modified_ns
from experiments.store.folders import listed
from experiments.store.journal import Journal
from experiments.store.layout import (
    CONFIG,
    DENOISING,
    FAILURE,
    GRIDS,
    JOURNAL,
    LOG,
    MIRROR,
    MLFLOW_DATABASE,
    PAIRS,
    PRUNED,
    RESULT,
    SAMPLES,
    VALIDATION,
    StoreKind,
)
from experiments.store.provenance import diff_path
from experiments.store.results import EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import TRAINING_SECTIONS, Plan
from experiments.sweep.tasks import Evaluation, SweepTask, Training
from experiments.tracking.artifacts import artifacts_folder
from experiments.tracking.content import (
    UNFOLDED,
    at_model,
    begun_ms,
    curve_metrics,
    evaluation_metrics,
    evaluation_tags,
    finished_ms,
    first_cells,
    training_metrics,
    training_tags,
    unfinished,
)
from experiments.tracking.database import embedded_uri, ensure_database
from experiments.tracking.descriptions import describe_evaluation, describe_training
from experiments.tracking.experiment import MirroredExperiment
from experiments.tracking.lineage import Lineage
from experiments.tracking.metric_names import CURVES
from experiments.tracking.overview import Overview
from experiments.tracking.runs import (
    CONTENT,
    FAILED,
    FINISHED,
    KILLED,
    PARENT,
    RUNNING,
    answering,
    batches,
    description_tags,
)
from experiments.tracking.settled import SettledRecord
from experiments.tracking.sync_state import CurveTail, MirroredRun, Notices, OnSyncProgress, SentParts, SyncCounts

TaskT = TypeVar("TaskT", Training, Evaluation)
TaskResult = TrainingResult | EvaluationResult


class Mirror:
    """Brings one experiment of a tracking server up to date with a plan's part of a store.

    place: the store that holds the MLflow database, if that is another one (for a bundle).
    """

    def __init__(self, store: Store, plan: Plan, uri: str, place: Store | None = None) -> None:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails is said in a line, at the end
        self.store, self.plan, self.place = store, plan, place or store
        is_embedded = uri == embedded_uri(self.place)
        self.settled = SettledRecord(store, plan) if is_embedded and self.place is store else None
        if is_embedded:
            with leases.waited_for(self._lock_folder):
                ensure_database(self.place.root / MLFLOW_DATABASE)
        name, is_file = plan.sweep.name, uri.startswith("sqlite:")
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        self.experiment = MirroredExperiment(
            self.client,
            name,
            artifacts_folder(self.place.root) / name if is_file else None,
            Notices(self._lock_folder, uri, name),
        )
        self.lineage = Lineage(self.experiment)
        self.overview = Overview(plan, store, self.experiment)
        self.first_cells = first_cells(plan)
        self.has_looked = False
        self.parts: defaultdict[str, SentParts] = defaultdict(SentParts)
        self.final: set[str] = set()  # tasks that MLflow has and nothing of this plan will change

    @property
    def _lock_folder(self) -> Path:
        return self.place.root / MIRROR

    @property
    def counts(self) -> SyncCounts:
        """How far the record is by what this mirror knows."""
        runs = [run for signature, run in self.experiment.runs.items() if signature in self.plan.names]
        return SyncCounts(len(runs), sum(run.status == FINISHED for run in runs), len(self.experiment.sent))

    def update(self, ended: bool = False, on_progress: OnSyncProgress = lambda done, total: None) -> None:
        """Send what is new.

        One mirror of a store writes at a time. An update that fails is repeated by calling this again.
        ended: the run of this mirror has ended, so that only what another run works on stays as running.
        """
        with leases.waited_for(self._lock_folder):
            looks, self.has_looked = not self.has_looked, False  # what a lost answer changed is seen only so
            if self.settled is not None:
                self.settled.update_begins(looks)
            if looks:
                self._look()
            else:
                self._hear_of_others()
            self._send(ended, on_progress)
            self.overview.update(looks)
            self.has_looked = True
            if self.settled is not None:
                self.settled.update_ended(ended and self._has_everything)

    @property
    def _has_everything(self) -> bool:
        tasks = (*self.plan.trainings, *self.plan.evaluations)
        return all(self.experiment.status(signature) == FINISHED for signature in tasks)

    def _look(self) -> None:
        """Read all that MLflow has."""
        self.experiment.look()
        self.parts.clear()
        self.final.clear()

    def _hear_of_others(self) -> None:
        """Read what other mirrors have changed, and nothing else."""
        for signature in self.experiment.hear_of_others():
            self.parts.pop(signature, None)
            self.final.discard(signature)

    def _send(self, ended: bool, on_progress: OnSyncProgress) -> None:
        if ended:
            self.final.clear()  # a last look at the disk: what was damaged may have been redone
            self._end_strays()
        trainings, evaluations = self._due(self.plan.trainings), self._due(self.plan.evaluations)
        total = len(trainings) + len(evaluations)
        for done, training in enumerate(trainings, 1):
            self._send_training(training, ended)
            on_progress(done, total)
        for done, evaluation in enumerate(evaluations, 1 + len(trainings)):
            self._send_evaluation(evaluation)
            on_progress(done, total)

    def _end_strays(self) -> None:
        """End the runs of tasks that the sweep no longer asks for and nobody works on."""
        for signature, run in self.experiment.runs.items():
            if run.status != RUNNING or signature in self.plan.names:
                continue
            folders = [self.store.folder(kind, signature) for kind in get_args(StoreKind)]
            begun = [folder for folder in folders if folder.exists()]  # here, and not in another store
            if begun and all(leases.holder(folder) is None for folder in begun):
                self.experiment.end(signature, KILLED, "interrupted, and no longer in the sweep")

    def _due(self, tasks: Mapping[str, TaskT]) -> list[TaskT]:
        """Return the tasks of a kind that have begun and may have something new."""
        left = [task for signature, task in tasks.items() if signature not in self.final]
        return [task for task in self.store.begun(left) if not self._is_sent(task)]

    def _is_sent(self, task: SweepTask) -> bool:
        """Return whether a task's result is still the one that was sent."""
        parts = self.parts.get(task.signature)
        if parts is None or parts.result_ns is None:
            return False
        return parts.result_ns == modified_ns(self.store.folder_of(task) / RESULT)

    # trainings ------------------------------------------------------------------------------------

    def _send_training(self, training: Training, ended: bool) -> None:
        signature, folder = training.signature, self.store.folder_of(training)
        earlier = self.experiment.runs.get(signature)
        is_finished = earlier is not None and earlier.status == FINISHED
        if earlier is not None and is_finished and earlier.content == CONTENT:
            self.final.add(signature)
            return
        result = self.store.result(TrainingResult, signature)
        begun = any((folder / file).exists() for file in (FAILURE, PRUNED, JOURNAL))
        if result is None and (is_finished or not begun):
            return
        run = self._run(training, None, self._parameters(signature, TRAINING_SECTIONS), result)
        if not self.parts[signature].has_inputs:
            self.lineage.record_inputs(run, training, self._models(training))
            self.parts[signature].has_inputs = True
        self._send_curves(run, training, folder)
        self._send_grids(run, signature, folder)
        if result is None:
            self.experiment.end(signature, *unfinished(folder, ended))
            return
        self._finish_training(training, result, run)
        self.final.add(signature)

    def _finish_training(self, training: Training, result: TrainingResult, run: MirroredRun) -> None:
        signature, folder = training.signature, self.store.folder_of(training)
        parameters = self._parameters(signature, TRAINING_SECTIONS)
        model = self.lineage.record_model(run, training, self.plan.names[signature], parameters)
        metrics = training_metrics(result, finished_ms(result, folder))
        for line in Journal(folder / VALIDATION).read()[-1:]:  # again: now that there is a model to show it at
            step = line["step"] * training.config.batch_size
            metrics += curve_metrics(line, step, self._sent_ms(run, CURVES[VALIDATION], step))
        tags = [*training_tags(result), *description_tags(run, describe_training(training, result, run.run_id, folder))]
        self._finish(training, result, at_model(metrics, model, training.data), tags, (CONFIG, LOG))

    def _send_curves(self, run: MirroredRun, training: Training, folder: Path) -> None:
        """Send the journals' lines that MLflow does not have; the step of a curve counts images seen."""
        parts, batch_size = self.parts[training.signature], training.config.batch_size
        new = []
        for file, key in CURVES.items():
            lines = parts.tails.setdefault(file, CurveTail(folder / file)).fresh()
            if not lines:
                continue
            sent = self._last_step(run, parts, key)
            steps = [line["step"] * batch_size for line in lines]
            new += [curve_metrics(line, step) for line, step in zip(lines, steps, strict=True) if step > sent]
            parts.steps[key] = max(sent, *steps)
        for batch in batches(new):
            self.client.log_batch(run.run_id, metrics=batch)

    def _last_step(self, run: MirroredRun, parts: SentParts, key: str) -> int:
        """Return up to which step MLflow has a curve; -1 where it has none of it."""
        if key not in parts.steps:
            history = self.client.get_metric_history(run.run_id, key)
            parts.steps[key] = max((metric.step for metric in history), default=-1)
        return parts.steps[key]

    def _sent_ms(self, run: MirroredRun, key: str, step: int) -> int | None:
        """Return the time of a curve's point that MLflow has; a training that was repeated has reached it twice."""
        history = self.client.get_metric_history(run.run_id, key)
        return next((metric.timestamp for metric in history if metric.step == step), None)

    def _send_grids(self, run: MirroredRun, signature: str, folder: Path) -> None:
        """Send the sample grids that this mirror has not sent; sending one twice stores it once."""
        sent = self.parts[signature].grids
        for path in listed(folder / GRIDS, "[!.]*.png"):
            if path.name not in sent:
                self.experiment.log_file(run, path, GRIDS)
                sent.add(path.name)

    # evaluations ----------------------------------------------------------------------------------

    def _send_evaluation(self, evaluation: Evaluation) -> None:
        signature, path = evaluation.signature, self.store.folder_of(evaluation) / RESULT
        modified = modified_ns(path)  # before it is read: one that is replaced meanwhile is read again
        result = self.store.result(EvaluationResult, signature)
        if result is None:
            self._send_failure(evaluation)
            return
        digest, run = checksum(path), self.experiment.runs.get(signature)
        if run is None or (run.status, run.result, run.content) != (FINISHED, digest, CONTENT):
            self._finish_evaluation(evaluation, result, digest)
        self.parts[signature].result_ns = modified
        if evaluation.is_covered_by(result):
            self.final.add(signature)

    def _send_failure(self, evaluation: Evaluation) -> None:
        failure = Failure.read(self.store.folder_of(evaluation))
        if failure is not None:
            self._evaluation_run(evaluation, None)
            self.experiment.end(evaluation.signature, FAILED, failure.message)

    def _finish_evaluation(self, evaluation: Evaluation, result: EvaluationResult, digest: str) -> None:
        run, folder = self._evaluation_run(evaluation, result), self.store.folder_of(evaluation)
        self.lineage.record_inputs(run, evaluation, self._models(evaluation))
        metrics = evaluation_metrics(evaluation, result, finished_ms(result, folder))
        tags = [
            *evaluation_tags(evaluation, result, digest),
            *description_tags(run, describe_evaluation(evaluation, result, run.run_id, folder)),
        ]
        self._finish(evaluation, result, metrics, tags, (SAMPLES, DENOISING, PAIRS, LOG))
        run.result = digest

    def _models(self, task: SweepTask) -> list[str]:
        """Return the logged models of the networks that a task used: an evaluation, its own training's first."""
        runs = [self.experiment.runs.get(training.signature) for training in task.depends_on]
        return [run.model for run in runs if run is not None and run.model is not None]

    def _evaluation_run(self, evaluation: Evaluation, result: EvaluationResult | None) -> MirroredRun:
        """Return the run of an evaluation, under that of its training."""
        parent = self.experiment.runs.get(evaluation.training.signature)
        run = self._run(evaluation, parent, self._parameters(evaluation.signature), result)
        if parent is not None:
            self.experiment.set_parent(run, parent)
        return run

    # both -----------------------------------------------------------------------------------------

    def _parameters(self, signature: str, sections: tuple[str, ...] | None = None) -> list[Param]:
        """Return the parameters of the first cell of a task: all, or the seed and those of some sections."""
        parameters = self.first_cells[signature].cell.parameters()
        if sections is not None:
            kept = ("seed", *sections)
            parameters = {name: value for name, value in parameters.items() if name.split(".")[0] in kept}
        return [Param(name, str(value)) for name, value in parameters.items()]

    def _run(
        self, task: SweepTask, parent: MirroredRun | None, parameters: list[Param], result: TaskResult | None
    ) -> MirroredRun:
        """Return the run of a task, made with all its parameters if it is not there."""
        run = self.experiment.runs.get(task.signature) or self._made(task, parent, result)
        self.experiment.set_parameters(run, parameters)
        return run

    def _made(self, task: SweepTask, parent: MirroredRun | None, result: TaskResult | None) -> MirroredRun:
        tags = {
            "edm.kind": task.kind,
            "edm.sweep": self.plan.sweep.name,
            "edm.store": self.store.name,
            "mlflow.source.name": "edm-sweep",
        }
        tags |= UNFOLDED if task.kind == "evaluation" else {}
        if parent is not None:
            tags[PARENT] = parent.run_id
        folder = self.store.folder_of(task)
        began_ms = begun_ms(folder) if result is None else finished_ms(result, folder) - int(result.seconds * 1000)
        run = self.experiment.create(task.signature, self.plan.names[task.signature], tags, began_ms)
        self.parts[task.signature].steps = dict.fromkeys(CURVES.values(), -1)
        return run

    def _finish(
        self, task: SweepTask, result: TaskResult, metrics: list[Metric], tags: list[RunTag], names: tuple[str, ...]
    ) -> None:
        """Send what a finished task gave, with files of its folder and the changes of the code that made it."""
        folder = self.store.folder_of(task)
        files = [folder / name for name in names]
        files += [diff_path(self.store, tag.value) for tag in tags if tag.key == "edm.git_diff"]
        self.experiment.finish(task.signature, metrics, tags, files, finished_ms(result, folder))


def sync(
    plan: Plan,
    store: Store,
    uri: str,
    on_progress: OnSyncProgress = lambda done, total: None,
    place: Store | None = None,
) -> SyncCounts:
    """Bring a record up to date with a store; raises UserError where the server does not answer."""
    with answering(uri, "nothing is lost: try again when it does"):
        mirror = Mirror(store, plan, uri, place)
        mirror.update(ended=True, on_progress=on_progress)
    return mirror.counts
