"""Runs out of memory for real, goes on with smaller micro-batches, and gets the same effective batch."""

import itertools
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.gpu.cases import network, new_state, relative, training_set
from benchmarks.gpu.measure import forget_peak, peak_gib
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from edm.batches import Batch, TrainingSet
from edm.config import NetworkConfig, TrainingConfig
from edm.networks.device import full_precision, is_out_of_memory
from edm.train import Computing, TrainState, train

GIB = 2**30
OVER = 1.5  # how many times the memory the batch would take that does not fit
LARGEST = 4096  # images, where the card has room for more


def run(setting: Setting, report: Report) -> None:
    """Meet the error, survive it, and compare accumulated gradients with whole ones."""
    with report.attempt("out of memory"):
        run_out(setting, report)
    with report.attempt("accumulated gradients"):
        compare_accumulated(setting, report)


def run_out(setting: Setting, report: Report) -> None:
    """Train with a batch that does not fit, and halve the micro-batch until it does, as edm-sweep's trials do."""
    device, shape = setting.torch_device, network("tiny", 128, setting.tiny, channels=3, classes=0)
    batch = 16 if setting.tiny else too_large(setting, shape)
    config = TrainingConfig(kimg=1000, batch_size=batch)
    data = training_set(2 * batch if setting.tiny else 512, shape, device)
    state = new_state(shape, config, device)
    if not setting.is_gpu:
        refuse_large_batches(state, most=batch // 4)
    before = copied(state)
    failures = 0
    while True:
        try:
            losses = list(itertools.islice(train(state, data), 2))
            break
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            failures += 1
            report.check(f"weights and statistics that changed by error {failures}", _changed(state, before), 0)
        micro_batch = (state.computing.micro_batch or batch) // 2
        state.computing = replace(state.computing, micro_batch=micro_batch)
        state.optimizer.zero_grad()
        forget_peak(device)
    report.check(f"batch of {batch:,}: no error of memory (1: there was none)", int(failures == 0), 0)
    note = f"after {failures} errors, {state.computing.micro_batch} images at once, peak {peak_gib(device):.1f} GiB"
    report.check("steps missing after the errors", 2 - state.step, 0, note=note)
    report.check("losses that are not finite", int((~torch.stack(losses).isfinite()).sum()), 0)


def copied(state: TrainState) -> dict[str, Tensor]:
    """Return weights and batch-norm statistics by name, copied to the CPU."""
    return {name: value.detach().cpu().clone() for name, value in state.denoiser.state_dict().items()}


def _changed(state: TrainState, before: dict[str, Tensor]) -> int:
    return sum(not torch.equal(value, before[name]) for name, value in copied(state).items())


def too_large(setting: Setting, shape: NetworkConfig) -> int:
    """Return a batch, a power of two, that takes more memory than the card has, by what a small one takes."""
    device, small = setting.torch_device, 16
    state = new_state(shape, TrainingConfig(kimg=1000, batch_size=small), device)
    data = training_set(64, shape, device)
    forget_peak(device)
    held = torch.cuda.memory_allocated(device)
    next(train(state, data))
    of_an_image = (torch.cuda.max_memory_allocated(device) - held) / small
    batch = small
    while batch * of_an_image < OVER * torch.cuda.mem_get_info(device)[1] and batch < LARGEST:
        batch *= 2
    return batch


def refuse_large_batches(state: TrainState, most: int) -> None:
    """Let a CPU run out of memory where more than `most` images go through the network at once."""

    def refuse(_module: torch.nn.Module, inputs: tuple[Batch, ...]) -> None:
        if len(inputs[0].images) > most:
            raise torch.OutOfMemoryError("this stands for a GPU's error")

    state.objective.register_forward_pre_hook(refuse)


def compare_accumulated(setting: Setting, report: Report) -> None:
    """Compare the weights after some steps of whole batches and of micro-batches, in float32, without batch norm."""
    shape = replace(network("mini", 32, setting.tiny), norm="group", resample="residual", init="edm")
    config = TrainingConfig(kimg=1000, batch_size=8 if setting.tiny else 64, lr=1e-3)
    data = training_set(64, shape, setting.torch_device)
    with full_precision():
        whole, parts = (_weights(shape, config, data, size) for size in (None, config.batch_size // 4))
    report.check("weights after 3 steps, in four parts instead of whole", relative(parts, whole), 1e-3)


def _weights(shape: NetworkConfig, config: TrainingConfig, data: TrainingSet, micro_batch: int | None) -> Tensor:
    computing = Computing("fp32", compiled=False, micro_batch=micro_batch, kernels=data.device.type == "cuda")
    state = new_state(shape, config, data.device, computing)
    list(itertools.islice(train(state, data), 3))
    return torch.cat([parameter.detach().flatten() for parameter in state.denoiser.parameters()])
