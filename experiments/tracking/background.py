"""Keeps MLflow up to date in the background of a run, which never waits for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from experiments.errors import one_line
from experiments.store.store import Store
from experiments.sweep.plan import Plan

if TYPE_CHECKING:
    from experiments.tracking.mirror import Mirror

PERIOD_S = 3.0


class MirrorThread:
    """A mirror that a thread keeps up to date, by default the database in the store: a slow server slows nothing.

    problem: why the last update failed, in a line; None where it did not. experiment: its number in MLflow, once known.
    """

    def __init__(self, store: Store, plan: Plan, uri: str | None) -> None:
        self.store, self.plan, self.uri = store, plan, uri
        self.problem: str | None = None
        self.experiment: str | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="mlflow-mirror", daemon=True)

    def start(self) -> None:
        """Start the thread; loading MLflow takes seconds of a core, best at a time when the run itself waits."""
        self._thread.start()

    def _loop(self) -> None:
        mirror: Mirror | None = None
        while True:
            ending = self._ending.is_set()  # asked before the update, so that the last one sees everything
            if not self.store.root.is_dir():
                self.problem = f"{self.store.root} was moved or removed"
                return  # MLflow would make its folders there anew
            try:
                mirror = mirror or self._open()
                mirror.update(ended=ending)
                self.problem, self.experiment = None, mirror.experiment.id
            except Exception as error:
                # whatever a server or a database may say: MLflow is a mirror, and the next round tries again
                self.problem = one_line(error)
            if ending:
                return
            self._ending.wait(PERIOD_S)

    def _open(self) -> Mirror:
        from experiments.tracking.database import embedded_uri  # heavy
        from experiments.tracking.mirror import Mirror  # heavy

        return Mirror(self.store, self.plan, self.uri or embedded_uri(self.store))

    def finish(self, timeout_s: float) -> str | None:
        """Update MLflow once more and end the thread, if it was started.

        Returns what went wrong; None where MLflow has everything.
        """
        if self._thread.ident is None:
            return None
        self._ending.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return self.problem or f"no answer within {timeout_s:.0f} s"
        return self.problem
