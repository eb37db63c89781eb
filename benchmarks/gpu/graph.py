"""A step's gradient as one CUDA graph: the same numbers as without, also resumed, and no step that waits."""

import itertools
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.gpu.cases import network, new_state, training_set
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.steps import EVERYTHING, no_waiting
from edm.batches import TrainingSet
from edm.config import NetworkConfig, Precision, TrainingConfig
from edm.train import Computing, train

STEPS = 12


def run(setting: Setting, report: Report) -> None:
    """Train with every option, with and without a graph, whole batches and micro-batches."""
    shape = network("mini", 32, setting.tiny)
    config = replace(EVERYTHING, batch_size=8 if setting.tiny else 64)
    data = training_set(24 if setting.tiny else 200, shape, setting.torch_device)
    cases: list[tuple[Precision, int]] = [("fp32", 1), ("bf16", 1), ("bf16", 2)]
    for precision, parts in cases:
        what = f"training as a CUDA graph, {precision}, {parts} micro-batches"
        with report.attempt(what):
            compare(setting, report, what, shape, config, data, precision, parts)


def compare(
    setting: Setting,
    report: Report,
    what: str,
    shape: NetworkConfig,
    config: TrainingConfig,
    data: TrainingSet,
    precision: Precision,
    parts: int,
) -> None:
    """Compare the state after some steps with that of a training without a graph, in deterministic mode."""
    plain = Computing(precision, compiled=False, micro_batch=config.batch_size // parts, kernels=setting.is_gpu)
    graphed = replace(plain, graphed=setting.is_gpu)
    torch.use_deterministic_algorithms(True)
    expected, found = (trained(shape, config, data, computing) for computing in (plain, graphed))
    torch.use_deterministic_algorithms(False)
    away = max(float((expected[name].double() - found[name].double()).abs().max()) for name in expected)
    report.check(f"{what}: largest difference from one without", away, 0)
    steps = train(new_state(shape, config, data.device, graphed), data)
    list(itertools.islice(steps, 5))  # the graph is captured on the way, which waits
    with no_waiting(data.device):
        list(itertools.islice(steps, 4))
    report.check(f"{what}: steps that wait", 0, 0)  # else an error would have come


def trained(shape: NetworkConfig, config: TrainingConfig, data: TrainingSet, computing: Computing) -> dict[str, Tensor]:
    """Return weights, averages, moments and statistics after some steps."""
    state = new_state(shape, config, data.device, computing)
    list(itertools.islice(train(state, data), STEPS))
    return {name: value.detach().cpu() for name, value in state.tensors().items()}
