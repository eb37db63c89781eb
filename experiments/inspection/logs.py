"""The logs of a cell's tasks, and the losses of its training as lines."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.inspection.lookup import NamedTask, find_one, find_preparation, stored_task
from experiments.store.active_runs import active_runs, is_alive
from experiments.store.journal import Journal
from experiments.store.layout import JOURNAL, LOG, VALIDATION
from experiments.store.store import Store
from experiments.sweep.tasks import Training
from experiments.tracking.sync_state import CurveTail

PERIOD_S = 0.5  # between looks for new lines
LOSS_PERIOD_S = 5.0  # between lines with a loss


@dataclass(frozen=True)
class Log:
    """The log of a task, which may not exist yet. num_steps: of a training, if it has begun."""

    title: str
    kind: str
    signature: str
    path: Path
    num_steps: int | None = None

    def last(self, lines: int) -> list[str]:
        """Return its last lines; none if it does not exist."""
        try:
            with self.path.open(errors="replace") as file:
                return [line.rstrip("\n") for line in deque(file, maxlen=lines)]
        except FileNotFoundError:
            return []

    def last_losses(self) -> list[str]:
        """Return the latest loss of a training and its latest loss on the val split, a line each."""
        curves = (Journal(self.path.parent / name).read()[-1:] for name in (JOURNAL, VALIDATION))
        return [self.loss_line(point) for curve in curves for point in curve]

    def loss_line(self, point: dict[str, Any]) -> str:
        """Return a point of a training's curves in words."""
        total = f" of {self.num_steps:,}" if self.num_steps else ""
        speed = f", {point['images_per_s']:,.0f} images/s" if point.get("images_per_s") else ""
        losses = ", ".join(f"{name} {point[name]:.4f}" for name in ("loss", "val_loss") if name in point)
        return f"step {point['step']:,}{total} ({point['kimg']:,.6g} kimg): {losses}{speed}"


def logs_matching(text: str, store: Store) -> list[Log]:
    """Return the logs of the cell, training or preparation that a text matches. Raises UserError where none is."""
    found = find_preparation(text, store)
    if found is None:
        return logs_of(find_one(text, store), store)
    return [_log(found.kind, found.name, store.folder(found.store_kind, found.signature))]


def logs_of(task: NamedTask, store: Store) -> list[Log]:
    """Return the logs of a cell, first its training's, or that of a training."""
    steps = _num_steps(task.training, store)
    logs = [_log("training", task.name, store.folder("trainings", task.training), steps)]
    if task.evaluation is not None:
        logs.append(_log("evaluation", task.name, store.folder("evaluations", task.evaluation)))
    return logs


def _log(kind: str, name: str, folder: Path, num_steps: int | None = None) -> Log:
    return Log(f"{kind} {name}", kind, folder.name, folder / LOG, num_steps)


def _num_steps(signature: str, store: Store) -> int | None:
    """The number of steps of a training; None if it has not begun."""
    try:
        training = stored_task("training", signature, signature, store)
    except UserError:
        return None
    return training.config.num_steps if isinstance(training, Training) else None


def follow(
    logs: list[Log], store: Store, wait: Callable[[float], None] = time.sleep, loss_period_s: float = LOSS_PERIOD_S
) -> Iterator[tuple[Log, str]]:
    """Yield every line that is added from now on, and losses now and then, until no run or task is active."""
    tails = [(log, tail) for log in logs for tail in (_TextTail(log.path), _LossTail(log, loss_period_s))]
    ending = False
    while True:
        for log, tail in tails:
            for line in tail.new_lines(ending):
                yield log, line
        if ending:
            return
        # lines may have been written just before the end: look once more after it
        ending = not active_runs(store) and not any(is_alive(log.path.parent, store.lease_timing) for log in logs)
        if not ending:
            wait(PERIOD_S)


class _TextTail:
    """Reads a growing text file on from where it ended."""

    def __init__(self, path: Path) -> None:
        self.path, self.rest = path, b""
        self.offset = path.stat().st_size if path.exists() else 0

    def new_lines(self, _ending: bool) -> list[str]:
        """Return the whole lines that were added since the last call."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self.offset:  # another file: the task is done again
                    self.offset, self.rest = 0, b""
                file.seek(self.offset)
                added = file.read()
        except FileNotFoundError:
            return []
        self.offset += len(added)
        *whole, self.rest = (self.rest + added).split(b"\n")
        return [line.decode(errors="replace") for line in whole]


class _LossTail:
    """Reads a training's curves on from where they ended: every loss on the val split, and the loss now and then.

    A training that is resumed writes its curves anew, up to its checkpoint, and takes the steps since then again; one
    that begins at the end of a shorter one has that one's curves. Each line is reported once all the same.
    """

    def __init__(self, log: Log, period_s: float) -> None:
        self.log, self.period_s = log, period_s
        self.journal, self.validation = (CurveTail(log.path.parent / name) for name in (JOURNAL, VALIDATION))
        self.known: set[str] = set()
        for tail in (self.journal, self.validation):
            self._fresh(tail)  # what is there already
        self.latest: str | None = None
        self.reported = -math.inf

    def new_lines(self, ending: bool) -> list[str]:
        """Return what to report now. ending: whether this is the last call, in which nothing is held back."""
        self.latest = next(reversed(self._fresh(self.journal)), self.latest)
        lines = self._fresh(self.validation)
        now = time.monotonic()
        if self.latest is not None and (ending or lines or now - self.reported >= self.period_s):
            lines = [self.latest, *lines]
            self.latest, self.reported = None, now
        return lines

    def _fresh(self, tail: CurveTail) -> list[str]:
        """Return the lines of a curve that were not there before, in words."""
        fresh = [line for line in map(self.log.loss_line, tail.fresh()) if line not in self.known]
        self.known.update(fresh)
        return fresh
