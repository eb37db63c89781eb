"""Requests to a run: files in its folder, which it and its trials look for on whatever machine they are.

<root>/sessions/<run id>/stop                 save all work and stop
<root>/sessions/<run id>/cancel-<signature>   leave one task
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from experiments.errors import UserError
from experiments.store.folders import make_inside
from experiments.store.layout import CANCEL, RUNS, STOP


class RunRequests:
    """The part of a store that holds requests to runs."""

    root: Path

    def run_folder(self, run_id: str) -> Path:
        """Return the folder of a run."""
        return self.root / RUNS / run_id

    def request_stop(self, run_id: str, signature: str | None = None) -> None:
        """Ask every trial of a run to save its state and leave, or those alone that work on one task."""
        path = self.run_folder(run_id) / (STOP if signature is None else CANCEL + signature)
        make_inside(self.root, path.parent)
        path.touch()

    def stop_requested(self, run_id: str, signature: str | None = None) -> bool:
        """Return whether a run has been asked to stop, or to leave a task."""
        requests = self._requests(run_id)
        return STOP in requests or (signature is not None and CANCEL + signature in requests)

    def cancelled(self, run_id: str) -> set[str]:
        """Return the signatures of the tasks that a run has been asked to leave."""
        return {name.removeprefix(CANCEL) for name in self._requests(run_id) if name.startswith(CANCEL)}

    def require_run(self, run_id: str) -> None:
        """Raise UserError where the folder of a run that goes on is gone: so is the store, to another place."""
        if not self.run_folder(run_id).is_dir():
            raise UserError(
                f"{self.root}: was moved or removed while a run worked with it, and the run has stopped; to continue, "
                "give the same command with --store and the new place"
            )

    def end_run(self, run_id: str) -> None:
        """Remove the folder of a run."""
        shutil.rmtree(self.run_folder(run_id), ignore_errors=True)

    def _requests(self, run_id: str) -> list[str]:
        try:
            return os.listdir(self.run_folder(run_id))  # a network file system may remember that a file is absent
        except FileNotFoundError:
            return []
