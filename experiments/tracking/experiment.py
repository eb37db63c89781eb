"""One experiment on a tracking server: the runs of a sweep's tasks, and how they are created, changed and ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from experiments.tracking import mlflow_environment  # noqa: F401  isort: skip  (MLflow reads it as it is imported)
import mlflow
from mlflow.entities import Metric, Param, Run, RunTag

from experiments.tracking.own_notes import NOTE, own_tags
from experiments.tracking.runs import CONTENT, CONTENT_TAG, FINISHED, PARENT, RUNNING, all_runs, mirrored_run
from experiments.tracking.sync_state import MirroredRun, Notices

KIND = "mlflow.experimentKind"  # a tag that MLflow's pages read
TRAINING_KIND = "custom_model_development"  # else the pages open as for language models
FIRST_NOTE = (  # of experiments of before they had a note that is kept up to date
    "Trainings and, below each, evaluations of the sweep {sweep}. Sort the table of runs by fid_test to see the best "
    "cells. `edm-sweep report {sweep}` makes tables with significance tests, figures and one page of the same results."
)


class MirroredExperiment:
    """The runs of one experiment by signature, as this process knows them.

    artifacts: where files of a new experiment go; None leaves that to the server. sent: signatures of the runs that
    were made or changed here.
    """

    def __init__(self, client: mlflow.MlflowClient, name: str, artifacts: Path | None, notices: Notices) -> None:
        self.client, self.name, self.artifacts, self.notices = client, name, artifacts, notices
        self.id = ""
        self.tags: dict[str, str] = {}
        self.runs: dict[str, MirroredRun] = {}
        self.sent: set[str] = set()

    # reading --------------------------------------------------------------------------------------

    def look(self) -> None:
        """Read all runs from the server; makes the experiment where there is none."""
        self.notices.of_others()
        self.id = self._found_or_made()
        self.runs = self._reconciled(all_runs(self.client, self.id))

    def hear_of_others(self) -> set[str]:
        """Read the runs that other mirrors have changed; returns their signatures."""
        changed = self.notices.of_others()
        self.runs |= {signature: mirrored_run(self.client.get_run(run_id)) for signature, run_id in changed.items()}
        return set(changed)

    def status(self, signature: str) -> str | None:
        """Return the status of a task's run; None where it has none."""
        run = self.runs.get(signature)
        return run.status if run is not None else None

    def _found_or_made(self) -> str:
        found = self.client.get_experiment_by_name(self.name)
        if found is None:
            place = self.artifacts.as_uri() if self.artifacts is not None else None
            self.tags = {KIND: TRAINING_KIND}
            return self.client.create_experiment(self.name, artifact_location=place, tags=self.tags)
        if found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        self.tags = dict(found.tags)
        if self.tags.get(NOTE) == FIRST_NOTE.format(sweep=self.name):
            self.tags.pop(NOTE)  # nobody's work: to be replaced
        return found.experiment_id

    def _reconciled(self, runs: Iterator[Run]) -> dict[str, MirroredRun]:
        """Keep one run for each signature, a finished one before others, then the oldest; the others are deleted."""
        found: dict[str, dict[str, tuple[tuple[bool, int], MirroredRun]]] = {}
        for run in runs:
            copies = found.setdefault(run.data.tags.get("edm.signature", ""), {})
            copies[run.info.run_id] = (run.info.status != FINISHED, run.info.start_time), mirrored_run(run)
        found.pop("", None)  # a person's own
        kept = {}
        for signature, copies in found.items():
            kept[signature], *others = (run for _, run in sorted(copies.values(), key=lambda copy: copy[0]))
            for run in others:
                self.client.delete_run(run.run_id)
        return kept

    # writing --------------------------------------------------------------------------------------

    def create(self, signature: str, name: str, tags: dict[str, str], began_ms: int | None) -> MirroredRun:
        """Make the run of a task. began_ms: when its work began, by default now."""
        run = self.client.create_run(
            self.id, start_time=began_ms, run_name=name, tags={"edm.signature": signature, **tags}
        )
        self.runs[signature] = mirrored_run(run)
        self._changed(signature)
        return self.runs[signature]

    def set_parameters(self, run: MirroredRun, parameters: list[Param]) -> None:
        """Record a run's parameters, unless it has them."""
        if not run.has_parameters:  # it is new, or a kill came between making it and this
            self.client.log_batch(run.run_id, params=parameters)
            run.has_parameters = True

    def log_file(self, run: MirroredRun, path: Path, folder: str | None = None) -> None:
        """Send a file, by default not into a folder, if it is there.

        It is not where the store was moved; MLflow would first make its own folders at the old path.
        """
        if path.exists():
            self.client.log_artifact(run.run_id, str(path), folder)

    def set_parent(self, run: MirroredRun, parent: MirroredRun) -> None:
        """Show a run under another one, unless it is there; the parent before may have been a deleted duplicate."""
        if run.parent != parent.run_id:
            self.client.set_tag(run.run_id, PARENT, parent.run_id)
            run.parent = parent.run_id

    def set_tags(self, wanted: Mapping[str, str]) -> None:
        """Set tags of the experiment, apart from those that it has and those that a person has changed."""
        for key, value in own_tags(self.tags, wanted).items():
            self.client.set_experiment_tag(self.id, key, value)
            self.tags[key] = value

    def finish(
        self, signature: str, metrics: list[Metric], tags: list[RunTag], files: Iterable[Path], finished_ms: int
    ) -> None:
        """Record what a finished task gave; files that are not there are left out."""
        run = self.runs[signature]
        for path in files:
            self.log_file(run, path)
        marks = [RunTag("edm.status", "done"), RunTag(CONTENT_TAG, CONTENT)]
        self.client.log_batch(run.run_id, metrics=metrics, tags=[*tags, *marks])
        self.client.set_terminated(run.run_id, FINISHED, finished_ms)
        run.status, run.message, run.content = FINISHED, "done", CONTENT
        self._changed(signature)

    def end(self, signature: str, status: str, message: str, pruned_at: float | None = None) -> None:
        """Record how a task stands that is not finished, unless the run says so."""
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

    def _changed(self, signature: str) -> None:
        self.sent.add(signature)
        self.notices.leave(signature, self.runs[signature].run_id)
