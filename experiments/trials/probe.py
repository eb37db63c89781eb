"""Measures the speed and memory of a network by training and sampling it for some seconds."""

from __future__ import annotations

import dataclasses
import logging
import statistics
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import psutil
import torch

from edm.batches import TrainingSet
from edm.config import SamplingConfig
from edm.generate import draw, labels_of
from edm.networks.device import is_out_of_memory, on_device
from edm.precondition import Denoiser
from edm.train import Computing, TrainState, train
from experiments.store.provenance import provenance
from experiments.store.results import ComputingRecord, MeasuredDrawing, MeasuredTraining, ProbeResult
from experiments.store.store import Store
from experiments.sweep.code_parts import parts_of
from experiments.sweep.probes import LEAST_STEPS, MOST_STEPS, WARM_UP_STEPS, Probe
from experiments.trials.assets import ensure_data
from experiments.trials.code import code_now
from experiments.trials.context import TrialContext, device_name
from experiments.trials.progress import ProgressReporter

ENOUGH_S = 5.0  # stop after that long, once LEAST_STEPS steps have followed the warm-up
TOO_LONG_S = 60.0  # stop after that long in any case: large networks on a CPU
MOST_BATCHES = 4  # batches to draw after the first
DRAWN_STEPS = 2  # steps of the Euler sampler for each batch
# memory of CUDA's context and libraries, outside torch's allocator: 0.4 to 0.6 GiB on NVIDIA's GPUs since Volta
CONTEXT_GIB = 0.5
OnSteps = Callable[[int, int], None]  # called with the steps done and the most steps there will be
ChoiceT = TypeVar("ChoiceT")
MeasuredT = TypeVar("MeasuredT", MeasuredTraining, MeasuredDrawing)

log = logging.getLogger("edm_sweep")


def run_probe(
    store: Store,
    probe: Probe,
    context: TrialContext,
    on_progress: OnSteps = lambda _done, _total: None,
) -> ProbeResult:
    """Return the result of a probe, measuring the network if the store lacks it; the caller holds its lock."""
    done = store.result(ProbeResult, probe.signature)
    if done is not None:
        return done
    result = measure(store, probe, context, on_progress)
    result = dataclasses.replace(result, code=code_now(store, parts_of(probe)))
    store.finish(probe.signature, result)
    return result


class PeakMemory:
    """Measures the most memory in use since it was created: of a GPU, or on a CPU the growth of this process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.first_bytes = self.most_bytes = psutil.Process().memory_info().rss
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)

    def update(self) -> None:
        """Note the memory in use now; a CPU has no counter of the peak since some moment."""
        self.most_bytes = max(self.most_bytes, psutil.Process().memory_info().rss)

    @property
    def peak_gib(self) -> float:
        """The most memory so far, in GiB."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_reserved(self.device) / 2**30 + CONTEXT_GIB
        return (self.most_bytes - self.first_bytes) / 2**30


def measure(store: Store, probe: Probe, context: TrialContext, on_progress: OnSteps) -> ProbeResult:
    """Measure a network; `training` or `drawing` of the result is None if not even one image fits into memory."""
    began, started = time.time(), time.monotonic()
    reporter = ProgressReporter(store, context, store.folder_of(probe), "steps", WARM_UP_STEPS + MOST_STEPS)

    def on_step(done: int, total: int) -> None:
        reporter.report(done)
        on_progress(done, total)

    data = ensure_data(store, probe.data)
    examples = TrainingSet.of(data, context.device)
    training = _first_that_fits(
        _computings(probe, context), lambda it: _time_training(probe, it, examples, data.sigma_data, on_step)
    )
    drawing = _first_that_fits(
        _batch_sizes(probe), lambda batch: _time_drawing(probe, batch, data.sigma_data, context.device)
    )
    log.info("measured training: %s", training or "not even one image at a time fits into memory")
    log.info("measured sampling: %s", drawing or "not even one image at a time fits into memory")
    return ProbeResult(
        training=training,
        drawing=drawing,
        device=device_name(context.device),
        device_gib=_total_gib(context.device),
        threads=context.threads,
        seconds=time.monotonic() - started,
        flops=probe.flops,
        provenance=provenance(began),
    )


def _total_gib(device: torch.device) -> float | None:
    return torch.cuda.get_device_properties(device).total_memory / 2**30 if device.type == "cuda" else None


def _first_that_fits(choices: Iterator[ChoiceT], attempt: Callable[[ChoiceT], MeasuredT]) -> MeasuredT | None:
    """Return what `attempt` measures with the first choice that fits into memory; None if none fits."""
    for choice in choices:
        try:
            return attempt(choice)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            log.warning("%s does not fit into memory", choice)
        torch.cuda.empty_cache()
    return None


def _computings(probe: Probe, context: TrialContext) -> Iterator[Computing]:
    """Yield how the training would compute, then the same with ever smaller micro-batches."""
    computing = Computing.choose(probe.config, context.device, probe.compiled, probe.graphed)
    size = computing.micro_batch or probe.config.batch_size
    yield computing
    while size % 2 == 0:
        size //= 2
        yield dataclasses.replace(computing, micro_batch=size)


def _batch_sizes(probe: Probe) -> Iterator[int]:
    size = probe.sampling_batch
    while size > 1:
        yield size
        size = -(-size // 2)
    yield 1


def _time_training(
    probe: Probe, computing: Computing, examples: TrainingSet, sigma_data: float, on_step: OnSteps
) -> MeasuredTraining:
    memory = PeakMemory(examples.device)
    steps = WARM_UP_STEPS + MOST_STEPS
    config = dataclasses.replace(probe.config, kimg=probe.config.kimg_after(steps))
    state = TrainState(probe.network, config, sigma_data, 0, examples.device, computing)
    seconds, before = [], time.monotonic()
    for number, loss in enumerate(train(state, examples), 1):
        float(loss)  # waits for the device
        now = time.monotonic()
        seconds.append(now - before)
        before = now
        memory.update()
        on_step(number, steps)
        if _is_enough(seconds[WARM_UP_STEPS:], seconds):
            break
    timed = seconds[WARM_UP_STEPS:] or seconds[-1:]
    step_s = statistics.median(timed)
    return MeasuredTraining(
        kimg_s=statistics.mean(timed) / probe.config.batch_size * 1000,
        spread=max(step_s / min(timed), _ninth_decile(timed) / step_s),
        steps=len(timed),
        training_gib=memory.peak_gib,
        micro_batch=computing.micro_batch,
        computing=ComputingRecord(**dataclasses.asdict(computing)),
        checkpoint_bytes=sum(tensor.nbytes for tensor in state.tensors().values()),
        model_bytes=sum(tensor.nbytes for tensor in state.denoiser.state_dict().values()),
    )


def _is_enough(timed: list[float], everything: list[float]) -> bool:
    if len(timed) >= LEAST_STEPS and sum(timed) > ENOUGH_S:
        return True
    return sum(everything) > TOO_LONG_S


def _ninth_decile(values: list[float]) -> float:
    """Return the value that nine in ten do not exceed."""
    return sorted(values)[int(0.9 * (len(values) - 1))]


def _time_drawing(probe: Probe, batch: int, sigma_data: float, device: torch.device) -> MeasuredDrawing:
    memory = PeakMemory(device)
    guidance = 2.0 if probe.guided and probe.network.num_classes else 1.0
    sampling = SamplingConfig(sampler="euler", steps=DRAWN_STEPS, guidance=guidance, precision=probe.precision)
    model = on_device(Denoiser(probe.network, sigma_data), device).eval()
    seconds: list[float] = []
    while len(seconds) <= MOST_BATCHES and sum(seconds) < ENOUGH_S:
        index = torch.arange(batch, device=device) + len(seconds) * batch
        before = time.monotonic()
        draw(model, sampling, index, labels_of(index, probe.network.num_classes)).cpu()
        seconds.append(time.monotonic() - before)
        memory.update()
    timed = seconds[1:] or seconds  # the first batch also chooses kernels
    forwards = sum(sampling.evaluations.values())
    return MeasuredDrawing(
        forward_s=statistics.mean(timed) / (batch * forwards) * 1000,
        sampling_gib=memory.peak_gib,
        sampling_batch=batch,
    )
