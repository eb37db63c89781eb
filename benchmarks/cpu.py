"""How fast a CPU trains and samples: beside the plain loop, and beside the floor of its own kernels.

    uv run python benchmarks/cpu.py [--threads 1] [--preset mini] [--resolution 32]

The floor is the time that the network's convolutions take at the rate of one 3x3 convolution of its first level, and
its attention at the rate of torch's fused kernel there. Both ways and both rates are measured in turns, so that a
machine that slows down slows all of them. edm runs in a process with the settings of a run's workers, and the plain
loop in one without them.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.cases import SIGMA_DATA, model_of, network, new_state, training_set
from benchmarks.plain import SAMPLED_AT_ONCE, PlainDenoiser, PlainImages, plain_sampling, plain_training
from edm.config import NetworkConfig, PresetName, SamplingConfig, TrainingConfig
from edm.generate import generate
from edm.networks.initialise import initialise
from edm.train import train
from experiments.runner.ray_environment import KEPT_MEMORY

CPU = torch.device("cpu")
TURNS = 5
TRAINED, SAMPLED = 32, 50  # images at once
SAMPLING = SamplingConfig(sampler="euler", steps=2, guidance=2.0)
WITH_GUIDANCE = 2  # images that the network is given for each that is drawn
CASES = ("training", "sampling")

Calls = dict[str, Callable[[], Any]]
Seconds = dict[str, float]


# what is timed ------------------------------------------------------------------------------------


def edm_calls(case: str, shape: NetworkConfig) -> Calls:
    """Return edm's way and the two kernels, by name."""
    if case == "training":
        return {"edm": _training(shape), **_kernels(shape, TRAINED, gradients=True)}
    return {"edm": _sampling(shape), **_kernels(shape, WITH_GUIDANCE * SAMPLED, gradients=False)}


def _training(shape: NetworkConfig) -> Callable[[], Any]:
    steps = train(new_state(shape, TrainingConfig(kimg=1e6, batch_size=TRAINED), CPU), training_set(1024, shape, CPU))
    return lambda: next(steps)


def _sampling(shape: NetworkConfig) -> Callable[[], Any]:
    model = model_of(shape, CPU)
    return lambda: list(generate(model, SAMPLING, 0, SAMPLED, batch_size=SAMPLED))


def _kernels(shape: NetworkConfig, images: int, gradients: bool) -> Calls:
    """Return one convolution and one attention of the first level, with their gradients where training needs them."""
    side, width, heads = shape.resolution, shape.level_channels[0], max(shape.heads[0], 1)
    x, weight = (torch.randn(n, width, k, k) for n, k in ((images, side), (width, 3)))
    x, weight = (each.to(memory_format=torch.channels_last).requires_grad_(gradients) for each in (x, weight))
    qkv = torch.randn(images, side * side, 3, heads, width // heads).requires_grad_(gradients)

    def attention() -> Tensor:
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        return F.scaled_dot_product_attention(q, k, v)

    def computed(kernel: Callable[[], Tensor]) -> None:
        with torch.set_grad_enabled(gradients):
            output = kernel()
            if gradients:
                torch.autograd.backward(output, output.detach())

    convolution = lambda: F.conv2d(x, weight, padding=1)  # noqa: E731
    return {"convolution": lambda: computed(convolution), "attention": lambda: computed(attention)}


def plain_calls(case: str, shape: NetworkConfig) -> Calls:
    """Return the plain loop."""
    model = PlainDenoiser(shape, SIGMA_DATA)
    initialise(model, torch.Generator().manual_seed(0))
    if case == "training":
        data = training_set(1024, shape, CPU)
        steps = plain_training(model, PlainImages(data.images, data.labels), TRAINED, CPU)
    else:
        steps = plain_sampling(model, SAMPLING.steps, SAMPLING.guidance, CPU)
    return {"plain": lambda: next(steps)}


# where it runs ------------------------------------------------------------------------------------


def serve(asked: Connection, calls_of: Callable[..., Calls], case: str, shape: NetworkConfig, threads: int) -> None:
    """Count the operations of every call, which warms it up, and send them; then time all of them whenever asked."""
    torch.set_num_threads(threads)
    calls = calls_of(case, shape)
    asked.send({name: operations(call) for name, call in calls.items()})
    while asked.recv():
        asked.send({name: seconds_of(call) for name, call in calls.items()})


def operations(call: Callable[[], Any]) -> dict[str, int]:
    """Return the floating-point operations of a call: of attention, and of all else, which is convolutions."""
    counter = FlopCounterMode(display=False)
    with counter:
        call()
    counts = counter.get_flop_counts()["Global"]
    attention = sum(number for operation, number in counts.items() if "attention" in str(operation))
    return {"attention": attention, "convolution": sum(counts.values()) - attention}


def seconds_of(call: Callable[[], Any]) -> float:
    """Return the wall-clock time of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@contextmanager
def process(calls_of: Callable[..., Calls], settings: dict[str, str], *arguments: Any) -> Iterator[Connection]:
    """Start a process that times calls, with settings in its environment."""
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    before = dict(os.environ)
    os.environ.update(settings)
    worker = spawning.Process(target=serve, args=(there, calls_of, *arguments), daemon=True)
    worker.start()
    os.environ.clear()
    os.environ.update(before)
    try:
        yield here
    finally:
        here.send(False)
        worker.join()


# all ----------------------------------------------------------------------------------------------


def compare(case: str, shape: NetworkConfig, threads: int) -> None:
    """Time a case in turns; print images per second, and the ratios with their spread."""
    images, plain_images = (TRAINED, TRAINED) if case == "training" else (SAMPLED, SAMPLED_AT_ONCE)
    with (
        process(edm_calls, KEPT_MEMORY, case, shape, threads) as ours,
        process(plain_calls, {}, case, shape, threads) as theirs,
    ):
        work, _ = cast(dict[str, dict[str, int]], ours.recv()), theirs.recv()
        turns: list[tuple[float, float, float]] = []
        for _ in range(TURNS):
            seconds = asked(ours)
            floor = sum(work["edm"][kind] * seconds[kind] / work[kind][kind] for kind in work["edm"])
            turns.append((seconds["edm"] / images, asked(theirs)["plain"] / plain_images, floor / images))
    rates = [1 / statistics.median(column) for column in zip(*turns, strict=True)]
    print(f"{case}: edm {rates[0]:.2f} images/s, the plain loop {rates[1]:.2f}, the floor {rates[2]:.2f}")
    print(f"    {spread([plain / edm for edm, plain, _ in turns])} times as fast as the plain loop")
    print(f"    {spread([floor / edm for edm, _, floor in turns])} of the floor", flush=True)


def asked(connection: Connection) -> Seconds:
    """Let a process time its calls."""
    connection.send(True)
    return connection.recv()


def spread(ratios: list[float]) -> str:
    """Return the median, least and largest of ratios."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    """Compare training and sampling."""
    parser = argparse.ArgumentParser(description="How fast a CPU trains and samples.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--preset", default="mini", help="of the network: mini has 5.0 M parameters at 32x32")
    parser.add_argument("--resolution", type=int, default=32)
    options = parser.parse_args()
    shape = network(cast(PresetName, options.preset), options.resolution, tiny=False)
    print(f"{options.preset} at {options.resolution}x{options.resolution}, {options.threads} threads")
    print(
        f"training with batch {TRAINED}; sampling {SAMPLED} images by Euler's method with guidance, plainly 10",
        flush=True,
    )
    for case in CASES:
        compare(case, shape, options.threads)


if __name__ == "__main__":
    main()
