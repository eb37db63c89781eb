"""What a training leaves beside its model: checkpoints, and how far it came if it was pruned."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.store.files import read_json, write_json
from experiments.store.folders import listed
from experiments.store.layout import CHECKPOINTS, PRUNED, RESULT
from experiments.store.results import Record


def saved_step(folder: Path) -> int | None:
    """Return after how many steps the newest checkpoint was saved that a training resumes from; None without one."""
    names = [path.name for path in listed(folder / CHECKPOINTS, "[!.]*-*.safetensors")]
    return int(max(names).partition("-")[0]) if names else None


def step_stem(step: int) -> str:
    """Return how the names of checkpoints begin that were saved after so many steps."""
    return f"{step:010d}"


def kimg_stem(kimg: float) -> str:
    """Return how the names of checkpoints and pictures begin that are kept at so many kimg, in the order of time."""
    return f"kimg{kimg:012.3f}"


def kimg_of(path: Path) -> float:
    """Return at how many kimg a checkpoint was kept, as its name says."""
    return float(path.name.removeprefix("kimg").partition("-")[0])


def best_kept(files: Sequence[Path], lines: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Return the kept checkpoint with the lowest loss on the val split, by the nearest line of the validation journal.

    All of them where that has no lines.
    """
    if not lines:
        return list(files)

    def loss(path: Path) -> float:
        return min(lines, key=lambda line: abs(line["kimg"] - kimg_of(path)))["val_loss"]

    return sorted(files, key=loss)[:1]


@dataclass(frozen=True)
class Pruning(Record):
    """At how many kimg a training was ended early, and its last loss on the val split, where it was measured."""

    kimg: float
    val_loss: float | None

    @classmethod
    def of(cls, folder: Path) -> Pruning | None:
        """Return the pruning of the training in a folder; None where it was not pruned, or finished since."""
        content = read_json(folder / PRUNED)
        return None if content is None or (folder / RESULT).exists() else cls.from_json(content)

    def write(self, folder: Path) -> None:
        """Write it into the training's folder."""
        write_json(folder / PRUNED, {**asdict(self), "time": time.time()})

    @property
    def text(self) -> str:
        """The pruning in words."""
        loss = "" if self.val_loss is None else f" (loss on the val split {self.val_loss:.4g})"
        return f"pruned at {self.kimg:g} kimg{loss}"
