"""Keeps MLflow up to date in the background of a run, which never waits for it."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from experiments.redaction import redact
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking import mlflow_environment  # noqa: F401  (while no thread reads or changes the environment)
from experiments.tracking.answers import why_unanswered
from experiments.tracking.links import run_link

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
        self._runs: dict[str, str] = {}  # what MLflow calls the run of a task, by the task's signature
        self._awaited: SimpleQueue[threading.Event] = SimpleQueue()  # set when the next update ends
        self._ending, self._due = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop, name="mlflow-mirror", daemon=True)

    @property
    def is_server(self) -> bool:
        """Whether MLflow is a server, so that its pages have addresses that last."""
        return (self.uri or "").startswith("http")

    @property
    def is_started(self) -> bool:
        """Whether the thread was started."""
        return self._thread.ident is not None

    def start(self) -> None:
        """Start the thread, unless it was; loading MLflow takes seconds of a core."""
        if not self.is_started:
            self._thread.start()

    def run_links(self, timeout_s: float) -> dict[str, str]:
        """Return the address of every task's run, by signature, when MLflow has what the store has now.

        Without an answer in time, the addresses that are known are returned.
        """
        sent = threading.Event()
        self._awaited.put(sent)
        self._due.set()
        if self._thread.is_alive():
            sent.wait(timeout_s)
        if self.uri is None or self.experiment is None:
            return {}
        return {name: run_link(self.uri, self.experiment, run) for name, run in self._runs.items()}

    def _loop(self) -> None:
        mirror: Mirror | None = None
        while True:
            self._due.clear()
            ending = self._ending.is_set()  # asked before the update, so that the last one sees everything
            awaited = [self._awaited.get() for _ in range(self._awaited.qsize())]
            mirror = self._updated(mirror, ending)
            for sent in awaited:
                sent.set()
            if ending or not self.store.root.is_dir():
                return
            self._due.wait(PERIOD_S)

    def _updated(self, mirror: Mirror | None, ending: bool) -> Mirror | None:
        """Bring MLflow up to date, by way of a new mirror if there is none, and return the mirror."""
        if not self.store.root.is_dir():
            self.problem = f"{self.store.root} was moved or removed"
            return mirror  # MLflow would make its folders there anew
        try:
            mirror = mirror or self._open()
            mirror.update(ended=ending)
            self.problem, self.experiment = None, mirror.experiment.id
            self._runs = {name: run.run_id for name, run in mirror.experiment.runs.items()}
        except Exception as error:
            # whatever a server or a database may say: MLflow is a mirror, and the next round tries again
            place = f"{redact(self.uri)}: " if self.uri else ""
            self.problem = place + why_unanswered(error, self.uri)
        return mirror

    def _open(self) -> Mirror:
        from experiments.tracking.database import embedded_uri  # heavy
        from experiments.tracking.mirror import Mirror  # heavy

        return Mirror(self.store, self.plan, self.uri or embedded_uri(self.store))

    def finish(self, timeout_s: float) -> str | None:
        """Update MLflow once more and end the thread, if it was started.

        Returns what went wrong; None where MLflow has everything.
        """
        if not self.is_started:
            return None
        self._ending.set()
        self._due.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return self.problem or f"no answer within {timeout_s:.0f} s"
        return self.problem
