"""What a tracking server knows of a sweep: scores, costs, states, curves and pictures."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from experiments.tracking import mlflow_environment  # noqa: F401  isort: skip  (MLflow reads it as it is imported)
import mlflow
import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from experiments.errors import UserError
from experiments.store.store import Store
from experiments.sweep.code_changes import CodeChange, ResultCode, change_of
from experiments.sweep.plan import Plan
from experiments.sweep.serialisation import plan_from_json
from experiments.sweep.tasks import Evaluation
from experiments.tracking.content import CODE_TAG, RESULT_TAGS, SINCE_TAG
from experiments.tracking.costs import TrainingCosts
from experiments.tracking.frames import EvaluationScores, TrainingSummary, add_training_notes
from experiments.tracking.links import run_link
from experiments.tracking.metric_names import BY_NOISE, FORMER, LOSSES
from experiments.tracking.overview import REPORT, SWEEP
from experiments.tracking.runs import FAILED, FINISHED, KILLED, RUNNING, all_runs, answering
from experiments.wording import did_you_mean

IMAGES_PER_KIMG = 1000  # the step of a curve counts images
COLUMNS = dict(zip(LOSSES, ("loss", "val_loss"), strict=True))  # of the frame of curves
STATES = {RUNNING: "running", FAILED: "failed"}


def recall_plan_from(uri: str, sweep: str, folder: Path, store: Store) -> Plan:
    """Return the plan of a sweep as a tracking server has it beside its report, without the sweep file and the store.

    folder: for what is downloaded. store: where results may be under other forms of the plan's signatures. Raises
    UserError.
    """
    client = mlflow.MlflowClient(tracking_uri=uri)
    with answering(uri, "try again when it does"):
        experiment = client.get_experiment_by_name(sweep)
        ours = f"tags.`edm.signature` = '{REPORT}'"
        found = client.search_runs([experiment.experiment_id], ours, max_results=1) if experiment is not None else []
        if not found:
            meant = did_you_mean(sweep, [each.name for each in client.search_experiments()])
            raise UserError(
                f"{sweep}: no such file, and --tracking-uri {uri} has no report of it; {meant or 'give the sweep file'}"
            )
        path = Path(client.download_artifacts(found[0].info.run_id, SWEEP, str(folder)))
    return plan_from_json(json.loads(path.read_text()), path, store)


class ServerRecord:
    """The runs of a sweep's experiment on a tracking server, read once.

    Raises UserError where the server does not answer or has no such experiment.
    """

    def __init__(self, plan: Plan, uri: str) -> None:
        self.plan, self.uri = plan, uri
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        with answering(uri, "leave it out to use the store"):
            experiment = self.client.get_experiment_by_name(plan.sweep.name)
            if experiment is None:
                remedy = "run the sweep with it first"
                raise UserError(f"--tracking-uri {uri}: has no experiment {plan.sweep.name!r}; {remedy}")
            runs: dict[str, Run] = {}
            for run in all_runs(self.client, experiment.experiment_id):
                signature = run.data.tags.get("edm.signature", "")
                if run.info.status == FINISHED or signature not in runs:  # of copies that a lost answer has left
                    runs[signature] = run
        self.trainings = {name: runs[name] for name in plan.trainings if name in runs}
        self.evaluations = {name: runs[name] for name in plan.evaluations if name in runs}

    def scores(self, store: Store) -> dict[str, EvaluationScores]:
        """Return finished evaluations, and those whose training was pruned, by signature.

        store: knows who vouches for results of other code than today's, and what their code was.
        """
        done = {
            name: replace(_scores_of(run), change=_change_of(run, self.plan.evaluations[name], store))
            for name, run in self.evaluations.items()
            if run.info.status == FINISHED
        }
        return add_training_notes(self.plan, done, {name: self._summary_of(name) for name in self.plan.trainings})

    def _summary_of(self, training: str) -> TrainingSummary:
        run = self.trainings.get(training)
        if run is None or run.info.status not in (FINISHED, KILLED):
            return TrainingSummary()
        if run.info.status == KILLED:
            return TrainingSummary(pruned_at=json.loads(run.data.tags.get("edm.pruned_at", "null")))
        micro_batch = run.data.tags.get("edm.computing.micro_batch", "None")
        return TrainingSummary(micro_batch=None if micro_batch == "None" else int(micro_batch))

    def costs(self) -> dict[str, TrainingCosts]:
        """Return what finished trainings cost, by signature. MLflow does not know how many GPUs they had."""
        done = {name: run.data.metrics for name, run in self.trainings.items() if run.info.status == FINISHED}
        return {name: TrainingCosts(_value(LOSSES[1], each), each.get("seconds")) for name, each in done.items()}

    def states(self) -> dict[str, str]:
        """Return what happens to cells that are running or failed, or whose training is, by name."""
        found: dict[str, str] = {}
        for planned in self.plan.cells:
            runs = (self.evaluations.get(planned.evaluation.signature), self.trainings.get(planned.training.signature))
            known = [STATES[run.info.status] for run in runs if run is not None and run.info.status in STATES]
            if known:
                found[self.plan.cell_name(planned)] = known[0]
        return found

    def curves(self) -> pd.DataFrame:
        """Return the loss of every training against kimg, as `curves_frame` does from a store."""
        rows = [row for name, run in self.trainings.items() for row in self._curve(self.plan.names[name], run)]
        return pd.DataFrame(rows, columns=["training", "kimg", "loss", "val_loss"])

    def _curve(self, training: str, run: Run) -> Iterator[dict[str, object]]:
        for key, column in COLUMNS.items():
            name = key if key in run.data.metrics else FORMER[key]
            with answering(self.uri, "leave it out to use the store"):
                history = self.client.get_metric_history(run.info.run_id, name)
            for metric in sorted(history, key=lambda one: one.step):
                yield {"training": training, "kimg": metric.step / IMAGES_PER_KIMG, column: metric.value}

    def levels(self) -> pd.DataFrame:
        """Return the newest loss of every training at each noise level, as `levels_frame` does from a store."""
        rows = [
            {"training": self.plan.names[name], "sigma": sigma, "val_loss": value}
            for name, run in self.trainings.items()
            for sigma, value in _levels(run.data.metrics).items()
        ]
        return pd.DataFrame(rows, columns=["training", "sigma", "val_loss"])

    def links(self) -> dict[str, str]:
        """Return the address of every cell's evaluation in the server's UI, by cell; none for a file."""
        if not self.uri.startswith("http"):
            return {}
        pairs = [(each, self.evaluations.get(each.evaluation.signature)) for each in self.plan.cells]
        return {
            self.plan.cell_name(planned): run_link(self.uri, run.info.experiment_id, run.info.run_id)
            for planned, run in pairs
            if run is not None
        }

    def pictures(self, name: str, folder: Path) -> dict[str, Path]:
        """Download a picture of every evaluation that has it, such as samples.png, and return them by cell."""
        found: dict[str, Path] = {}
        for planned in self.plan.cells:
            signature = planned.evaluation.signature
            run, target = self.evaluations.get(signature), folder / signature
            if run is not None and run.info.status == FINISHED and not (target / name).exists():
                target.mkdir(exist_ok=True)
                with suppress(MlflowException, OSError):  # a run without this picture
                    self.client.download_artifacts(run.info.run_id, name, str(target))
            if (target / name).exists():
                found[self.plan.cell_name(planned)] = target / name
        return found


def _change_of(run: Run, evaluation: Evaluation, store: Store) -> CodeChange | None:
    tags = run.data.tags
    return change_of(store, evaluation, ResultCode(json.loads(tags.get(CODE_TAG, "{}")), tags.get(SINCE_TAG, "")))


def _scores_of(run: Run) -> EvaluationScores:
    scores, notes, *stopped = (json.loads(run.data.tags.get(f"edm.{key}", "null")) for key in RESULT_TAGS)
    # MLflow's databases hold the largest number there is in place of infinity
    metrics = {
        name: math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value
        for name, value in run.data.metrics.items()
    }
    return EvaluationScores(metrics, frozenset(scores or ()), tuple(notes or ()), *stopped)


def _value(metric: str, metrics: Mapping[str, float]) -> float | None:
    """Return a metric's value, if need be under the name that it had in earlier records."""
    return metrics.get(metric, metrics.get(FORMER[metric]))


def _levels(metrics: Mapping[str, float]) -> dict[float, float]:
    """Return the losses by noise level; those under their present name count where there are others."""
    starts = (FORMER[BY_NOISE], BY_NOISE)
    return {
        float(name.removeprefix(start)): value
        for start in starts
        for name, value in metrics.items()
        if name.startswith(start)
    }
