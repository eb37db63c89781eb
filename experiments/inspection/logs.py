"""What a cell's work has written to its logs, and goes on to write."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from experiments.inspection.lookup import NamedTask
from experiments.store.active_runs import active_runs, is_alive
from experiments.store.layout import FOLDER_OF_TASK, LOG
from experiments.store.store import Store

PERIOD_S = 0.5  # between looks for more


@dataclass(frozen=True)
class Log:
    """The log of a task; it may not be there yet."""

    title: str
    kind: str
    signature: str
    path: Path

    def last(self, lines: int) -> list[str]:
        """Its last lines; none where there is no such file."""
        try:
            with self.path.open(errors="replace") as file:
                return [line.rstrip("\n") for line in deque(file, maxlen=lines)]
        except FileNotFoundError:
            return []


def logs_of(work: NamedTask, store: Store) -> list[Log]:
    """The logs of a cell, that of its training first, or of a training."""
    tasks = [("training", work.training)]
    if work.evaluation is not None:
        tasks.append(("evaluation", work.evaluation))
    return [
        Log(f"{kind} {work.name}", kind, name, store.folder(FOLDER_OF_TASK[kind], name) / LOG) for kind, name in tasks
    ]


def follow(logs: list[Log], store: Store, wait: Callable[[float], None] = time.sleep) -> Iterator[tuple[Log, str]]:
    """Every line that is added from now on, until nobody works at any of these and no run goes on that could."""
    tails = [(log, _Tail(log.path)) for log in logs]
    ending = False
    while True:
        for log, tail in tails:
            for line in tail.fresh():
                yield log, line
        if ending:
            return
        # once more after the end is seen: what was written before it
        ending = not active_runs(store) and not any(is_alive(log.path.parent) for log in logs)
        if not ending:
            wait(PERIOD_S)


class _Tail:
    """A text file that grows, read on from where it ended."""

    def __init__(self, path: Path) -> None:
        self.path, self.rest = path, b""
        self.offset = path.stat().st_size if path.exists() else 0

    def fresh(self) -> list[str]:
        """The whole lines that were added since this was last asked."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                added = file.read()
        except FileNotFoundError:
            return []
        self.offset += len(added)
        *whole, self.rest = (self.rest + added).split(b"\n")
        return [line.decode(errors="replace") for line in whole]
