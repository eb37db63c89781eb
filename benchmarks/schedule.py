"""How well the schedule uses its GPUs, and what deciding costs: whole sweeps simulated with the real searcher.

    uv run python benchmarks/schedule.py            # a minute or two; --quick leaves out the largest

Plans come from real sweep files, decisions from the searcher that feeds Ray Tune, over a real (empty) store; only the
work itself is simulated, with durations from a log-normal distribution (the longest of a thousand trainings is some
twenty times the median). The bound is the larger of all work shared out evenly and of the longest chain: a training,
and then all that depends on it, cut up and shared out over all GPUs. No schedule is below it.
"""

from __future__ import annotations

import argparse
import heapq
import random
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.inputs import InputFiles
from experiments.runner.allocation import Allocator
from experiments.runner.dispatch import Dispatcher
from experiments.runner.resume import open_schedule
from experiments.runner.tune import DispatchedSearcher
from experiments.store.store import Store
from experiments.sweep.jobs import Job, Outcome
from experiments.sweep.plan import Plan, plan_sweep
from experiments.sweep.reader import load_sweep
from experiments.sweep.tasks import Evaluation, SweepTask

# trainings, evaluations of each, images
SIZES = ((4, 12, 50_000), (20, 20, 50_000), (100, 20, 10_000), (1000, 20, 10_000))
GPUS = (1, 8, 64, 256)
TRAINING_S, EVALUATION_S, SPREAD = 4 * 3600.0, 600.0, 1.0  # medians, and sigma of the logarithm

SWEEP = """\
name: simulated
training:   {{kimg: 1000}}
sampling:   {{steps: 18}}
evaluation: {{images: {images}, features: inception}}
grid:
  training.lr: {rates}
  sampling.guidance: {scales}
"""


class Skewed:
    """Durations drawn once for each task."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.known: dict[str, float] = {}

    def seconds(self, task: SweepTask) -> float:
        """Of a task; the same whenever it is asked."""
        name = task.signature
        if name not in self.known:
            median = TRAINING_S if task.kind == "training" else EVALUATION_S
            self.known[name] = median * random.Random(f"{self.seed}-{name}").lognormvariate(0, SPREAD)
        return self.known[name]

    def learn(self, task: SweepTask, seconds: float) -> None:
        """Nothing: they are known."""


@dataclass
class Cut:
    """An evaluation that is being drawn: parts that nobody has begun, parts under way, and who waits for them."""

    open: int
    going: int = 0
    owner: Worker | None = None


@dataclass
class Worker:
    """A simulated trial."""

    key: str
    job: Job
    left: deque[SweepTask] = field(default_factory=deque)
    part_of: str | None = None  # the evaluation that it draws a part of now


class Cluster:
    """Workers that do what the searcher suggests, in simulated time; like Tune it asks for one trial ahead."""

    def __init__(self, searcher: DispatchedSearcher, costs: Skewed, slots: int) -> None:
        self.searcher, self.costs, self.slots = searcher, costs, slots
        self.dispatcher = searcher.dispatcher
        self.now = 0.0
        self.events: list[tuple[float, int, Worker]] = []
        self.cuts: dict[str, Cut] = {}
        self.ahead: Worker | None = None
        self.busy = 0
        self.tick = count()
        self.deciding_s = 0.0
        self.dispatcher.schedule.helpers.parts_left = lambda e: self._cut(e).open

    def run(self) -> float:
        """Simulate until all is done; the makespan."""
        self._fill()
        while self.events:
            self.now, _, worker = heapq.heappop(self.events)
            self._advance(worker)
            self._fill()
        assert self.dispatcher.schedule.finished, self.dispatcher.schedule.counts
        return self.now

    def _fill(self) -> None:
        while self.ahead is not None or self._ask():
            if self.busy == self.slots:
                return
            worker, self.ahead = self.ahead, None
            assert worker is not None
            self.busy += 1
            self._advance(worker)

    def _ask(self) -> bool:
        key = str(next(self.tick))
        began = time.perf_counter()
        config = self.searcher.suggest(key)
        self.deciding_s += time.perf_counter() - began
        if not isinstance(config, dict):
            return False
        job = self.searcher.jobs[key]
        self.ahead = Worker(key, job, deque(job.tasks))
        return True

    def _cut(self, evaluation: Evaluation) -> Cut:
        return self.cuts.setdefault(evaluation.signature, Cut(evaluation.num_segments))

    def _advance(self, worker: Worker) -> None:
        """What a worker does next: its part is done, or it has just begun, or what it waited for is there."""
        self._deliver(worker)
        while worker.left:
            task = worker.left[0]
            if not isinstance(task, Evaluation):
                if worker.part_of is None:
                    worker.part_of = task.signature
                    return self._later(worker, self.costs.seconds(task))
            else:
                cut = self._cut(task)
                if cut.open:
                    cut.open -= 1
                    cut.going += 1
                    worker.part_of = task.signature
                    return self._later(worker, self.costs.seconds(task) / task.num_segments)
                if cut.going and not worker.job.helps:
                    cut.owner = worker  # it waits for those who help
                    return None
            worker.left.popleft()
            worker.part_of = None
            if not worker.job.helps:
                self._tell(worker, task)
        self.busy -= 1
        began = time.perf_counter()
        self.searcher.on_trial_complete(worker.key)
        self.deciding_s += time.perf_counter() - began
        return None

    def _deliver(self, worker: Worker) -> None:
        cut = self.cuts.get(worker.part_of or "")
        if cut is None:
            return
        worker.part_of = None
        cut.going -= 1
        if not cut.going and not cut.open and cut.owner is not None and cut.owner is not worker:
            self._later(cut.owner, 0.0)
            cut.owner = None

    def _tell(self, worker: Worker, task: SweepTask) -> None:
        began = time.perf_counter()
        self.dispatcher.outcome(worker.key, task.signature, Outcome("done"))
        self.deciding_s += time.perf_counter() - began

    def _later(self, worker: Worker, seconds: float) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.tick), worker))


def bound(plan: Plan, costs: Skewed, slots: int) -> float:
    """No schedule is shorter."""
    standing = dict.fromkeys(plan.trainings, 0.0)  # the least time for all that depends on a training
    for e in plan.evaluations.values():
        standing[e.training.signature] += costs.seconds(e) / slots
    longest = max(costs.seconds(training) + standing[name] for name, training in plan.trainings.items())
    work = sum(map(costs.seconds, (*plan.trainings.values(), *plan.evaluations.values())))
    return max(work / slots, longest)


@dataclass(frozen=True)
class Row:
    """What one simulated sweep showed."""

    trainings: int
    evaluations: int
    gpus: int
    hours: float
    ratio: float
    per_piece_ms: float


def measure(trainings: int, evaluations: int, images: int) -> Iterator[Row]:
    """Plan a sweep and simulate it on every number of GPUs."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "simulated.yaml"
        rates = [round(1e-4 + 1e-7 * i, 9) for i in range(trainings)]
        scales = [round(1 + i / 10, 1) for i in range(evaluations)]
        file.write_text(SWEEP.format(images=images, rates=rates, scales=scales))
        began = time.perf_counter()
        inputs = InputFiles()
        sweep = load_sweep(file, (), inputs)
        plan = plan_sweep(sweep, inputs)
        planning_s = time.perf_counter() - began
        for gpus in GPUS:
            store, costs = Store(Path(folder) / "store"), Skewed(0)
            began = time.perf_counter()
            schedule = open_schedule(plan, store, costs=costs)
            allocator = Allocator(plan, sweep.resources, {"CPU": 8.0 * gpus, "GPU": float(gpus)}, store)
            schedule.slots = gpus
            opening_s = time.perf_counter() - began
            cluster = Cluster(DispatchedSearcher(Dispatcher(schedule, store), allocator), costs, gpus)
            makespan = cluster.run()
            tasks = len(schedule.tasks)
            yield Row(
                len(plan.trainings),
                len(plan.evaluations),
                gpus,
                makespan / 3600,
                makespan / bound(plan, costs, gpus),
                (planning_s + opening_s + cluster.deciding_s) / tasks * 1000,
            )


def main() -> None:
    """Print the table; exit code 1 where a makespan is over 1.05 of its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    sizes = SIZES[:-1] if parser.parse_args().quick else SIZES
    table = Table("trainings", "evaluations", "GPUs", "makespan", "of the bound", "deciding, a task", box=None)
    worst = 0.0
    for size in sizes:
        for row in measure(*size):
            worst = max(worst, row.ratio)
            cells = (f"{row.trainings:,}", f"{row.evaluations:,}", str(row.gpus), f"{row.hours:,.1f} h")
            table.add_row(*cells, f"{row.ratio:.3f}", f"{row.per_piece_ms:.2f} ms")
    Console().print(table)
    raise SystemExit(worst > 1.05)


if __name__ == "__main__":
    main()
