"""How soon a training takes its first steps after `edm-sweep run`: `uv run python benchmarks/first_step.py` (a minute).

Runs a small sweep on digits once, so that data, feature classifier and bytecode are there, then further trainings, each
from the start of the command until its journal has a line; the rest of each is interrupted.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMES = 3
WANTED_S = 5.0
SWEEP = """\
name: first
data:       {name: digits}
model:      {preset: nano}
training:   {kimg: 1, batch_size: 64}
sampling:   {steps: 5}
evaluation: {images: 1000, features: classifier}
"""


def command(folder: Path, rate: float) -> list[str]:
    """Return the command that trains at a learning rate of its own."""
    edm_sweep = str(Path(sys.executable).parent / "edm-sweep")
    return [
        edm_sweep,
        "run",
        str(folder / "first.yaml"),
        "--store",
        str(folder / "store"),
        "--set",
        f"training.lr={rate}",
    ]


def journals(folder: Path) -> int:
    """Return how many trainings have taken a step."""
    return len(list(folder.glob("store/trainings/*/journal.jsonl")))


def until_first_step(folder: Path, rate: float) -> float:
    """Return the seconds from a command's start until its training has taken a step."""
    before, began = journals(folder), time.monotonic()
    run = subprocess.Popen(command(folder, rate), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while journals(folder) == before:
        if run.poll() is not None:
            sys.exit("the run ended before its training had begun")
        time.sleep(0.01)
    seconds = time.monotonic() - began
    run.send_signal(signal.SIGINT)
    run.wait()
    return seconds


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "first.yaml").write_text(SWEEP)
        subprocess.run(command(folder, 1e-3), check=True, capture_output=True)
        seconds = [until_first_step(folder, 2e-3 + 1e-4 * i) for i in range(TIMES)]
    each = ", ".join(f"{value:.1f}" for value in seconds)
    print(f"first step after {statistics.median(seconds):.1f} s ({each}); {WANTED_S:.0f} s wanted")


if __name__ == "__main__":
    main()
