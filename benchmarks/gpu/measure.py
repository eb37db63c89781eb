"""Times on a GPU or a CPU, what the machine can do at most, and the floor that follows from it."""

import itertools
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.gpu.report import Report
from edm.config import NetworkConfig
from edm.cost import forward_flops, num_parameters
from edm.networks.unet import UNet

KERNELS_LISTED = 25  # in the log, of each profile
GPU_WORK = ("kernel", "gpu_memcpy", "gpu_memset")  # categories of the profiler's trace
BF16_BYTES, FP32_BYTES = 2, 4
# an optimizer's step reads weights, gradients and two moments and writes all but gradients; the average is both
STATE_ACCESSES = 4 + 3 + 2


@dataclass(frozen=True)
class Timing:
    """The seconds of each of several calls."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """The distance between the first and the last decile, as a share of the median."""
        ordered, last = sorted(self.seconds), len(self.seconds) - 1
        return (ordered[round(0.9 * last)] - ordered[round(0.1 * last)]) / self.median


def finish(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(call: Callable[[], Any], device: torch.device, budget_s: float, most: int = 200, warm_up: int = 3) -> Timing:
    """Time a call again and again for about `budget_s` seconds, at least 3 times; the device decides, not the host."""
    for _ in range(warm_up):
        call()
    finish(device)
    began = time.perf_counter()
    call()
    finish(device)
    repeats = max(3, min(most, int(budget_s / (time.perf_counter() - began))))
    return _timed_by_events(call, repeats) if device.type == "cuda" else _timed_by_clock(call, repeats)


def _timed_by_events(call: Callable[[], Any], repeats: int) -> Timing:
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize()
    return Timing(tuple(a.elapsed_time(b) / 1000 for a, b in itertools.pairwise(events)))


def _timed_by_clock(call: Callable[[], Any], repeats: int) -> Timing:
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return Timing(tuple(seconds))


def steps_of(iterator: Iterator[Any]) -> Callable[[], Any]:
    """Return a call that takes the next step of a training."""
    return lambda: next(iterator)


# ceilings and floors ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ceilings:
    """What the machine reached: floating-point operations per second in bf16 matrix products, bytes copied per second.

    On a CPU the products are in float32, which is what networks compute in there.
    """

    flops: float
    bytes: float

    def floor_s(self, flops: float, moved: float) -> float:
        """Return the least seconds for some operations and some bytes: the larger of the two."""
        return max(flops / self.flops, moved / self.bytes)


def ceilings(device: torch.device, tiny: bool) -> Ceilings:
    """Measure the machine's ceilings, in about a second on a GPU."""
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    return Ceilings(matrix_rate(device, kind, tiny), copy_rate(device, tiny))


def matrix_rate(device: torch.device, kind: torch.dtype, tiny: bool) -> float:
    """Return operations per second of a large matrix product of random numbers."""
    side = 512 if tiny else 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    return 2 * side**3 / timed(lambda: a @ b, device, budget_s=0.3, most=30).median


def copy_rate(device: torch.device, tiny: bool) -> float:
    """Return bytes per second, read and written, of a copy that no cache holds."""
    source = torch.randn(2**22 if tiny else 2**29, device=device)  # 16 MiB, else 2 GiB
    target = torch.empty_like(source)
    return 2 * source.nbytes / timed(lambda: target.copy_(source), device, budget_s=0.2, most=30).median


def training_floor_s(network: NetworkConfig, batch: int, limits: Ceilings) -> float:
    """Return the least seconds of a training step: three times the forward pass, and the optimizer's bytes.

    Of activations only what convolutions and linear layers read and write counts, once, in two bytes each.
    """
    state = num_parameters(network) * FP32_BYTES * STATE_ACCESSES
    moved = 3 * batch * _moved_elements(network) * BF16_BYTES + state
    return limits.floor_s(3 * batch * forward_flops(network), moved)


def forward_floor_s(network: NetworkConfig, batch: int, limits: Ceilings) -> float:
    """Return the least seconds of a forward pass."""
    moved = batch * _moved_elements(network) * BF16_BYTES + num_parameters(network) * BF16_BYTES
    return limits.floor_s(batch * forward_flops(network), moved)


def _moved_elements(network: NetworkConfig) -> int:
    """Return the numbers that the convolutions and linear layers of a forward pass read and write for one image."""
    with torch.device("meta"):
        model = UNet(network).eval()
        x = torch.empty(1, network.image_channels, network.resolution, network.resolution)
        sigma = torch.empty(1)
        label = torch.empty(1, dtype=torch.int64) if network.num_classes else None
    found: list[int] = []

    def count(_module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        found.append(inputs[0].numel() + output.numel())

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(x, sigma, label)
    return sum(found)


# how busy, how much memory ------------------------------------------------------------------------


def busy_s(call: Callable[[], Any], device: torch.device, repeats: int) -> float | None:
    """Return the seconds per call in which the device computes or copies, by the profiler's trace.

    None where the profiler sees no work of the device. On a CPU it is the time in torch's operators. A GPU's longest
    kernels are printed, which puts them into the log.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(repeats):
            call()
        finish(device)
    if device.type == "cuda":
        averages = profile.key_averages()
        print(averages.table(sort_by="self_cuda_time_total", row_limit=KERNELS_LISTED, max_name_column_width=90))
    wanted = GPU_WORK if device.type == "cuda" else ("cpu_op",)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    spans = sorted((event["ts"], event["ts"] + event["dur"]) for event in events if event.get("cat") in wanted)
    return _covered(spans) / 1e6 / repeats if spans else None


def add_busy_share(report: Report, what: str, call: Callable[[], Any], device: torch.device, repeats: int) -> None:
    """Report the share of the time in which the device is busy, of calls that `what` has just timed.

    The profiler slows the host down, so that its trace says how long the device works, and not how long a call takes.
    """
    with report.attempt(f"{what}: busy share"):
        print(f"profile of {what}, {repeats} calls")
        timing, busy = timed(call, device, budget_s=0.3, most=20, warm_up=1), busy_s(call, device, repeats)
        if busy is None:
            report.skip(f"{what}: busy share", "the profiler saw no work of the device.")
            return
        share = 100 * busy / timing.median
        report.measure(f"{what}: share of the time in which the device is busy", share, "%")


def _covered(spans: list[tuple[float, float]]) -> float:
    """Return the length of the union of sorted spans."""
    total, reached = 0.0, spans[0][0]
    for start, stop in spans:
        if stop > reached:
            total += stop - max(start, reached)
            reached = stop
    return total


def forget_peak(device: torch.device) -> None:
    """Begin to measure the peak of memory anew, where that is possible."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_gib(device: torch.device) -> float:
    """Return the peak of a GPU's memory since `forget_peak`, or of this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
