"""What a training leaves behind beside its model: kept checkpoints, and how far it came if it was pruned."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.store.files import read_json, write_json
from experiments.store.layout import PRUNED, RESULT


def kimg_of(path: Path) -> float:
    """At how many kimg a checkpoint was kept, by its name."""
    return float(path.name.removeprefix("kimg").partition("-")[0])


def best_kept(files: Sequence[Path], looks: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Of kept checkpoints that with the lowest loss on the val split, by the look nearest to it; all without any."""
    if not looks:
        return list(files)

    def loss(path: Path) -> float:
        return min(looks, key=lambda look: abs(look["kimg"] - kimg_of(path)))["val_loss"]

    return sorted(files, key=loss)[:1]


@dataclass(frozen=True)
class Pruning:
    """At how many kimg a training was ended early, and its last loss on the val split, where there was any."""

    kimg: float
    val_loss: float | None

    @classmethod
    def of(cls, folder: Path) -> Pruning | None:
        """What is written in a training's folder; None where it was not pruned, or has been finished since."""
        known = read_json(folder / PRUNED)
        if known is None or (folder / RESULT).exists():
            return None
        return cls(known["kimg"], known["val_loss"])

    def write(self, folder: Path) -> None:
        """Write it down."""
        write_json(folder / PRUNED, {**asdict(self), "time": time.time()})

    @property
    def text(self) -> str:
        """It in words."""
        loss = "" if self.val_loss is None else f" (loss on the val split {self.val_loss:.4g})"
        return f"pruned at {self.kimg:g} kimg{loss}"
