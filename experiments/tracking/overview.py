"""The page of a sweep's experiment in MLflow: its report as files of a run, its note, and its saved views."""

from __future__ import annotations

import json
from pathlib import Path

from experiments.tracking import mlflow_environment  # noqa: F401  isort: skip  (MLflow reads it as it is imported)
from mlflow.entities import RunTag

from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.serialisation import plan_to_json
from experiments.tracking.experiment import KIND, TRAINING_KIND, MirroredExperiment
from experiments.tracking.links import WORKFLOW
from experiments.tracking.own_notes import NOTE
from experiments.tracking.report_files import MARKDOWN, PAGE, main_table, report_digest, report_files
from experiments.tracking.runs import FINISHED, description_tags
from experiments.tracking.sync_state import MirroredRun
from experiments.tracking.views import LONGEST, LOSS_CURVES, SCORES, saved_views, view_link

REPORT = "report"  # kind, signature and name of the run that has the report, and the folder of its files there
SWEEP = "sweep.json"  # its file that says what was asked for, so that a report can be made without the sweep file
SHORTER = 1500  # characters that a note has besides its table, at most


class Overview:
    """Keeps what an experiment shows of a whole sweep up to date with a plan and a store."""

    def __init__(self, plan: Plan, store: Store, experiment: MirroredExperiment) -> None:
        self.plan, self.store, self.experiment = plan, store, experiment
        self.views = saved_views(plan)
        self.sent: str | None = None  # the digest of the report that MLflow has

    def update(self, looks: bool) -> None:
        """Send the report if it has changed, then the note and the views. looks: what MLflow has was read anew."""
        name = self.plan.sweep.name
        digest = report_digest(self.store, name)
        if digest == self.sent and not looks:
            return
        run, table = None, ""
        if digest:
            table = self._main_table()
            run = self._published(digest, table)
        self.experiment.set_tags({KIND: TRAINING_KIND, NOTE: self._note(run, table), **self.views})
        self.sent = digest

    def _published(self, digest: str, table: str) -> MirroredRun:
        """Return the run that has the report; makes it, and sends the files, unless it has them."""
        name = self.plan.sweep.name
        files = report_files(self.store, name)
        newest_ms = max(int(path.stat().st_mtime * 1000) for path in files.values())
        run = self.experiment.runs.get(REPORT)
        if run is None:
            tags = {"edm.kind": REPORT, "edm.sweep": name, "mlflow.source.name": "edm-sweep"}
            run = self.experiment.create(REPORT, REPORT, tags, newest_ms)
        if run.result != digest or run.status != FINISHED:
            for path, file in files.items():
                folder = Path(REPORT, path).parent.as_posix()
                self.experiment.log_file(run, file, folder)
            self.experiment.client.log_text(run.run_id, json.dumps(plan_to_json(self.plan)), SWEEP)
            tags = [RunTag("edm.result", digest), *description_tags(run, table)]
            self.experiment.finish(REPORT, [], tags, (), newest_ms)
            run.result = digest
        return run

    def _main_table(self) -> str:
        file = self.store.report_folder(self.plan.sweep.name) / MARKDOWN
        text = file.read_text() if file.exists() else ""
        return main_table(text, LONGEST - SHORTER)

    def _note(self, report: MirroredRun | None, table: str) -> str:
        """Return the description of the experiment: where to look, and the main table."""
        name, experiment = self.plan.sweep.name, self.experiment.id
        links = {"All scores in one table": SCORES, "loss curves": LOSS_CURVES}
        shown = ", ".join(f"[{title}]({view_link(experiment, view)})" for title, view in links.items())
        parts = [f"Trainings and, below each, evaluations of the sweep {name}.", f"{shown}."]
        if report is not None:
            page = f"#/experiments/{experiment}/runs/{report.run_id}/artifacts/{REPORT}/{PAGE}?{WORKFLOW}"
            parts.append(f"[The report]({page}): tables with significance tests, figures and samples.")
        else:
            parts.append(f"`edm-sweep report {name}` makes tables with significance tests and figures.")
        return "\n\n".join([" ".join(parts), *([table] if table else [])])
