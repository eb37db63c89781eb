"""What a mirror knows of the record that it keeps, so that it sends each thing once and reads nothing in vain."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.store.journal import Journal

OnSyncProgress = Callable[[int, int], None]


@dataclass
class MirroredRun:
    """A run as it stands in MLflow.

    message: its tag edm.status. result: the SHA-256 of the result.json that it was made from. parent: the run that it
    is shown under. content: the version of what the mirror writes, `CONTENT`, that it has. is_described: whether a
    person has written its description. model: the logged model that it has made.
    """

    run_id: str
    status: str
    has_parameters: bool = False
    message: str = ""
    result: str = ""
    parent: str = ""
    content: str = ""
    is_described: bool = False
    model: str | None = None


@dataclass(frozen=True)
class SyncCounts:
    """How far the record is: a sweep's runs in MLflow, those that are finished, and those that were sent just now."""

    runs: int
    finished: int
    sent: int


class CurveTail:
    """A journal that is read on from where it was left, and from its beginning where its file was replaced."""

    def __init__(self, path: Path) -> None:
        self.journal = Journal(path)
        self.inode, self.offset = 0, 0

    def fresh(self) -> list[dict[str, Any]]:
        """Return the lines that were not read before."""
        try:
            status = self.journal.path.stat()
        except FileNotFoundError:
            return []
        if status.st_ino != self.inode or status.st_size < self.offset:
            self.inode, self.offset = status.st_ino, 0
        if status.st_size == self.offset:
            return []
        lines, self.offset = self.journal.read_from(self.offset)
        return lines


@dataclass
class SentParts:
    """What of one task a mirror has sent.

    result_ns: the time of the result.json that was sent. tails: the journals, by file. steps: up to which step MLflow
    has each curve. grids: the names of sample grids. has_inputs: whether its data set was sent.
    """

    result_ns: int | None = None
    tails: dict[str, CurveTail] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    grids: set[str] = field(default_factory=set)
    has_inputs: bool = False


class Notices:
    """Tells all mirrors that write to one record which runs another one has changed.

    So no mirror has to read the whole record again because another one has added a run to it.
    """

    def __init__(self, folder: Path, uri: str, name: str) -> None:
        record = hashlib.sha256(f"{uri}\n{name}".encode()).hexdigest()[:20]  # an address may hold a password
        self.tail = CurveTail(folder / f"{record}.jsonl")
        self.own = secrets.token_hex(8)

    def leave(self, signature: str, run_id: str) -> None:
        """Tell the others of a run that was made or changed."""
        self.tail.journal.append({"by": self.own, "signature": signature, "run": run_id})

    def of_others(self) -> dict[str, str]:
        """Return the runs that others have changed since this was last called, by signature."""
        return {line["signature"]: line["run"] for line in self.tail.fresh() if line["by"] != self.own}
