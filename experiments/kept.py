"""The checkpoints that a training keeps: of when each is, and which is the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


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
