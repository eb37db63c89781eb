"""Compares loss curves in bf16, in fp16 and compiled with those in fp32: within the noise of seeds."""

import itertools
import statistics
from collections.abc import Callable
from functools import partial

from benchmarks.gpu.cases import mean_of, network, new_state, training_set
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from edm.batches import TrainingSet
from edm.config import NetworkConfig, Precision, TrainingConfig
from edm.train import Computing, train

SEEDS = (0, 1, 2, 3)
PAIRED_SEEDS = 2  # with which the other ways are trained, beside the same seeds in fp32
COMPILE_S = 30.0


def run(setting: Setting, report: Report) -> None:
    """Train in fp32 with several seeds, then in every other way with some of them."""
    shape, config = case(setting)
    data = training_set(64 if setting.tiny else 2000, shape, setting.torch_device)
    steps = 6 if setting.tiny else 300
    seeds = SEEDS[:2] if setting.tiny else SEEDS

    def loss(precision: Precision, compiled: bool, seed: int) -> float:
        return final_loss(shape, config, data, computing(setting, precision, compiled), seed, steps)

    with report.attempt("loss curves in fp32"):
        exact = [loss("fp32", False, seed) for seed in seeds]
        noise = statistics.stdev(exact)
        what = f"loss after {steps} steps in fp32, {len(seeds)} seeds"
        report.measure(what, statistics.mean(exact), "", spread=noise / statistics.mean(exact))
        ways: tuple[tuple[Precision, bool], ...] = (("bf16", False), ("fp16", False), ("fp32", True), ("bf16", True))
        for precision, compiled in ways:
            name = f"loss in {precision}{', compiled' if compiled else ''}"
            if compiled and not report.has_time(name, setting.compiling_s(name, COMPILE_S)):
                continue
            with report.attempt(name):
                found = [loss(precision, compiled, seed) for seed in seeds[:PAIRED_SEEDS]]
                away = abs(statistics.mean(a - b for a, b in zip(found, exact, strict=False)))
                what = f"{name}: difference from fp32 over the deviation between seeds"
                report.check(what, away / noise, 1, note=f"{statistics.mean(found):.4f}")


def case(setting: Setting) -> tuple[NetworkConfig, TrainingConfig]:
    """Return what is trained."""
    config = TrainingConfig(kimg=1000, batch_size=8 if setting.tiny else 64, lr=1e-3, label_dropout=0.1)
    return network("micro", 16, setting.tiny), config


def computing(setting: Setting, precision: Precision, compiled: bool) -> Computing:
    """Return how: as a graph where possible, which changes no number and saves most of the time."""
    graphed = setting.is_gpu and precision != "fp16"
    return Computing(precision, compiled, graphed=graphed, kernels=setting.is_gpu)


def programs(setting: Setting) -> dict[str, Callable[[], object]]:
    """Return what compiles the network in each precision, by name."""
    shape, config = case(setting)

    def first_loss(precision: Precision) -> float:
        data = training_set(config.batch_size, shape, setting.torch_device)
        return final_loss(shape, config, data, computing(setting, precision, compiled=True), seed=0, steps=1)

    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    return {f"loss in {precision}, compiled": partial(first_loss, precision) for precision in precisions}


def final_loss(
    shape: NetworkConfig, config: TrainingConfig, data: TrainingSet, computing: Computing, seed: int, steps: int
) -> float:
    """Return the mean loss over the last half of some steps; every way sees the same images, noise and sigmas."""
    state = new_state(shape, config, data.device, computing, seed)
    return mean_of(list(itertools.islice(train(state, data), steps)), steps // 2)
