"""Compares loss curves in bf16, in fp16 and compiled with those in fp32: within the noise of seeds."""

import itertools
import statistics

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
    shape = network("micro", 16, setting.tiny)
    config = TrainingConfig(kimg=1000, batch_size=8 if setting.tiny else 64, lr=1e-3, label_dropout=0.1)
    data = training_set(64 if setting.tiny else 2000, shape, setting.torch_device)
    steps = 6 if setting.tiny else 300
    seeds = SEEDS[:2] if setting.tiny else SEEDS

    def loss(precision: Precision, compiled: bool, seed: int) -> float:
        graphed = setting.is_gpu and precision != "fp16"  # which changes no number and saves most of the time
        return final_loss(
            shape, config, data, Computing(precision, compiled, graphed=graphed, kernels=setting.is_gpu), seed, steps
        )

    with report.attempt("loss curves in fp32"):
        exact = [loss("fp32", False, seed) for seed in seeds]
        noise = statistics.stdev(exact)
        what = f"loss after {steps} steps in fp32, {len(seeds)} seeds"
        report.measure(what, statistics.mean(exact), "", spread=noise / statistics.mean(exact))
        ways: tuple[tuple[Precision, bool], ...] = (("bf16", False), ("fp16", False), ("fp32", True), ("bf16", True))
        for precision, compiled in ways:
            name = f"loss in {precision}{', compiled' if compiled else ''}"
            if compiled and not setting.tiny and not report.has_time(name, COMPILE_S):
                continue
            with report.attempt(name):
                found = [loss(precision, compiled, seed) for seed in seeds[:PAIRED_SEEDS]]
                away = abs(statistics.mean(a - b for a, b in zip(found, exact, strict=False)))
                what = f"{name}: difference from fp32 over the deviation between seeds"
                report.check(what, away / noise, 1, note=f"{statistics.mean(found):.4f}")


def final_loss(
    shape: NetworkConfig, config: TrainingConfig, data: TrainingSet, computing: Computing, seed: int, steps: int
) -> float:
    """Return the mean loss over the last half of some steps; every way sees the same images, noise and sigmas."""
    state = new_state(shape, config, data.device, computing, seed)
    return mean_of(list(itertools.islice(train(state, data), steps)), steps // 2)
