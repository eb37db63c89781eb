"""Why a task failed: one record, from the trial that met it to the terminal, MLflow and `status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import time as now
from typing import Any, Literal, get_args

from experiments.store.files import read_json, write_json
from experiments.store.layout import FAILURE, LOG
from experiments.wording import on_one_line

# memory: even the smallest batch does not fit. lost: the worker or its node is gone. device: a GPU reported an error,
# and the process that met it cannot go on. input: data, weights or configuration are wrong. diverged: NaN or infinite
# numbers. disk: no room to write. damaged: a file of the store was not what was written, and was set aside.
FailureKind = Literal["memory", "lost", "device", "input", "diverged", "disk", "damaged", "unknown"]

EXTERNAL: tuple[FailureKind, ...] = ("lost", "device", "damaged")  # these say nothing about the task itself
PERMANENT: tuple[FailureKind, ...] = ("input", "diverged")  # these come again however often it is tried
TAIL_LINES = 12

# input, diverged, disk and damaged say in their own message what helps
REMEDIES: dict[FailureKind, str] = {
    "memory": "reduce training.batch_size or resources.sampling_batch, or use a smaller model or a larger GPU",
    "lost": "check what may have ended the process: too little memory, a limit of the batch system, or a lost node",
    "device": "check the GPU and its driver; the process that met this error is not used again",
}


@dataclass(frozen=True)
class Failure:
    """Why a task failed.

    message: one line that says what and where. place: a digest of the place in the code, equal for the same mistake in
    different tasks. log: the task's whole log. time: when it failed, in seconds since 1970.
    """

    message: str
    kind: FailureKind = "unknown"
    place: str = ""
    log: str = ""
    time: float = field(default_factory=now)

    @property
    def remedy(self) -> str:
        """What may help, where the message does not say so itself."""
        return REMEDIES.get(self.kind, "")

    @property
    def is_permanent(self) -> bool:
        """Whether trying again cannot help."""
        return self.kind in PERMANENT

    @property
    def is_external(self) -> bool:
        """Whether it says nothing about the task itself."""
        return self.kind in EXTERNAL

    def write(self, folder: Path) -> None:
        """Write it into a task's folder. Raises OSError."""
        content = {"message": self.message, "fault": self.kind, "place": self.place, "time": self.time}
        write_json(folder / FAILURE, content)

    @classmethod
    def read(cls, folder: Path) -> Failure | None:
        """Return the failure in a task's folder, None where there is none."""
        content = read_json(folder / FAILURE)
        return cls._of_file(content, folder) if content is not None else None

    @classmethod
    def _of_file(cls, content: Mapping[str, Any], folder: Path) -> Failure:
        return cls(
            message=str(content.get("message", "")),
            kind=content["fault"] if content.get("fault") in get_args(FailureKind) else "unknown",
            place=str(content.get("place", "")),  # which files of earlier versions do not have
            log=str(folder / LOG),
            time=float(content.get("time", 0.0)),
        )

    def log_tail(self) -> list[str]:
        """Return the last lines of the log that say more than the message does, such as a traceback."""
        path = Path(self.log)
        if self.is_permanent or not self.log or not path.is_file():
            return []
        lines = path.read_text(errors="replace").splitlines()
        return [line for line in lines[-TAIL_LINES:] if not self._is_said_by(on_one_line(line))]

    def _is_said_by(self, line: str) -> bool:
        return line in self.message or (bool(self.message) and self.message in line)
