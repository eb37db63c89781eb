"""What a mirror knows of the record that it keeps, so that it sends each thing once and reads nothing in vain."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.store.journal import Journal

OnSyncProgress = Callable[[int, int], None]


@dataclass
class MirroredRun:
    """A run as it stands in MLflow.

    message: its tag edm.status; result: the SHA-256 of the result that it tells; parent: the run that it is shown
    under.
    """

    run_id: str
    status: str
    has_parameters: bool = False
    message: str = ""
    result: str = ""
    parent: str = ""


@dataclass(frozen=True)
class SyncCounts:
    """How far the record is: a sweep's runs in MLflow, those that are finished, and those that were sent just now."""

    runs: int
    finished: int
    sent: int


class CurveTail:
    """A journal that is read on from where it was left, and anew where its file was replaced."""

    def __init__(self, path: Path) -> None:
        self.journal = Journal(path)
        self.inode, self.offset = 0, 0

    def fresh(self) -> list[dict[str, Any]]:
        """The lines that were not read before."""
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


class Notices:
    """Which runs of one record which mirror has changed: told by each to all others that write to the same one.

    So that nobody has to look at a whole record anew because somebody else has added a run to it.
    """

    def __init__(self, folder: Path, uri: str, name: str) -> None:
        record = hashlib.sha256(f"{uri}\n{name}".encode()).hexdigest()[:20]  # an address may hold a password
        self.tail = CurveTail(folder / f"{record}.jsonl")
        self.own = secrets.token_hex(8)

    def leave(self, signature: str, run_id: str) -> None:
        """Tell the others of a run that was made or changed."""
        self.tail.journal.append({"by": self.own, "signature": signature, "run": run_id})

    def of_others(self) -> dict[str, str]:
        """The runs that others have changed since this was last asked, by signature."""
        return {line["signature"]: line["run"] for line in self.tail.fresh() if line["by"] != self.own}
