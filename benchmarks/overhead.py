"""What orchestration costs beside the work itself.

    uv run python benchmarks/overhead.py trials      # about two minutes
    uv run python benchmarks/overhead.py sweep       # some ten minutes

trials: 64 trials that do nothing, through this project's executor and through Ray Tune as it comes, in one Ray.
sweep: a grid of 4 trainings x 12 evaluations on digits by the command, from nothing; its wall-clock, starting Ray,
reporting and MLflow included, over the sum of its tasks' own time shared out over the same cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TRIALS = 64

SWEEP = """\
name: overhead
data:       {name: digits}
training:   {kimg: 50, batch_size: 64, lr: 2.0e-3, ema_halflife_kimg: 5, label_dropout: 0.1}
sampling:   {steps: 18}
evaluation: {images: 1000, features: classifier}
grid:
  model.preset: [nano, micro]
  model.attention: [false, true]
  sampling.guidance: [1, 1.5, 2, 3]
  sampling.sampler: [euler, heun, stochastic_heun]
"""

NO_WORK = """\
name: nothing
model:      {preset: nano}
training:   {kimg: 1}
evaluation: {images: 2000, features: classifier}
grid: {training.lr: RATES}
"""


def trials() -> float:
    """Seconds for each of 64 trials without work, ours and Tune's; returns their ratio."""
    from experiments.runner import ray_environment  # noqa: F401  isort: skip  (Ray reads it as it is imported)
    from ray import tune

    from experiments import load_sweep, plan
    from experiments.runner import cluster
    from experiments.runner import tune as tuning
    from experiments.runner.options import Options
    from experiments.runner.ray_run import RayRun
    from experiments.runner.resume import open_schedule
    from experiments.store.store import Store
    from experiments.sweep.jobs import Outcome
    from experiments.trials.context import TrialContext

    def nothing(store: Store, job: Any, context: TrialContext) -> Any:
        for task in job.tasks:
            # evaluations are left out: no training is done that they depend on
            yield task.signature, Outcome("done" if task.kind == "training" else "interrupted")

    tuning.perform_job = nothing
    with tempfile.TemporaryDirectory() as folder:
        file, store = Path(folder) / "nothing.yaml", Store(Path(folder) / "store")
        file.write_text(NO_WORK.replace("RATES", str([round(1e-4 + 1e-6 * i, 9) for i in range(TRIALS // 2)])))
        schedule = open_schedule(plan(load_sweep(file)), store)
        store.create()
        with cluster.connected(store):
            began = time.monotonic()
            tuner = tune.Tuner(
                _nothing_at_all,
                tune_config=tune.TuneConfig(num_samples=TRIALS),
                run_config=tune.RunConfig(storage_path=folder, verbose=0),
            )
            tuner.fit()
            theirs = (time.monotonic() - began) / TRIALS
            began = time.monotonic()
            tuning.run_here(RayRun(schedule, store, TrialContext("none"), Options(), lambda task: None, print))
            ours = (time.monotonic() - began) / TRIALS
    print(f"Ray Tune as it comes   {theirs:.3f} s a trial")
    print(f"edm-sweep              {ours:.3f} s a trial, its worker's import of torch included")
    print(f"ratio                  {ours / theirs:.2f} (at most 0.33 is wanted)")
    return ours / theirs


def _nothing_at_all(config: dict[str, Any]) -> None:
    from ray import tune

    tune.report({"done": True})


def sweep() -> float:
    """Wall-clock of a whole command over its tasks' own time on the same cores; returns the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "overhead.yaml"
        file.write_text(SWEEP)
        command = [
            str(Path(sys.executable).parent / "edm-sweep"),
            "run",
            str(file),
            "--store",
            f"{folder}/store",
            "--json",
        ]
        began = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        wall_s = time.monotonic() - began
    made = json.loads(done.stdout)
    cores = os.cpu_count() or 1
    floor_s = made["worked_s"] / cores
    print(f"{made['done']} tasks took {made['worked_s']:.0f} s, on {cores} cores at least {floor_s:.0f} s")
    print(f"the command took {wall_s:.0f} s: {wall_s / floor_s:.3f} times that (at most 1.10 is wanted)")
    return wall_s / floor_s


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=["trials", "sweep"])
    which = parser.parse_args().which
    raise SystemExit((trials() > 1 / 3) if which == "trials" else (sweep() > 1.10))


if __name__ == "__main__":
    main()
