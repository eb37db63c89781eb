"""Whether the MLflow database in a store has all of a plan's results, without loading MLflow, which takes seconds."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from importlib.metadata import version
from pathlib import Path

from experiments.store.files import modified_ns, read_json, write_json
from experiments.store.folders import listed
from experiments.store.layout import MIRROR, MLFLOW_DATABASE, RESULT
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking.report_files import report_digest

FORMAT = 2
DatabaseState = list[list[int]]


class SettledRecord:
    """A note that the database in a store had all results of a plan, and its report, when only we were changing it.

    The note holds only as long as neither these nor the database change, by whatever program, and MLflow stays
    at its version. Any doubt means False: the record is then brought up to date, which notes it anew.
    """

    def __init__(self, store: Store, plan: Plan) -> None:
        self.store, self.plan = store, plan
        name = hashlib.sha256(plan.sweep.name.encode()).hexdigest()[:20]
        self.path = store.root / MIRROR / f"{name}.settled.json"
        self._results: str | None = None  # before the latest update
        self._database: DatabaseState = []  # after it
        self._others_wrote = False  # since this mirror read the whole record

    def holds(self) -> bool:
        """Return whether there is nothing to send to the database and nothing to restore in it."""
        noted, results = read_json(self.path), self.results()
        return noted is not None and results is not None and noted == self._content(results, self.database())

    def results(self) -> str | None:
        """Return a digest of which results there are, of their versions and of the report; None unless all are done."""
        tasks = [*self.plan.trainings.values(), *self.plan.evaluations.values()]
        times = [modified_ns(self.store.folder_of(task) / RESULT) for task in tasks]
        if None in times:
            return None
        versions = [
            [task.signature, self.plan.names[task.signature], time] for task, time in zip(tasks, times, strict=True)
        ]
        content = [versions, report_digest(self.store, self.plan.sweep.name)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def database(self) -> DatabaseState:
        """Return sizes and times of the database's files; any change to the database shows in them."""
        files = filter(None, map(_file_status, listed(self.store.root, f"{MLFLOW_DATABASE}*")))
        return [[status.st_ino, status.st_size, status.st_mtime_ns] for status in files]

    def update_begins(self, looks: bool) -> None:
        """A mirror starts an update. looks: it reads the whole record first, whoever changed that."""
        self._results = self.results()
        if looks:
            self._others_wrote = False
        elif self.database() != self._database:
            self._others_wrote = True

    def update_ended(self, is_complete: bool) -> None:
        """An update went through. is_complete: the record has every task of the plan as finished."""
        self._database = self.database()
        if is_complete and self._results is not None and not self._others_wrote:
            write_json(self.path, self._content(self._results, self._database))

    def _content(self, results: str, database: DatabaseState) -> dict[str, object]:
        return {"version": FORMAT, "mlflow": version("mlflow"), "results": results, "database": database}


def _file_status(path: Path) -> os.stat_result | None:
    """Return the status of a file; None where it is none, or vanishes, as SQLite's journal does with every write."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None
