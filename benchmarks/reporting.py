"""How long the report of 10,000 evaluations takes: `uv run python benchmarks/reporting.py`.

Makes a store as such a sweep would have left it (100 trainings, results with three FIDs each and the influence of 1,000
images on them), runs `edm-sweep report` once in a process of its own, and prints its time, its largest memory and what
it wrote. At most 20 s and 1 GiB are wanted.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)

from benchmarks.living import SWEEP  # noqa: E402
from experiments import load_sweep  # noqa: E402
from experiments import plan as planned  # noqa: E402
from experiments.store.files import checksum  # noqa: E402
from experiments.store.layout import INFLUENCES, RESULT  # noqa: E402
from experiments.store.results import EvaluationResult, Result, TrainingResult  # noqa: E402
from experiments.store.store import Store  # noqa: E402
from experiments.sweep.plan import Plan  # noqa: E402
from experiments.tracking.records import record_plan  # noqa: E402

WANTED_S, WANTED_GIB = 20.0, 1.0
NUM_IMAGES = 1000
METRICS = ("fid_train", "fid_val", "fid_test")


def fill(plan: Plan, store: Store) -> None:
    """Write what a report reads: results, and the influences that the errors of scores follow from."""
    for training in plan.trainings.values():
        result = TrainingResult(
            kimg=50.0, loss=1.0, val_loss=0.4, seconds=9.0, flops=training.flops, device="cpu", parameters=1
        )
        _write(store.folder("trainings", training.signature), result)
    rng = np.random.default_rng(0)
    common = rng.normal(size=(len(METRICS), NUM_IMAGES))
    for signature, evaluation in plan.evaluations.items():
        folder = store.folder("evaluations", signature)
        folder.mkdir(parents=True)
        influences = common + 0.5 * rng.normal(size=common.shape)
        rows = dict(zip(METRICS, influences.astype(np.float32), strict=True))
        save_file(rows, folder / INFLUENCES)
        scores = {name: 5 + float(rng.random()) for name in METRICS}
        errors = {f"{name}_se": float(row.std(ddof=1) / NUM_IMAGES**0.5) for name, row in rows.items()}
        _write(
            folder,
            EvaluationResult(
                metrics={**scores, **errors},
                scores=evaluation.scores,
                label=evaluation.features.label,
                images=NUM_IMAGES,
                seconds=9.0,
                flops=evaluation.flops,
                device="cpu",
                files={INFLUENCES: checksum(folder / INFLUENCES)},
            ),
        )


def _write(folder: Path, result: Result) -> None:
    """Write a result without waiting for the disk, which is not what is measured."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).write_text(json.dumps(result.to_json()))


def main() -> None:
    """Time one report and measure its memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "large.yaml").write_text(SWEEP)
        plan, store = planned(load_sweep(folder / "large.yaml")), Store(folder / "store")
        store.create()
        fill(plan, store)
        record_plan(plan, store)
        began = time.monotonic()
        command = ["edm-sweep", "report", "large", "--store", str(store.root), "--out", str(folder / "out")]
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.monotonic() - began
        if done.returncode:
            sys.exit(done.stderr)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        gib, cpu_s = used.ru_maxrss / 2**20, used.ru_utime + used.ru_stime
        files = sorted((folder / "out").iterdir())
        print(f"{len(plan.cells):,} cells: {seconds:.1f} s (wanted: {WANTED_S:g}), of them {cpu_s:.1f} s of CPU")
        print(f"{gib:.2f} GiB (wanted: {WANTED_GIB:g})")
        print(", ".join(f"{path.name} {path.stat().st_size / 2**20:.1f} MiB" for path in files))


if __name__ == "__main__":
    main()
