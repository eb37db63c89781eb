"""How fast the commands answer around a sweep of 10,000 cells: `uv run python benchmarks/living.py`.

Makes a store as such a sweep would have left it (100 trainings, 10,000 evaluations; results and configurations, no
weights), half of it done, and times whole commands, Python's start included, beside `python -c pass`. Each answer
within 3 s is wanted.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from experiments import load_sweep
from experiments import plan as planned
from experiments.store.files import write_json
from experiments.store.results import EvaluationResult, Provenance, TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import PlannedCell
from experiments.sweep.tasks import Evaluation, Training
from experiments.tracking.records import record_plan
from experiments.trials.context import write_config

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
MADE = Provenance(git_commit="0" * 40, git_dirty=False, host="bench", python="3")
CELL, OTHER = "nano/attention/lr=0.001/guidance=2/steps=10/seed=0", "nano/attention/lr=0.001/guidance=2/steps=11/seed=0"
UNDONE = "micro/attention/lr=0.005/guidance=5.5/steps=14/seed=4"


def fill(cells: Sequence[PlannedCell], store: Store) -> None:
    """Write what finished work leaves that these commands read, of these cells."""
    for training in {cell.training.signature: cell.training for cell in cells}.values():
        folder = store.folder("trainings", training.signature)
        folder.mkdir(parents=True)
        write_config(folder, training)
        write_json(folder / "result.json", _trained(training).to_json())
    first = cells[0].evaluation
    folder = store.folder("evaluations", first.signature)
    folder.mkdir(parents=True)
    write_config(folder, first)
    config = (folder / "config.yaml").read_text()
    for evaluation in (cell.evaluation for cell in cells):
        folder = store.folder("evaluations", evaluation.signature)
        folder.mkdir(parents=True, exist_ok=True)
        # YAML takes its time; but for signatures these are alike enough
        own = config.replace(first.signature, evaluation.signature)
        own = own.replace(first.training.signature, evaluation.training.signature)
        (folder / "config.yaml").write_text(own)
        write_json(folder / "result.json", _scored(evaluation).to_json())
    (store.folder("evaluations", first.signature) / "log.txt").write_text("done\n")


def _trained(training: Training) -> TrainingResult:
    return TrainingResult(
        kimg=50.0, loss=1.0, seconds=9.0, flops=training.flops, device="cpu", parameters=1, provenance=MADE
    )


def _scored(evaluation: Evaluation) -> EvaluationResult:
    return EvaluationResult(
        metrics={f"{name}_{split}": 1.0 for name in ("fid", "kid") for split in ("train", "val", "test")},
        scores=evaluation.scores,
        label=evaluation.features.label,
        images=1000,
        seconds=9.0,
        scoring_seconds=0.1,
        flops=evaluation.flops,
        device="cpu",
        provenance=MADE,
    )


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
        plan, store = planned(load_sweep(folder / "large.yaml")), Store(folder / "store")
        store.create()
        record_plan(plan, store)
        fill(plan.cells[: len(plan.cells) // 2], store)
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
            share = f"{seconds / WANTED_S:5.0%} of the {WANTED_S:.0f} s wanted"
            print(f"{'edm-sweep ' + shown:<42} {seconds:6.2f} s   {share}")
        print(json.dumps({"slowest_s": round(slowest, 2), "wanted_s": WANTED_S}))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
