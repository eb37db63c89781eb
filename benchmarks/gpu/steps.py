"""Steps: none waits for the device, a resumed training equals an undisturbed one, batch-norm statistics are right."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from benchmarks.gpu.cases import deterministic, network, new_state, pictures, relative, training_set
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from edm.batches import TrainingSet
from edm.config import NetworkConfig, Precision, Sampler, SamplingConfig, TrainingConfig
from edm.files import load_tensors, save_tensors
from edm.generate import draw, labels_of
from edm.networks.device import full_precision
from edm.train import Computing, TrainState, averaged_model, train

EVERYTHING = TrainingConfig(
    kimg=1000,
    batch_size=64,
    ema_halflife_kimg=1,
    label_dropout=0.2,
    stratified=True,
    augment=0.5,
    flip=True,
    clip_norm=1.0,
    warmup_kimg=1,
    power_ema=(0.05, 0.1),
)


def run(setting: Setting, report: Report) -> None:
    """Look for waiting steps, resume, recompute statistics."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # before the first product: what makes them deterministic
    device = setting.torch_device
    shape = network("mini", 32, setting.tiny)
    config = replace(EVERYTHING, batch_size=8) if setting.tiny else EVERYTHING
    data = training_set(24 if setting.tiny else 200, shape, device)
    with report.attempt("training steps that wait"):
        find_waiting_training(report, shape, config, data)
    with report.attempt("sampling steps that wait"):
        find_waiting_sampling(report, shape, config, data)
    with report.attempt("resumed training"):
        compare_resumed(setting, report, shape, config, data)
    with report.attempt("batch-norm statistics"):
        compare_statistics(report, shape, config, data)


# waiting ------------------------------------------------------------------------------------------


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Raise from everything inside the block that makes the host wait for a GPU."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def find_waiting_training(report: Report, shape: NetworkConfig, config: TrainingConfig, data: TrainingSet) -> None:
    """Take steps with every option of a training, in every precision, resident and from host memory."""
    in_host_memory = TrainingSet(data.images.cpu(), data.labels.cpu(), torch.arange(len(data)), data.device)
    for precision, dropout, source in (
        ("bf16", 0.0, data),
        ("bf16", 0.1, data),
        ("fp16", 0.0, data),
        ("fp32", 0.0, in_host_memory),
    ):
        place = "resident" if source is data else "from host memory"
        what = f"steps that wait, {precision}, dropout {dropout:g}, data {place}"
        with report.attempt(what):
            computing = Computing(
                precision, compiled=False, micro_batch=config.batch_size // 2, kernels=data.device.type == "cuda"
            )
            steps = train(new_state(replace(shape, dropout=dropout), config, data.device, computing), source)
            list(itertools.islice(steps, 2))  # the first steps choose kernels and make the optimizer's state
            with no_waiting(data.device):
                list(itertools.islice(steps, 4))  # over the end of an epoch
            report.check(what, 0, 0)  # else an error would have come


def find_waiting_sampling(report: Report, shape: NetworkConfig, config: TrainingConfig, data: TrainingSet) -> None:
    """Draw with every sampler, guided within an interval."""
    device = data.device
    model = averaged_model(new_state(shape, config, device), data, num_batches=1)
    index = torch.arange(8, device=device)
    labels = labels_of(index, shape.num_classes)
    for sampler in get_args(Sampler):
        sampling = SamplingConfig(sampler=sampler, steps=5, guidance=2, guidance_interval=(0.1, 20), precision="bf16")
        with report.attempt(f"steps of {sampler} that wait"):
            draw(model, sampling, index, labels)
            with no_waiting(device):
                draw(model, sampling, index, labels)
            report.check(f"steps of {sampler} that wait", 0, 0)


# resuming -----------------------------------------------------------------------------------------


def compare_resumed(
    setting: Setting, report: Report, shape: NetworkConfig, config: TrainingConfig, data: TrainingSet
) -> None:
    """Resume from a file and compare with an undisturbed training, in deterministic mode and as it comes."""
    precisions: tuple[Precision, ...] = ("fp32",) if setting.tiny else ("fp32", "bf16", "fp16")
    for precision in precisions:
        with report.attempt(f"resumed training, {precision}, deterministic"), deterministic():
            away = _away(*(_trained(setting, shape, config, data, precision, resume) for resume in (False, True)))
            report.check(f"resumed training, {precision}, deterministic: largest difference", away, 0)
        with report.attempt(f"resumed training, {precision}"):
            first, second, resumed = (
                _trained(setting, shape, config, data, precision, resume) for resume in (False, False, True)
            )
            spread = _away(first, second)
            what = f"resumed training, {precision}: difference over that of two undisturbed ones"
            # where two undisturbed trainings are equal to the bit, a resumed one has to be, too
            value = _away(first, resumed) / spread if spread else _away(first, resumed)
            report.check(what, value, 3 if spread else 0, note=f"two undisturbed ones differ by {spread:.1e}")


def _trained(
    setting: Setting,
    shape: NetworkConfig,
    config: TrainingConfig,
    data: TrainingSet,
    precision: Precision,
    resume: bool,
) -> dict[str, Tensor]:
    """Return the state after some steps, stopped and resumed from a file on the way if asked for."""
    steps = 2 if setting.tiny else 12
    state = new_state(shape, config, data.device, Computing(precision, compiled=False, kernels=setting.is_gpu))
    if resume:
        list(itertools.islice(train(state, data), steps // 2))
        path = setting.scratch / "checkpoint.safetensors"
        save_tensors(state.tensors(), path)
        state = new_state(
            shape, config, data.device, Computing(precision, compiled=False, kernels=setting.is_gpu), seed=0
        )
        state.load(load_tensors(path))
    list(itertools.islice(train(state, data), steps - state.step))
    return {name: value.detach().cpu() for name, value in state.tensors().items()}


def _away(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Return the largest difference of two states, over weights, averages, moments and statistics."""
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


# batch norm ---------------------------------------------------------------------------------------


def compare_statistics(report: Report, shape: NetworkConfig, config: TrainingConfig, data: TrainingSet) -> None:
    """Recompute the statistics of averaged weights on the device and on the CPU, and compare the loss with them."""
    state = new_state(shape, config, data.device)
    list(itertools.islice(train(state, data), 2))
    with full_precision():
        found = _statistics(state, data)
        on_cpu = new_state(shape, config, torch.device("cpu"))
        on_cpu.load({name: value.detach().cpu() for name, value in state.tensors().items()})
        images, labels = pictures(len(data), shape)
        expected = _statistics(on_cpu, TrainingSet(images, labels))
    worst = max(relative(found[name], expected[name]) for name in expected)
    report.check(f"batch-norm statistics of {len(expected)} buffers, largest relative difference", worst, 1e-3)


def _statistics(state: TrainState, data: TrainingSet) -> dict[str, Tensor]:
    model = averaged_model(state, data, num_batches=2)
    return {name: value for name, value in model.named_buffers() if "running" in name}
