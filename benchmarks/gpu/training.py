"""Times training of the 5.0 M network at 32x32 beside the plain loop: steps, first step, busy share, memory."""

import time
from dataclasses import replace

import torch

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


def run(setting: Setting, report: Report) -> None:
    """Time every batch size: the plain loop, edm as it is, edm compiled."""
    shape = network("mini", 32, setting.tiny)
    limits = ceilings(setting.torch_device, setting.tiny)
    for batch in (16,) if setting.tiny else BATCHES:
        config = TrainingConfig(kimg=LONG_KIMG, batch_size=batch)
        compare(setting, report, "5.0 M, 32x32", shape, config, limits)


def compare(
    setting: Setting,
    report: Report,
    name: str,
    shape: NetworkConfig,
    config: TrainingConfig,
    limits: Ceilings,
    compiles: bool = True,
) -> None:
    """Time one training by the plain loop and by edm, eager and compiled, in this process."""
    device, what = setting.torch_device, f"training {name}, batch {config.batch_size}"
    budget_s = 0.2 if setting.tiny else min(5.0, report.time_left / 10)
    data = training_set(num_images(setting, shape, config), shape, device)
    plain = None
    with report.attempt(f"{what}, the plain loop"):
        plain = time_plain(setting, shape, config, budget_s)
        rate = config.batch_size / plain.median
        report.measure(f"{what}, the plain loop", rate, "images/s", spread=plain.spread)
    for compiled in (False, True) if compiles else (False,):
        way = f"{what}, {'compiled' if compiled else 'not compiled'}"
        if compiled and not report.has_time(way, 0 if setting.tiny else COMPILE_S):
            continue
        with report.attempt(way):
            torch.compiler.reset()  # or the compiler would make one program for all batch sizes
            computing = Computing.choose(config, device, compiled)
            time_training(report, way, new_state(shape, config, device, computing), data, limits, budget_s, plain)


def num_images(setting: Setting, shape: NetworkConfig, config: TrainingConfig) -> int:
    """Return how many images to train on: few enough to be made in seconds, and a batch at least."""
    most = 64 if setting.tiny else PIXELS // (shape.image_channels * shape.resolution**2)
    return max(config.batch_size, most)


def time_plain(setting: Setting, shape: NetworkConfig, config: TrainingConfig, budget_s: float) -> Timing:
    """Time the plain loop's steps."""
    device = setting.torch_device
    images = PlainImages(*pictures(num_images(setting, shape, config), shape))
    model = PlainDenoiser(replace(shape, augment_labels=0), SIGMA_DATA).to(device)
    workers = 0 if setting.tiny else PLAIN_WORKERS
    steps = plain_training(model, images, config.batch_size, device, workers)
    return timed(steps_of(steps), device, budget_s)


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
