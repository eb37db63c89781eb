"""Estimates how long tasks will take, and what they occupy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from experiments.runner.allocation import Allocator, local_resources
from experiments.runner.data_costs import unprepared, whole_s
from experiments.runner.disk import disk_gib
from experiments.runner.durations import SPREAD_OF_GUESSES, DurationModel
from experiments.store.store import Store
from experiments.sweep.jobs import Task, data_of
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import WeightsDownload, preparations_of
from experiments.sweep.probes import Probe
from experiments.sweep.spec import gpus_asked_for
from experiments.sweep.tasks import DataSource, Evaluation, Kind, Training
from experiments.wording import HOUR_S

START_UP_S = 25.0  # until Ray, its workers and their imports are there
MACHINES = (1, 2, 4, 8, 16)  # numbers of machines to forecast for
DISK_SPREAD = 1.2  # journals, pictures, buffers and headers are not counted


class Span(NamedTuple):
    """The least and the most that something is likely to be."""

    low: float
    high: float

    @classmethod
    def around(cls, middle: float, factor: float) -> Span:
        """Return the span that is off by a factor either way."""
        return cls(middle / factor, middle * factor)


@dataclass(frozen=True)
class Forecast:
    """What tasks are expected to take, with ranges.

    wall_s: seconds of wall clock. work_s: seconds of all trials. gpu_hours: hours of devices, or of trials where they
    have none. disk_gib: in the store, at its fullest. measured: whether any of it rests on measurements.
    """

    wall_s: float
    work_s: float
    gpu_hours: float
    disk_gib: float
    wall_span_s: Span
    work_span_s: Span
    gpu_hours_span: Span
    disk_span_gib: Span
    measured: bool
    on_gpus: bool


NO_TIME = Span(0.0, 0.0)


def forecast(
    plan: Plan,
    tasks: Iterable[Task],
    store: Store,
    durations: DurationModel | None = None,
    machines: int | None = None,
) -> Forecast:
    """Return what tasks take on this machine, or on `machines` GPUs like its own, or machines where it has none.

    The wall clock is the time to start up, to fetch files and to prepare data, and the larger of two: all work shared
    out, and the longest chain of tasks that wait for each other.
    """
    left = list(tasks)
    if not left:
        return Forecast(0.0, 0.0, 0.0, 0.0, *(NO_TIME, NO_TIME, NO_TIME, NO_TIME), measured=True, on_gpus=False)
    durations = durations or DurationModel(store, plan, {task.signature for task in left})
    capacity = Capacity(plan, store, machines)
    spans = {t.signature: durations.range(t) for t in left}
    efforts = Efforts(left, capacity, plan)
    middle = efforts.of({t.signature: durations.seconds(t) for t in left})
    low = efforts.of({signature: low for signature, (low, _) in spans.items()})
    high = efforts.of({signature: high for signature, (_, high) in spans.items()})
    disk = disk_gib(left, capacity.at_once("training"))
    before_s = _before_s(plan, left, store)
    return Forecast(
        middle.wall_s + before_s,
        middle.work_s,
        middle.gpu_hours,
        disk,
        Span(low.wall_s + before_s / SPREAD_OF_GUESSES, high.wall_s + before_s * SPREAD_OF_GUESSES),
        Span(low.work_s, high.work_s),
        Span(low.gpu_hours, high.gpu_hours),
        Span.around(disk, DISK_SPREAD),
        measured=any(durations.measured(t) for t in left if not isinstance(t, Probe)),
        on_gpus=capacity.on_gpus,
    )


def _before_s(plan: Plan, left: Sequence[Task], store: Store) -> float:
    """Return how long the data sets take that a run prepares before the tasks that read them, not as tasks."""
    tasks = {task.signature for task in left}
    read = {source.signature for source in map(data_of, left) if source is not None} - tasks
    return sum(whole_s(plan, source, store) for source in unprepared(plan, store) if source.signature in read)


def forecasts(plan: Plan, tasks: Iterable[Task], store: Store) -> dict[int | None, Forecast]:
    """Return forecasts for this machine, under None, and for several numbers of GPUs or machines."""
    left = list(tasks)
    durations = DurationModel(store, plan, {task.signature for task in left})
    return {machines: forecast(plan, left, store, durations, machines=machines) for machines in (None, *MACHINES)}


class Effort(NamedTuple):
    """Seconds of wall clock and of all trials, and hours of devices."""

    wall_s: float
    work_s: float
    gpu_hours: float


class Capacity:
    """How many tasks run side by side, on this machine or on others like it."""

    def __init__(self, plan: Plan, store: Store, machines: int | None) -> None:
        resources = plan.sweep.resources
        here = local_resources(resources)
        self.on_gpus = here["GPU"] > 0
        self.copies = 1 if machines is None or self.on_gpus else machines
        gpus = here["GPU"] if machines is None or not self.on_gpus else float(machines)
        cores = here["CPU"] * (gpus / here["GPU"] if gpus else 1)  # as many for each GPU as here
        # what a plan asks for may be another machine's: there is a forecast all the same
        asked = gpus_asked_for(resources.gpus)
        total = {"CPU": max(cores, resources.cpus or 1.0), "GPU": max(gpus, asked)}
        self.allocator = Allocator(plan, resources, total, store)
        self._slots: dict[Kind, int] = {
            "training": self.copies * self.allocator.slots("training"),
            "evaluation": self.copies * self.allocator.slots("evaluation"),
        }

    def at_once(self, kind: Kind) -> int:
        """Return how many trials of a kind run side by side."""
        return self._slots[kind]


class Share(NamedTuple):
    """What a task takes of a machine while it runs.

    occupied: devices, or trials where there are none. at_once: how many tasks that take as much run side by side.
    """

    signature: str
    occupied: float
    at_once: int


class Efforts:
    """What tasks take together, for any lengths of them; what does not depend on lengths is worked out once."""

    def __init__(self, left: Sequence[Task], capacity: Capacity, plan: Plan) -> None:
        self._plan = plan
        self._others = [task for task in left if not isinstance(task, Evaluation)]
        # a download waits for its server, beside the others
        self._shares = [_share(task, capacity) for task in left if not isinstance(task, WeightsDownload)]
        workers = capacity.at_once("evaluation")
        self._evaluations = [
            (task, (*task.depends_on, *preparations_of(task)), 1 if task.rivals else min(task.num_segments, workers))
            for task in left
            if isinstance(task, Evaluation)
        ]

    def of(self, seconds: Mapping[str, float]) -> Effort:
        """Return what tasks of these lengths take together."""
        work = sum((seconds[share.signature] for share in self._shares), 0.0)
        occupied = sum((seconds[share.signature] * share.occupied for share in self._shares), 0.0)
        shared = sum((seconds[share.signature] / share.at_once for share in self._shares), 0.0)
        return Effort(max(shared, self._longest_chain(seconds)) + START_UP_S, work, occupied / HOUR_S)

    def _longest_chain(self, seconds: Mapping[str, float]) -> float:
        """What an evaluation waits for, and the longest such one, which idle workers share unless it may stop early."""
        ends: dict[str, float] = {}  # of what evaluations wait for, by signature

        def end(task: Task) -> float:
            if task.signature not in ends:
                own = seconds.get(task.signature, 0.0)
                ends[task.signature] = own + max(map(end, self._needed(task)), default=0.0)
            return ends[task.signature]

        chains = [max(map(end, needed)) + seconds[task.signature] / parts for task, needed, parts in self._evaluations]
        return max((*chains, *map(end, self._others)), default=0.0)

    def _needed(self, task: Task) -> tuple[Task, ...]:
        """What a task other than an evaluation waits for."""
        source, others = data_of(task), ()
        if isinstance(task, Training):
            shorter = (other.signature for other in self._plan.shorter.get(task.signature, ()))
            longest = tuple(self._plan.trainings[name] for name in shorter if name in self._plan.trainings)
            others = (*longest, *task.depends_on)
        elif not isinstance(task, Evaluation | Probe | DataSource):
            others = task.depends_on
        return others if source is None else (source, *others)


def _share(task: Task, capacity: Capacity) -> Share:
    if isinstance(task, DataSource):  # which takes all cores and no GPU
        return Share(task.signature, 0.0 if capacity.on_gpus else 1.0, 1)
    allocation = capacity.allocator.of(task)
    at_once = capacity.copies * capacity.allocator.at_once(allocation)
    return Share(task.signature, allocation.gpus or 1.0, at_once)
