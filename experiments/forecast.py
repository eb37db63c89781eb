"""How long work will take: from what the store measured, else from a rough guess that says it is one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from experiments.plan import Piece, Plan
from experiments.store import KIND_OF_PIECE, Store, StoreKind

START_UP_S = 25.0  # Ray, its workers and their imports
GUESSED_FLOPS_PER_S = {"cpu": 4e10, "gpu": 2e13}  # of one core, of one GPU, with networks of a middling size
SAMPLE = 50  # results of each kind that are read for a speed


@dataclass(frozen=True)
class Forecast:
    """Seconds of wall clock for the work that is left; `measured` where a store of this machine knows the speed."""

    wall_s: float
    work_s: float
    measured: bool


@cache
def num_gpus() -> int:
    """How many GPUs the driver lists, without importing torch."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    done = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False, timeout=20)
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines()) if done.returncode == 0 else 0


class Speeds:
    """Seconds per floating-point operation of each kind of work."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.measured = {kind: speed for kind, folder in KIND_OF_PIECE.items() if (speed := self._measure(folder))}

    def _measure(self, kind: StoreKind) -> float | None:
        seconds = flops = 0.0
        folders = sorted(self.store.root.glob(f"{kind}/*/result.json"), key=lambda p: p.stat().st_mtime, reverse=True)
        for path in folders[:SAMPLE]:
            result = self.store.result(kind, path.parent.name) or {}
            seconds += result.get("seconds", 0.0)
            flops += result.get("flops", 0.0)
        return seconds / flops if seconds and flops else None

    def seconds(self, piece: Piece) -> float:
        """How long a piece takes by itself."""
        guess = 1 / GUESSED_FLOPS_PER_S["gpu" if num_gpus() else "cpu"]
        known = self.measured.get(piece.kind) or next(iter(self.measured.values()), guess)
        return piece.flops * known


def forecast(plan: Plan, pieces: Iterable[Piece], store: Store) -> Forecast:
    """The time for `pieces`: the larger of all work shared out and of the longest chain, and starting up."""
    speeds = Speeds(store)
    seconds = {piece.signature: speeds.seconds(piece) for piece in pieces}
    if not seconds:
        return Forecast(0.0, 0.0, True)
    chains = [
        max(seconds.get(training.signature, 0.0) for training in e.stands_on) + seconds.get(e.signature, 0.0)
        for e in plan.evaluations.values()
    ]
    slots = min(len(seconds), _slots(plan))
    work = sum(seconds.values())
    return Forecast(max(work / slots, max(chains)) + START_UP_S, work, bool(speeds.measured))


def _slots(plan: Plan) -> int:
    """How many trials run side by side."""
    resources = plan.sweep.resources
    if num_gpus() and resources.gpus != 0:
        return max(1, int(num_gpus() / (resources.gpus or 1)))
    return max(1, (os.cpu_count() or 1) // (resources.cpus or 1))
