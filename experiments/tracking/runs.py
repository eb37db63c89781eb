"""Runs on a tracking server: how they are found, what their states are called, and a server that does not answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from experiments.tracking import mlflow_environment  # noqa: F401  isort: skip  (MLflow reads it as it is imported)
import mlflow
from mlflow.entities import Metric, Run, RunTag
from mlflow.exceptions import MlflowException

from experiments.errors import UserError
from experiments.tracking.answers import why_unanswered
from experiments.tracking.own_notes import NOTE, is_own, marked
from experiments.tracking.sync_state import MirroredRun

PAGE = 200  # runs a call: some 4 ms each, and an answer has to come within the timeout
BATCH = 900  # metrics a call; MLflow takes 1,000

PARENT, CONTENT_TAG = "mlflow.parentRunId", "edm.content"
CONTENT = "2"  # raise it when runs are given something new, so that a mirror brings earlier ones up to date
FINISHED, FAILED, KILLED, RUNNING = "FINISHED", "FAILED", "KILLED", "RUNNING"


@contextmanager
def answering(uri: str, remedy: str) -> Iterator[None]:
    """Raise UserError, with a remedy, where the server does not answer within the block."""
    try:
        yield
    except (MlflowException, ImportError) as error:  # the latter of a kind of database that needs a package of its own
        raise UserError(f"--tracking-uri {uri}: does not answer ({why_unanswered(error, uri)}); {remedy}") from None


def all_runs(client: mlflow.MlflowClient, experiment: str, page_size: int = PAGE) -> Iterator[Run]:
    """Yield every run of an experiment, one by one, as each holds a hundred numbers. page_size: runs a call."""
    token = None
    while True:
        page = client.search_runs([experiment], max_results=page_size, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def mirrored_run(run: Run) -> MirroredRun:
    """Return what a mirror has to know of a run."""
    tags = run.data.tags
    made = run.outputs.model_outputs if run.outputs else []
    return MirroredRun(
        run.info.run_id,
        run.info.status,
        has_parameters=bool(run.data.params),
        message=tags.get("edm.status", ""),
        result=tags.get("edm.result", ""),
        parent=tags.get(PARENT, ""),
        content=tags.get(CONTENT_TAG, ""),
        is_described=not is_own(tags, NOTE),
        model=made[0].model_id if made else None,
    )


def description_tags(run: MirroredRun, text: str) -> list[RunTag]:
    """Return the tags that make a text the description of a run, unless a person has written one."""
    return [] if run.is_described else [RunTag(key, value) for key, value in marked(NOTE, text).items()]


def batches(lines: Iterable[list[Metric]]) -> Iterator[list[Metric]]:
    """Join the metrics of lines into as few calls as possible, without cutting a line in two."""
    batch: list[Metric] = []
    for line in lines:
        if batch and len(batch) + len(line) > BATCH:
            yield batch
            batch = []
        batch = batch + line
    if batch:
        yield batch
