"""Shares out cores and GPUs among trials. It needs no Ray, so that what is impossible is reported before Ray starts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edm.config import Extension, Features
from edm.cores import available_cores
from experiments import hardware
from experiments.errors import UserError
from experiments.store.results import ProbeResult
from experiments.store.store import Store
from experiments.sweep.jobs import Task
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import WeightsDownload
from experiments.sweep.probes import Probe, probes_by_training
from experiments.sweep.shorter import longest_planned
from experiments.sweep.spec import ResourcesConfig, gpus_asked_for
from experiments.sweep.tasks import DataSource, Evaluation, Kind, SweepTask, Training, own_training
from experiments.wording import count

# of NVIDIA's and AMD's drivers, and of Windows' subsystem for Linux
GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))

MARGIN = 1.2  # memory to allow over what was measured: fragments, validation, libraries that load late
MOST_ON_ONE_GPU = 8  # more trials would wait for each other, and for their cores
# memory that an extractor adds to an evaluation: its weights and a batch of its activations, generously
EXTRACTOR_GIB: dict[Features | Extension, float] = {"inception": 2.0, "dinov2": 4.0, "classifier": 0.5}
UNKNOWN_EXTRACTOR_GIB = 4.0  # of an extension


@dataclass(frozen=True)
class Allocation:
    """The cores and GPUs of one trial."""

    cpus: int
    gpus: float

    def __add__(self, other: Allocation) -> Allocation:
        """Return the sum of both."""
        return Allocation(self.cpus + other.cpus, self.gpus + other.gpus)

    def __neg__(self) -> Allocation:
        """Return its negative."""
        return Allocation(-self.cpus, -self.gpus)


NOTHING = Allocation(0, 0.0)


def local_resources(resources: ResourcesConfig) -> dict[str, float]:
    """Return the cores and GPUs that a sweep may use here, under Ray's names."""
    return {"CPU": float(available_cores()), "GPU": 0.0 if resources.gpus == 0 else float(len(hardware.gpu_names()))}


class Allocator:
    """Decides what each trial of a plan gets: as asked, else one GPU if there are any, and an even part of the cores.

    The part follows from the whole plan and not from what is left of it, so that a repeated run computes with as many
    threads as the first. Where GPUs are shared out by memory, a trial gets as small a part of one as its network's
    probe says it needs, and a whole one while the store has no such probe. nodes: the resources of each machine of a
    cluster, as a trial runs on one of them; none where there is only this machine. Raises UserError where more is asked
    for than there is.
    """

    def __init__(
        self,
        plan: Plan,
        resources: ResourcesConfig,
        total: Mapping[str, float],
        store: Store,
        nodes: Sequence[Mapping[str, float]] = (),
    ) -> None:
        self.plan, self.resources, self.store = plan, resources, store
        self.cores, self.devices = int(total.get("CPU", 1)), total.get("GPU", 0.0)
        self.nodes = [(int(node.get("CPU", 0)), node.get("GPU", 0.0)) for node in nodes or (total,)]
        largest = max(cores for cores, _ in self.nodes), max(devices for _, devices in self.nodes)
        require_available(resources, *largest, on_cluster=bool(nodes))
        self._measured_probes: dict[str, ProbeResult] = {}

    def of(self, task: Task) -> Allocation:
        """Return what a task gets; a preparation as much as an evaluation, which would otherwise do its work.

        A download gets nothing, as it only waits for its server: it takes no place of a task that computes. Nor does
        the preparation of a data set, which needs no GPU; its threads share the cores with whatever runs beside it.
        """
        if isinstance(task, WeightsDownload | DataSource):
            return NOTHING
        gpus = self._gpus(task)
        kind: Kind = "training" if isinstance(task, Training | Probe) else "evaluation"
        return Allocation(self.resources.cpus or (self._beside(gpus) if gpus else self._even(kind)), gpus)

    def _beside(self, gpus: float) -> int:
        """Cores beside so many GPUs, such that no node has GPUs left and no core for them."""
        parts = [cores // _whole(devices / gpus) for cores, devices in self.nodes if devices >= gpus]
        return max(1, min(parts, default=1))

    def _even(self, kind: Kind) -> int:
        """An even part of all cores, on one node."""
        part = self.cores // max(1, min(self._count(kind), self.cores))
        return max(1, min(part, max(cores for cores, _ in self.nodes)))

    def slots(self, kind: Kind) -> int:
        """Return how many trials of a kind run side by side, if there are enough and all are the smallest."""
        tasks = self.plan.trainings if kind == "training" else self.plan.evaluations
        if self.resources.gpus == "auto" and self.devices:
            # evaluations of one training are alike
            kinds = {own_training(task).signature: task for task in tasks.values()}
            allocations = [self.of(task) for task in kinds.values()]
        else:
            allocations = [self.of(task) for task in list(tasks.values())[:1]]
        return max(map(self.at_once, allocations), default=1)

    def at_once(self, each: Allocation) -> int:
        """Return how many trials that get this much run side by side."""
        by_cores = max(1, self.cores // max(each.cpus, 1))
        return min(by_cores, _whole(self.devices / each.gpus)) if each.gpus else by_cores

    def has_room(self, allocated: Allocation) -> bool:
        """Return whether trials that together get this much all fit, as far as cores and GPUs in all tell."""
        return allocated.cpus <= self.cores and allocated.gpus <= self.devices + 1e-6

    def _count(self, kind: Kind) -> int:
        """How many tasks of a kind could run side by side: no training beside one that begins at its end."""
        if kind == "evaluation":
            return len(self.plan.evaluations)
        trainings = self.plan.trainings
        waited_for = {longest_planned(shorter, trainings) for shorter in self.plan.shorter.values()}
        return len(trainings.keys() - waited_for)

    def _gpus(self, task: Task) -> float:
        asked = self.resources.gpus
        if not self.devices or asked == 0:
            return 0.0
        if asked is None or isinstance(task, Probe):  # which measures a GPU that it has to itself
            return 1.0
        if asked == "auto":
            return self._by_memory(task) if isinstance(task, Training | Evaluation) else 1.0
        return asked if isinstance(task, Training) else min(asked, 1.0)

    # by memory ------------------------------------------------------------------------------------

    @cached_property
    def _probes(self) -> dict[str, Probe]:
        return probes_by_training(self.plan, hardware.device_of(self.resources.gpus))

    def _by_memory(self, task: SweepTask) -> float:
        """The smallest whole part of a GPU, such as a third, that has as much memory as a task takes."""
        needs = self._memory(task)
        if needs is None:
            return 1.0
        taken, available = needs
        return 1.0 / max(1, min(_whole(available / (MARGIN * taken)), MOST_ON_ONE_GPU))

    def _memory(self, task: SweepTask) -> tuple[float, float] | None:
        """What a task takes and what a GPU has, in GiB, where that was measured on one and fits at all."""
        trainings = task.depends_on if isinstance(task, Evaluation) else (task,)
        there_is, training_gib, drawing_gib = math.inf, 0.0, 0.0
        for training in trainings:
            probe = self._measured(self._probes[training.signature])
            if probe is None or probe.training is None or probe.drawing is None or not probe.device_gib:
                return None
            there_is = min(there_is, probe.device_gib)
            training_gib = probe.training.training_gib
            drawing_gib += probe.drawing.sampling_gib
        if not isinstance(task, Evaluation):
            return training_gib, there_is
        extractors = sum(EXTRACTOR_GIB.get(space.name, UNKNOWN_EXTRACTOR_GIB) for space, _ in task.spaces)
        return drawing_gib + extractors, there_is

    def _measured(self, probe: Probe) -> ProbeResult | None:
        """A probe's result, looked for until it is there: trainings wait for theirs."""
        if probe.signature not in self._measured_probes:
            result = self.store.result(ProbeResult, probe.signature)
            if result is None:
                return None
            self._measured_probes[probe.signature] = result
        return self._measured_probes[probe.signature]


def _whole(ratio: float) -> int:
    return int(ratio + 1e-6)  # 1 / (1 / 3) may come to less than 3


def require_available(resources: ResourcesConfig, cores: int, devices: float, on_cluster: bool = False) -> None:
    """Raise UserError where a trial asks for more than this machine has, or any node of a cluster."""
    asked = resources.gpus
    if isinstance(asked, float | int) and asked > devices:
        if devices:
            gpus = count(int(devices), "GPU")
            has = f"no node has more than {gpus}" if on_cluster else f"this machine has {gpus}"
            remedy = f"give --gpus {devices:g} or fewer, or --gpus 0 to use the CPU"
        else:
            has = "no node has any" if on_cluster else "this machine has none"
            remedy = "give --gpus 0 to use the CPU"
        raise UserError(f"resources.gpus: {asked:g} per trial, but {has}; {remedy}")
    if resources.cpus is not None and resources.cpus > cores:
        has = f"{'no node has more than' if on_cluster else 'this machine has'} {count(cores, 'core')}"
        raise UserError(
            f"resources.cpus: {resources.cpus} per trial, but {has}; give --cpus-per-trial {cores} or fewer"
        )


def require_possible(resources: ResourcesConfig, gpu_devices: Iterable[Path] = GPU_DEVICES) -> None:
    """Raise UserError where this machine cannot have what a sweep asks for; Ray will count the GPUs.

    gpu_devices: a machine with a GPU has at least one of these.
    """
    may_have_gpus = any(device.exists() for device in gpu_devices)
    asked = gpus_asked_for(resources.gpus)
    require_available(resources, available_cores(), asked if may_have_gpus else 0.0)
