"""Reads a sweep's results back from MLflow."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace

from experiments.tracking import mlflow_environment  # noqa: F401  isort: skip  (MLflow reads it as it is imported)
import mlflow
from mlflow.entities import Run

from experiments.errors import UserError
from experiments.store.store import Store
from experiments.sweep.code_changes import CodeChange, ResultCode, change_of
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import Evaluation
from experiments.tracking.content import CODE_TAG, RESULT_TAGS, SINCE_TAG
from experiments.tracking.frames import EvaluationScores, TrainingSummary, add_training_notes
from experiments.tracking.runs import FINISHED, KILLED, all_runs, answering


def scores_in_mlflow(plan: Plan, uri: str, store: Store) -> dict[str, EvaluationScores]:
    """Return a plan's finished evaluations as MLflow has them, and those whose training was pruned, by signature.

    store: knows who vouches for results of other code than today's, and what their code was. Raises UserError where
    the server does not answer or has no such experiment.
    """
    done: dict[str, EvaluationScores] = {}
    trained = dict.fromkeys(plan.trainings, TrainingSummary())
    with answering(uri, "leave it out to use the store"):
        client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(plan.sweep.name)
        if experiment is None:
            raise UserError(f"--tracking-uri {uri}: has no experiment {plan.sweep.name!r}; run the sweep with it first")
        for run in all_runs(client, experiment.experiment_id):
            signature, status = run.data.tags.get("edm.signature", ""), run.info.status
            if signature in plan.trainings and status in (FINISHED, KILLED):
                trained[signature] = _summary_of(run)
            elif signature in plan.evaluations and status == FINISHED:
                done[signature] = replace(_scores_of(run), change=_change_of(run, plan.evaluations[signature], store))
    return add_training_notes(plan, done, trained)


def _summary_of(run: Run) -> TrainingSummary:
    if run.info.status == KILLED:
        return TrainingSummary(pruned_at=json.loads(run.data.tags.get("edm.pruned_at", "null")))
    micro_batch = run.data.tags.get("edm.computing.micro_batch", "None")
    return TrainingSummary(micro_batch=None if micro_batch == "None" else int(micro_batch))


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
