"""How fast the commands answer around a sweep of 10,000 cells: `uv run python benchmarks/living.py`.

Makes a store as such a sweep would have left it (100 trainings, 10,000 evaluations; results, configurations, no weights),
half of it done, and times whole commands, Python's start included, beside `python -c pass`. Each answer within 3 s is
wanted.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.planning import Evaluation, Plan, Training, plan_sweep
from experiments.register import remember
from experiments.spec import load_sweep
from experiments.store import KIND_OF_PIECE, Store, write_json
from experiments.trial import write_config

WANTED_S = 3.0
SWEEP = """\
name: large
data:       {name: digits}
training:   {kimg: 50, batch_size: 64, label_dropout: 0.1}
sampling:   {steps: 18}
evaluation: {images: 1000, features: classifier}
grid:
  model.preset: [nano, micro]
  model.attention: [false, true]
  training.lr: [1.0e-3, 2.0e-3, 3.0e-3, 4.0e-3, 5.0e-3]
  sampling.guidance: [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5]
  sampling.steps: [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
seeds: [0, 1, 2, 3, 4]
"""
CELL, OTHER = "nano/attention/lr=0.001/guidance=2/steps=10/seed=0", "nano/attention/lr=0.001/guidance=2/steps=11/seed=0"
UNDONE = "micro/attention/lr=0.005/guidance=5.5/steps=14/seed=4"


def fill(plan: Plan, store: Store) -> None:
    """What finished work leaves that these commands read, of the first half of the cells."""
    half = plan.cells[: len(plan.cells) // 2]
    done: dict[str, Training | Evaluation] = {cell.training.signature: cell.training for cell in half}
    done |= {cell.evaluation.signature: cell.evaluation for cell in half}
    template = {"git_commit": "0" * 40, "git_dirty": False, "host": "bench", "python": "3", "packages": {}, "tags": {}}
    for piece in done.values():
        folder = store.folder(KIND_OF_PIECE[piece.kind], piece.signature)
        folder.mkdir(parents=True)
        first = len(list(folder.parent.iterdir())) == 1
        if first or isinstance(piece, Training):
            write_config(folder, piece)
            text = (folder / "config.yaml").read_text()
        else:  # YAML takes its time, and but for the signature these are alike
            (folder / "config.yaml").write_text(text.replace(last, piece.signature))
        if isinstance(piece, Evaluation) and first:
            last = piece.signature  # noqa: F841
        result = {"seconds": 9.0, "flops": piece.flops, "device": "cpu", "files": {}, "provenance": template}
        if isinstance(piece, Evaluation):
            metrics = {f"{name}_{split}": 1.0 for name in ("fid", "kid") for split in ("train", "val", "test")}
            result |= {"metrics": metrics, "scores": list(piece.scores), "notes": [], "stopped_at": None}
            result |= {"stopped_by": None, "images": 1000, "scoring_seconds": 0.1}
        write_json(folder / "result.json", result)
    for name in ("log.txt",):
        (store.folder("evaluations", half[0].evaluation.signature) / name).write_text("done\n")


def timed(command: list[str]) -> float:
    """Seconds of a whole command, the better of two."""
    times = []
    for _ in range(2):
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True)
        times.append(time.monotonic() - began)
        if done.returncode not in (0, 1):
            sys.exit(f"{command}: {done.stderr}")
    return min(times)


def main() -> None:
    """Time every command that answers from the store."""
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "large.yaml").write_text(SWEEP)
        plan, store = plan_sweep(load_sweep(folder / "large.yaml")), Store(folder / "store")
        store.create()
        remember(plan, store)
        fill(plan, store)
        print(f"a store of {len(plan.cells):,} cells, {len(plan.trainings)} trainings, half of it done")
        floor = timed([sys.executable, "-c", "pass"])
        print(f"{'python -c pass (the floor)':<42} {floor:6.2f} s")
        slowest = 0.0
        for words in (
            ["status", "large"],
            ["status", "large", "--json"],
            ["status"],
            ["logs", CELL],
            ["cancel", CELL],
            ["why", CELL],
            ["why", UNDONE],
            ["diff", CELL, OTHER],
            ["gc"],
            ["plan", "large", "--json"],
            ["run", "large", "--dry-run", "--only", "nano/attention"],
        ):
            seconds = timed([str(Path(sys.executable).parent / "edm-sweep"), *words, "--store", str(store.root)])
            slowest = max(slowest, seconds)
            shown = " ".join(word if len(word) < 20 else "CELL" for word in words)
            print(
                f"{'edm-sweep ' + shown:<42} {seconds:6.2f} s   {seconds / WANTED_S:5.0%} of the {WANTED_S:.0f} s wanted"
            )
        print(json.dumps({"slowest_s": round(slowest, 2), "wanted_s": WANTED_S}))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
