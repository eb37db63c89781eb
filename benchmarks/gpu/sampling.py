"""Times sampling of the 5.0 M network, with guidance and without, beside the plain loop."""

import time
from collections.abc import Callable

import torch

from benchmarks.gpu.cases import SIGMA_DATA, model_of, network
from benchmarks.gpu.measure import (
    Ceilings,
    Timing,
    add_busy_share,
    ceilings,
    finish,
    forget_peak,
    forward_floor_s,
    peak_gib,
    steps_of,
    timed,
)
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from benchmarks.plain import SAMPLED_AT_ONCE, PlainDenoiser, plain_sampling
from edm.config import NetworkConfig, Precision, SamplingConfig
from edm.generate import compiled_denoiser, draw, labels_of
from edm.precondition import Denoiser

BATCH = 250  # the default of edm-sweep
LARGE_BATCH = 2000
COMPILE_S = 30.0  # what compiling may take
COMPILED = "sampling, compiled"
ROW_S = 8.0  # what timing one way takes
PRECISIONS: tuple[Precision, ...] = ("bf16", "fp32", "fp16")


def run(setting: Setting, report: Report) -> None:
    """Time both with the same number of network evaluations: Euler's method."""
    shape = network("mini", 32, setting.tiny)
    limits = ceilings(setting.torch_device, setting.tiny)
    steps = 3 if setting.tiny else 18
    plain = compare(setting, report, shape, steps, 2.0, limits)
    if report.has_time(COMPILED, setting.compiling_s(COMPILED, COMPILE_S)):
        compare_compiled(setting, report, shape, steps, limits, plain)
    compare(setting, report, shape, steps, 1.0, limits)


def compare(
    setting: Setting, report: Report, shape: NetworkConfig, steps: int, guidance: float, limits: Ceilings
) -> Timing | None:
    """Time the plain loop and edm in every precision; return the plain loop's batches."""
    device, what = setting.torch_device, f"sampling, {steps} steps, guidance {guidance:g}"
    budget_s = 0.2 if setting.tiny else min(1.5, report.time_left / 20)
    plain = None
    with report.attempt(f"{what}, the plain loop"):
        drawing = plain_sampling(PlainDenoiser(shape, SIGMA_DATA).to(device), steps, guidance, device)
        plain = timed(steps_of(drawing), device, budget_s, warm_up=1)
        report.measure(f"{what}, the plain loop", SAMPLED_AT_ONCE / plain.median, "images/s", spread=plain.spread)
    batches = (batch_of(setting),) if setting.tiny else (BATCH, LARGE_BATCH)
    for batch in batches:
        for precision in PRECISIONS if batch == batches[0] else PRECISIONS[:1]:
            way = f"{what}, batch {batch:,}, {precision}"
            if not report.has_time(way, 0 if setting.tiny else ROW_S):
                continue
            with report.attempt(way):
                config = SamplingConfig(sampler="euler", steps=steps, guidance=guidance, precision=precision)
                time_drawing(report, way, model_of(shape, device), config, batch, device, limits, budget_s, plain)
    return plain


def compare_compiled(
    setting: Setting, report: Report, shape: NetworkConfig, steps: int, limits: Ceilings, plain: Timing | None
) -> None:
    """Time guided drawing in bf16 by a compiled network, and how long compiling takes."""
    device, batch, config = setting.torch_device, batch_of(setting), guided(steps)
    what = f"sampling, {steps} steps, guidance 2, batch {batch:,}, bf16, compiled"
    with report.attempt(what):
        model = compiled_denoiser(model_of(shape, device))
        began = time.perf_counter()
        drawn(model, config, batch, device)
        finish(device)
        report.measure(f"{what}: until the first images are drawn", time.perf_counter() - began, "s")
        time_drawing(report, what, model, config, batch, device, limits, 0.2 if setting.tiny else 1.5, plain)


def programs(setting: Setting) -> dict[str, Callable[[], object]]:
    """Return what compiles the network, by name."""
    shape, device = network("mini", 32, setting.tiny), setting.torch_device
    return {COMPILED: lambda: drawn(compiled_denoiser(model_of(shape, device)), guided(1), batch_of(setting), device)}


def guided(steps: int) -> SamplingConfig:
    """Return how images are drawn with guidance by a compiled network."""
    return SamplingConfig(sampler="euler", steps=steps, guidance=2.0, precision="bf16")


def batch_of(setting: Setting) -> int:
    """Return how many images are drawn at once."""
    return 8 if setting.tiny else BATCH


def drawn(model: Denoiser, config: SamplingConfig, batch: int, device: torch.device) -> torch.Tensor:
    """Return a batch of images."""
    index = torch.arange(batch, device=device)
    return draw(model, config, index, labels_of(index, model.config.num_classes))


def time_drawing(
    report: Report,
    what: str,
    model: Denoiser,
    config: SamplingConfig,
    batch: int,
    device: torch.device,
    limits: Ceilings,
    budget_s: float,
    plain: Timing | None,
) -> None:
    """Time edm's drawing of a batch, with busy share and peak memory."""

    def once() -> torch.Tensor:
        return drawn(model, config, batch, device)

    forget_peak(device)
    timing = timed(once, device, budget_s, warm_up=1)
    plain_rate = None if plain is None else SAMPLED_AT_ONCE / plain.median
    floor_s = config.nfe * forward_floor_s(model.config, batch, limits)
    rate = {"plain": plain_rate, "ceiling": batch / floor_s, "spread": timing.spread}
    report.measure(what, batch / timing.median, "images/s", **rate)
    report.measure(f"{what}: peak memory", peak_gib(device), "GiB")
    if config.precision == "bf16":  # reading the profiler's trace takes seconds
        add_busy_share(report, what, once, device, repeats=1)
