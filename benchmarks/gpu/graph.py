"""A step's gradient as one CUDA graph: the same numbers as without, also with dropout, and no step that waits."""

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

from torch import Tensor

from benchmarks.gpu.cases import deterministic, network, new_state, training_set
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.steps import EVERYTHING, no_waiting
from edm.batches import TrainingSet
from edm.config import NetworkConfig, Precision, TrainingConfig
from edm.step_graph import WARM_UP
from edm.train import Computing, TrainState, train

STEPS = 12
COMPILE_S = 45.0  # what compiling a small network may take


@dataclass(frozen=True)
class Case:
    """How to train, with and without a graph."""

    precision: Precision
    parts: int = 1  # micro-batches of a step
    dropout: float = 0.0
    compiled: bool = False

    @property
    def name(self) -> str:
        """The beginning of the names of its rows."""
        masks = f", dropout {self.dropout:g}" if self.dropout else ""
        parts = f"{self.precision}, {self.parts} micro-batches{masks}"
        return f"training as a CUDA graph, {parts}{', compiled' if self.compiled else ''}"


CASES = (
    Case("fp32"),
    Case("bf16"),
    Case("bf16", 2),
    Case("fp32", dropout=0.1),
    Case("bf16", dropout=0.1),
)
COMPILED = Case("bf16", dropout=0.1, compiled=True)


def run(setting: Setting, report: Report) -> None:
    """Train with every option, with and without a graph, whole batches and micro-batches."""
    shape = network("mini", 32, setting.tiny)
    config = config_of(setting)
    data = training_set(24 if setting.tiny else 200, shape, setting.torch_device)
    for case in CASES:
        compare(setting, report, case, shape, config, data)
    if report.has_time(COMPILED.name, setting.compiling_s(COMPILED.name, COMPILE_S)):
        compare(setting, report, COMPILED, compiled_shape(setting), config, data)


def compiled_shape(setting: Setting) -> NetworkConfig:
    """Return the network that is compiled: a small one, which takes less time."""
    return network("nano", 32, setting.tiny)


def programs(setting: Setting) -> dict[str, Callable[[], object]]:
    """Return what compiles that network, by name."""
    config = config_of(setting)
    shape = replace(compiled_shape(setting), dropout=COMPILED.dropout)

    def first_steps() -> None:
        data = training_set(config.batch_size, shape, setting.torch_device)
        for mode in (deterministic(), nullcontext()):  # each has a program of its own
            with mode:
                next(train(new_state(shape, config, data.device, computing(setting, COMPILED, config)), data))

    return {COMPILED.name: first_steps}


def config_of(setting: Setting) -> TrainingConfig:
    """Return what is trained: with every option."""
    return replace(EVERYTHING, batch_size=8 if setting.tiny else 64)


def computing(setting: Setting, case: Case, config: TrainingConfig) -> Computing:
    """Return how, without a graph."""
    size = config.batch_size // case.parts
    return Computing(case.precision, case.compiled, micro_batch=size, kernels=setting.is_gpu)


def compare(
    setting: Setting, report: Report, case: Case, shape: NetworkConfig, config: TrainingConfig, data: TrainingSet
) -> None:
    """Compare the state after some steps with that of a training without a graph, in deterministic mode."""
    what, plain = case.name, computing(setting, case, config)
    graphed = replace(plain, graphed=setting.is_gpu)
    shape = replace(shape, dropout=case.dropout)
    with report.attempt(what):
        with deterministic():
            expected, found = (trained(shape, config, data, computing) for computing in (plain, graphed))
        away = max(float((expected[name].double() - found[name].double()).abs().max()) for name in expected)
        report.check(f"{what}: largest difference from one without", away, 0)
        find_waiting(report, what, new_state(shape, config, data.device, graphed), data)


def find_waiting(report: Report, what: str, state: TrainState, data: TrainingSet) -> None:
    """Take steps that may not make the host wait, once the graph is captured, which waits."""
    wanted, steps = state.computing.graphed, train(state, data)
    list(itertools.islice(steps, WARM_UP + 2))
    with no_waiting(data.device):
        list(itertools.islice(steps, 4))
    report.check(f"{what}: steps that wait", 0, 0)  # else an error would have come
    report.check(f"{what}: steps that are not a graph after all", float(wanted and not state.computing.graphed), 0)


def trained(shape: NetworkConfig, config: TrainingConfig, data: TrainingSet, computing: Computing) -> dict[str, Tensor]:
    """Return weights, averages, moments and statistics after some steps."""
    state = new_state(shape, config, data.device, computing)
    list(itertools.islice(train(state, data), STEPS))
    return {name: value.detach().cpu() for name, value in state.tensors().items()}
