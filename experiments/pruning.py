"""How far a training came that was ended early, as others did better."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.store import PRUNED, RESULT, read_json, write_json


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
