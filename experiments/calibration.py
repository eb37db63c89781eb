"""Probes: a short look at every distinct network of a plan, for speeds and for memory. No torch before one runs."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from edm.config import NetworkConfig, Precision, TrainingConfig
from edm.cost import forward_flops
from experiments.planning import FORWARDS_PER_TRAINING_IMAGE, DataSource, Evaluation, Plan, Training, signature
from experiments.spec import ResourcesConfig
from experiments.store import Store

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.trial import Setting

WARM_UP_STEPS = 3  # choose kernels, fill caches
LEAST_STEPS, MOST_STEPS = 8, 40
CPU = "cpu"

# fields of a training that change neither its speed nor its memory
INDIFFERENT = (
    "kimg",
    "lr",
    "ema_halflife_kimg",
    "label_dropout",
    "p_mean",
    "p_std",
    "weight_decay",
    "warmup_kimg",
    "power_ema_snapshots",
    "min_snr_gamma",
    "keep",
    "checkpoint_kimg",
    "validate_kimg",
    "samples_kimg",
)


@dataclass(frozen=True)
class Probe:
    """One network as it is trained and sampled, to be measured on a device for some seconds.

    guided: whether both branches go through it at once. precision: of sampling.
    """

    signature: str
    data: DataSource
    network: NetworkConfig
    config: TrainingConfig
    guided: bool
    precision: Precision
    sampling_batch: int
    compiled: bool
    device: str
    kind: Literal["probe"] = "probe"

    @property
    def flops(self) -> float:
        """What measuring it takes at most, about."""
        images = (WARM_UP_STEPS + MOST_STEPS) * self.config.batch_size
        return FORWARDS_PER_TRAINING_IMAGE * images * forward_flops(self.network)


@cache
def gpu_names() -> tuple[str, ...]:
    """The GPUs that the driver lists, by name, without importing torch."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    done = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:
        return ()
    lines = [line for line in done.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(line.partition(": ")[2].partition(" (UUID")[0] for line in lines)  # GPU 0: NVIDIA H200 (UUID: ...)


def device_of(resources: ResourcesConfig) -> str:
    """The device that trials compute on here, named as results name it."""
    return gpu_names()[0] if gpu_names() and resources.gpus != 0 else CPU


def probes_by_training(plan: Plan) -> dict[str, Probe]:
    """Which probe tells of each training, by the training's signature."""
    drawn: dict[str, list[Evaluation]] = {}
    for evaluation in plan.evaluations.values():
        for training in evaluation.stands_on:
            drawn.setdefault(training.signature, []).append(evaluation)
    groups: dict[Any, list[Training]] = {}
    for training in plan.trainings.values():
        groups.setdefault((training.data, training.network, _indifferent(training.config)), []).append(training)
    found: dict[str, Probe] = {}
    for (data, network, config), alike in groups.items():
        own = [evaluation for training in alike for evaluation in drawn.get(training.signature, ())]
        probe = _probe(data, network, config, own, plan.sweep.resources)
        found |= dict.fromkeys((training.signature for training in alike), probe)
    return found


def probes_of(plan: Plan) -> dict[str, Probe]:
    """Every probe of a plan, by its signature."""
    return {probe.signature: probe for probe in probes_by_training(plan).values()}


def probes_left(plan: Plan, store: Store) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """The probes that the store does not hold, by signature, each with the trainings that wait for it."""
    waiting: dict[str, tuple[Any, tuple[str, ...]]] = {}
    known: dict[str, bool] = {}
    for name, probe in probes_by_training(plan).items():
        if probe.signature not in known:
            known[probe.signature] = store.result("probes", probe.signature) is not None
        if not known[probe.signature]:
            _, trainings = waiting.get(probe.signature, (probe, ()))
            waiting[probe.signature] = (probe, (*trainings, name))
    return waiting


def _indifferent(config: TrainingConfig) -> TrainingConfig:
    """The same for all trainings of one speed."""
    defaults = TrainingConfig()
    return dataclasses.replace(config, **{name: getattr(defaults, name) for name in INDIFFERENT}).canonical()


def _probe(
    data: DataSource,
    network: NetworkConfig,
    config: TrainingConfig,
    evaluations: list[Evaluation],
    resources: ResourcesConfig,
) -> Probe:
    precisions = {evaluation.sampling.precision for evaluation in evaluations} or {"fp32"}
    content: dict[str, Any] = {
        "network": network,
        "config": config,
        "guided": any(e.guide is None and e.sampling.guidance not in (0, 1) for e in evaluations),
        "precision": "fp32" if "fp32" in precisions else min(precisions),  # the one that needs most
        "sampling_batch": resources.sampling_batch,
        "compiled": resources.compile is True,
        "device": device_of(resources),
    }
    return Probe(signature("probe", data=data.signature, **content), data=data, **content)


def run_probe(
    store: Store, probe: Probe, setting: Setting, on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> dict[str, Any]:
    """Measure a network, unless that is done; the caller holds its lock. Returns the result."""
    from experiments.probing import measure  # torch

    known = store.result("probes", probe.signature)
    if known is not None:
        return known
    result = measure(store, probe, setting, on_progress)
    store.finish("probes", probe.signature, result)
    return result


def calibrate(plan: Plan, store: Store, console: Console) -> None:
    """Measure, in this process and on this machine, every network of a plan that the store does not know."""
    left = [probe for probe, _ in probes_left(plan, store).values()]
    if not left:
        return
    for source in {probe.data.signature: probe.data for probe in left}.values():
        _prepare(store, source, console)
    for number, probe in enumerate(left, 1):
        _measure_here(plan, store, probe, console, f"measuring network {number} of {len(left)}")


def _prepare(store: Store, source: DataSource, console: Console) -> None:
    from experiments.datasets import prepare_data

    prepare_data(store, source, console)


def _measure_here(plan: Plan, store: Store, probe: Probe, console: Console, title: str) -> None:
    from experiments.display import progress
    from experiments.sharing import Sharing, this_machine

    with console.status("loading torch"):
        import torch

        from experiments.trial import Setting
    resources = plan.sweep.resources
    share = Sharing(plan, resources, this_machine(resources), store).of(probe)
    torch.set_num_threads(share.cpus)
    setting = Setting("calibration", threads=share.cpus, gpus=share.gpus, sampling_batch=resources.sampling_batch)
    with progress(console, title, "steps") as on_progress, store.lock("probes", probe.signature):
        run_probe(store, probe, setting, on_progress)


def measurements(plan: Plan, store: Store) -> Iterator[tuple[Probe, dict[str, Any]]]:
    """Every probe of a plan that has been run, and its result."""
    for name, probe in probes_of(plan).items():
        result = store.result("probes", name)
        if result is not None:
            yield probe, result
