"""Times training of the 5.0 M network at 32x32 beside the plain loop: steps, first step, busy share, memory."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from benchmarks.gpu.cases import LONG_KIMG, SIGMA_DATA, network, new_state, pictures, training_set
from benchmarks.gpu.measure import (
    Ceilings,
    Timing,
    add_busy_share,
    ceilings,
    finish,
    forget_peak,
    peak_gib,
    steps_of,
    timed,
    training_floor_s,
)
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from benchmarks.plain import PlainDenoiser, PlainImages, plain_training
from edm.batches import Batches, TrainingSet
from edm.config import NetworkConfig, TrainingConfig
from edm.train import Computing, TrainState, train

PIXELS = 2**25  # of the images to train on: at 128x128 in color some 700, which take seconds to make
BATCHES = (128, 32, 512)  # the most telling first
PLAIN_WORKERS = 4  # processes that read images for the plain loop's DataLoader
COMPILE_S = 60.0  # what compiling may take


@dataclass(frozen=True)
class Case:
    """A training to time: what it is called, its network, its configuration, and how many images there are."""

    about: str
    shape: NetworkConfig
    config: TrainingConfig
    num_images: int

    @classmethod
    def of(cls, setting: Setting, about: str, shape: NetworkConfig, config: TrainingConfig) -> "Case":
        """Return a case with as many images as are made in seconds, and a batch at least."""
        most = 64 if setting.tiny else PIXELS // (shape.image_channels * shape.resolution**2)
        return cls(about, shape, config, max(config.batch_size, most))

    @property
    def name(self) -> str:
        """The beginning of the names of its rows."""
        return f"training {self.about}, batch {self.config.batch_size}"

    @property
    def compiled_name(self) -> str:
        """The name of its row, compiled, and of its program."""
        return f"{self.name}, compiled"

    @cached_property
    def examples(self) -> tuple[Tensor, Tensor]:
        """Its images and labels, on the CPU."""
        return pictures(self.num_images, self.shape)


def run(setting: Setting, report: Report) -> None:
    """Time every batch size by the plain loop and by edm, then again compiled, which takes long before it begins."""
    compare_all(setting, report, cases(setting))


def cases(setting: Setting) -> list[Case]:
    """Return the trainings that are timed."""
    shape = network("mini", 32, setting.tiny)
    configs = [TrainingConfig(kimg=LONG_KIMG, batch_size=batch) for batch in ((16,) if setting.tiny else BATCHES)]
    return [Case.of(setting, "5.0 M, 32x32", shape, config) for config in configs]


def programs(setting: Setting) -> dict[str, Callable[[], object]]:
    """Return what compiles the network of each, by name."""
    return programs_of(setting, cases(setting))


def programs_of(setting: Setting, chosen: Sequence[Case]) -> dict[str, Callable[[], object]]:
    """Return a call for each training that takes its first step, compiled."""
    return {case.compiled_name: partial(first_step, setting, case) for case in chosen}


def first_step(setting: Setting, case: Case) -> Tensor:
    """Take the first step of a training that is compiled, which compiles its network."""
    device = setting.torch_device
    data = training_set(case.config.batch_size, case.shape, device)
    return next(train(state_of(case, device, compiled=True), data))


def state_of(case: Case, device: torch.device, compiled: bool) -> TrainState:
    """Return a training at its first step."""
    return new_state(case.shape, case.config, device, Computing.choose(case.config, device, compiled))


def compare_all(setting: Setting, report: Report, chosen: Sequence[Case]) -> None:
    """Time each training by the plain loop and by edm, then all of them again compiled."""
    limits = ceilings(setting.torch_device, setting.tiny)
    plain = [compare(setting, report, case, limits) for case in chosen]
    for case, timing in zip(chosen, plain, strict=True):
        if report.has_time(case.compiled_name, setting.compiling_s(case.compiled_name, COMPILE_S)):
            time_edm(setting, report, case, limits, timing, compiled=True)


def compare(setting: Setting, report: Report, case: Case, limits: Ceilings) -> Timing | None:
    """Time a training by the plain loop and by edm, not compiled; return the plain loop's steps."""
    plain, what = None, f"{case.name}, the plain loop"
    with report.attempt(what):
        plain = time_plain(setting, case, budget(setting, report))
        report.measure(what, case.config.batch_size / plain.median, "images/s", spread=plain.spread)
    time_edm(setting, report, case, limits, plain, compiled=False)
    return plain


def budget(setting: Setting, report: Report) -> float:
    """Return for how many seconds to time steps."""
    return 0.2 if setting.tiny else min(2.5, report.time_left / 12)


def time_plain(setting: Setting, case: Case, budget_s: float) -> Timing:
    """Time the plain loop's steps."""
    device, images = setting.torch_device, PlainImages(*case.examples)
    model = PlainDenoiser(replace(case.shape, augment_labels=0), SIGMA_DATA).to(device)
    workers = 0 if setting.tiny else PLAIN_WORKERS
    return timed(steps_of(plain_training(model, images, case.config.batch_size, device, workers)), device, budget_s)


def time_edm(
    setting: Setting, report: Report, case: Case, limits: Ceilings, plain: Timing | None, compiled: bool
) -> None:
    """Time edm's training, with its images on the device."""
    device, what = setting.torch_device, case.compiled_name if compiled else f"{case.name}, not compiled"
    with report.attempt(what):
        images, labels = (tensor.to(device) for tensor in case.examples)
        data, state = TrainingSet(images, labels, None, device), state_of(case, device, compiled)
        time_training(report, what, state, data, limits, budget(setting, report), plain)


def time_training(
    report: Report,
    what: str,
    state: TrainState,
    data: TrainingSet,
    limits: Ceilings,
    budget_s: float,
    plain: Timing | None,
) -> None:
    """Time a training of edm: seconds until the first step, steps, busy share, peak memory, the making of batches."""
    device, batch = state.device, state.config.batch_size
    forget_peak(device)
    began = time.perf_counter()
    steps = steps_of(train(state, data))
    steps()
    finish(device)
    report.measure(f"{what}: until the first step is done", time.perf_counter() - began, "s")
    timing = timed(steps, device, budget_s)
    floor_s = training_floor_s(state.denoiser.config, batch, limits)
    report.measure(
        what,
        batch / timing.median,
        "images/s",
        spread=timing.spread,
        plain=None if plain is None else batch / plain.median,
        ceiling=batch / floor_s,
        note=f"{state.computing}; step of {1000 * timing.median:.2f} ms",
    )
    report.measure(f"{what}: peak memory", peak_gib(device), "GiB")
    add_busy_share(report, what, steps, device, repeats=5)
    if not state.computing.compiled:
        batches = Batches(data, state.config, state.seed, state.denoiser.null_label)
        made = timed(lambda: batches[state.step], device, budget_s / 5)
        report.measure(f"{what}: making a batch and its noise", made.median, "s", spread=made.spread)
