"""Nothing gets slower unseen: compares a few small cases with benchmarks/baseline.json; part of .ci/run.

    uv run python benchmarks/check.py             # exit code 1 if a case is worse than it may be
    uv run python benchmarks/check.py --update    # after a change that is meant: writes the baseline anew

Most cases are counts, which come out alike on every machine: calls of Python functions, and operations and bytes of
tensors. The others are ratios to the plain loop (benchmarks/plain.py) and to scipy, measured in turns in one run. Their
worth depends on the processor, so that they may fall to half of the baseline; counts may rise by a twentieth.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BASELINE = Path(__file__).parent / "baseline.json"
COUNTS_MAY_RISE, RATIOS_MAY_FALL = 1.05, 0.5
TURNS = 5

# counts every call of a function that a command makes, also while it imports
COUNT_CALLS = """\
import sys
calls = 0
def count(frame, event, argument):
    global calls
    calls += event == "call"
sys.setprofile(count)
from experiments.cli.main import app
try:
    app(sys.argv[1:])
except BaseException:
    pass
sys.setprofile(None)
print(calls, file=sys.stderr)
"""
CELLS = """\
name: many
data:       {name: digits}
training:   {kimg: 50, batch_size: 64, label_dropout: 0.1}
evaluation: {images: 1000, features: classifier}
grid:
  training.lr: [1.0e-3, 2.0e-3, 3.0e-3, 4.0e-3, 5.0e-3]
  sampling.guidance: [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5]
  sampling.steps: [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
seeds: [0, 1]
"""


@dataclass(frozen=True)
class Case:
    """Something measured: a count, of which less is better, or a ratio to a slower way, of which more is."""

    name: str
    value: float
    is_ratio: bool = False

    def is_worse(self, than: float) -> bool:
        """Return whether it is worse than the baseline by more than it may be."""
        return self.value < RATIOS_MAY_FALL * than if self.is_ratio else self.value > COUNTS_MAY_RISE * than


# commands -----------------------------------------------------------------------------------------


def commands() -> Iterator[Case]:
    """Count the calls that commands make, which people wait for."""
    with tempfile.TemporaryDirectory() as folder:
        wrong, many = Path(folder) / "wrong.yaml", Path(folder) / "many.yaml"
        wrong.write_text("model: {preset: tny}\n")
        many.write_text(CELLS)
        for name, arguments in {
            "--help": ["--help"],
            "plan of a wrong file": ["plan", str(wrong)],
            "plan of digits.yaml": ["plan", str(ROOT / "sweeps" / "digits.yaml"), "--store", folder],
            "plan of 1,000 cells": ["plan", str(many), "--store", folder, "--json"],
        }.items():
            yield Case(f"{name}: calls", calls(arguments, folder))


def calls(arguments: list[str], folder: str) -> int:
    """Return how many calls of Python functions a command makes; a first run leaves its bytecode behind."""
    command = [sys.executable, "-c", COUNT_CALLS, *arguments]
    done = [subprocess.run(command, capture_output=True, text=True, cwd=folder) for _ in range(2)]
    return int(done[-1].stderr.split()[-1])


# tensors ------------------------------------------------------------------------------------------


def tensors() -> Iterator[Case]:
    """Count what a training step and drawing do with tensors, and time both in turns with the plain loop."""
    import torch

    from benchmarks.gpu.cases import SIGMA_DATA, model_of, network, new_state, training_set
    from benchmarks.plain import PlainDenoiser, PlainImages, plain_sampling, plain_training
    from edm.config import SamplingConfig, TrainingConfig
    from edm.generate import generate
    from edm.networks.initialise import initialise
    from edm.train import train

    torch.set_num_threads(1)
    cpu, shape, config = torch.device("cpu"), network("mini", 16, tiny=False), TrainingConfig(kimg=1e6, batch_size=16)
    data, plain = training_set(256, shape, cpu), PlainDenoiser(shape, SIGMA_DATA)
    initialise(plain, torch.Generator().manual_seed(0))
    ours = train(new_state(shape, config, cpu), data)
    theirs = plain_training(plain, PlainImages(data.images, data.labels), config.batch_size, cpu)
    yield from _beside("training step", lambda: next(ours), lambda: next(theirs))

    model, sampling = model_of(shape, cpu), SamplingConfig(sampler="euler", steps=2, guidance=2.0)
    tens = plain_sampling(plain, sampling.steps, sampling.guidance, cpu)
    draw = lambda: list(generate(model, sampling, 0, 30, batch_size=30))  # noqa: E731
    yield from _beside("drawing 30 images", draw, lambda: list(itertools.islice(tens, 3)))


def _beside(name: str, ours: Callable[[], Any], plain: Callable[[], Any]) -> Iterator[Case]:
    from benchmarks.tensor_work import TensorWork

    ours()  # the first call makes what later ones keep
    work = TensorWork()
    with work:
        ours()
    yield Case(f"{name}: tensor operations", work.operations)
    yield Case(f"{name}: bytes that they read and write", work.bytes)
    yield Case(f"{name}: times as fast as the plain loop", in_turns(plain, ours), is_ratio=True)


def distances() -> Iterator[Case]:
    """Time a Frechet distance in turns with scipy's matrix square root."""
    import torch
    from threadpoolctl import threadpool_limits

    from benchmarks.plain import plain_distance
    from edm.metrics.fid import Statistics, frechet_distance

    spectrum = torch.arange(1, 385) ** -0.6
    drawn = [torch.randn(2000, 384, generator=torch.Generator().manual_seed(seed)) * spectrum for seed in (0, 1)]
    a, b = map(Statistics.of, drawn)
    moments = [(each.mean.numpy(), each.covariance.numpy()) for each in (a, b)]
    with threadpool_limits(1):  # scipy's threads, whose waiting would count as work
        ratio = in_turns(lambda: plain_distance(*moments), lambda: frechet_distance(a, b))
    yield Case("a distance in 384 dimensions: times as fast as scipy's square root", ratio, is_ratio=True)


def in_turns(slow: Callable[[], Any], fast: Callable[[], Any]) -> float:
    """Return how many times longer one call takes than another: the least of TURNS each, to which others only add."""
    slow(), fast()
    turns = [(seconds_of(slow), seconds_of(fast)) for _ in range(TURNS)]
    return min(longer for longer, _ in turns) / min(shorter for _, shorter in turns)


def seconds_of(call: Callable[[], Any]) -> float:
    """Return the processor time of a call, which other work on the machine hardly changes."""
    began = time.process_time()
    call()
    return time.process_time() - began


# all ----------------------------------------------------------------------------------------------


def show(case: Case, baseline: float | None) -> bool:
    """Print a case beside its baseline; return whether it is worse than it may be."""
    worse = baseline is not None and case.is_worse(baseline)
    value, before = (f"{number:,.2f}" if case.is_ratio else f"{number:,.0f}" for number in (case.value, baseline or 0))
    beside = "new" if baseline is None else f"baseline {before}"
    print(f"{case.name:70s} {value:>16s}   {beside}{'   WORSE' if worse else ''}", flush=True)
    return worse


def main() -> None:
    """Measure every case; compare it with the baseline, or write that."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true", help="write the baseline anew")
    update, baseline = parser.parse_args().update, json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    cases = list(itertools.chain(commands(), tensors(), distances()))
    worse = [case.name for case in cases if show(case, baseline.get(case.name))]
    if update:
        content = {case.name: round(case.value, 2) if case.is_ratio else case.value for case in cases}
        BASELINE.write_text(json.dumps(content, indent=2) + "\n")
    elif worse or baseline.keys() != {case.name for case in cases}:
        sys.exit("worse than it may be, or not the cases of baseline.json; if that is meant, run with --update")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
