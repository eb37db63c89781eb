"""Estimates how long each task takes by itself: from results, from probes, else by a guess that says it is one."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict, deque
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from edm.config import Extension, Features
from edm.cost import forward_flops
from experiments import hardware
from experiments.hardware import CPU
from experiments.runner.data_costs import whole_s
from experiments.runner.downloads import FETCHED_PER_S
from experiments.store.drawings import drawn_segments
from experiments.store.files import newest
from experiments.store.results import (
    ClassifierRecord,
    EvaluationResult,
    MeasuredReferences,
    ProbeResult,
    SolutionRecord,
    TrainingResult,
)
from experiments.store.store import Store
from experiments.sweep.jobs import Task
from experiments.sweep.kept_states import beginning, step_reached
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import (
    ExactSolution,
    FeatureClassifier,
    ReferenceStatistics,
    WeightsDownload,
    extractor_flops,
)
from experiments.sweep.probes import Probe, probes_by_training
from experiments.sweep.spec import gpus_of_training
from experiments.sweep.tasks import (
    FORWARDS_PER_TRAINING_IMAGE,
    DataSource,
    Evaluation,
    FeatureSpace,
    SweepTask,
    Training,
    own_training,
)

GUESSED_FLOPS_PER_S = {CPU: 4e10, "gpu": 2e13}  # of one core and of one GPU, with networks of medium size
SCORING_SHARE = 0.05  # of an evaluation, where no result says so
PROBE_S = 15.0
MOST_SAVED = 0.999  # of a training: what follows its last step takes some time, too
TEAM_EFFICIENCY = 0.85  # of several GPUs that train one network

MOST_RESULTS, MOST_ALIKE, MOST_OTHERS = 200, 8, 50  # results to read: of the plan, of one network in it, of others
REMEMBERED = 32  # tasks whose true length corrects the rest

# how far off the truth may be, as a factor either way
SPREAD_OF_RESULTS, SPREAD_OF_PROBES, SPREAD_OF_OTHERS, SPREAD_OF_GUESSES = 1.1, 1.5, 2.0, 8.0
SPREAD_ONCE_CORRECTED = 1.5

Source = Literal["results", "probe", "others", "guess"]
# tasks whose results tell how fast others are
TimedTask = SweepTask | FeatureClassifier | ReferenceStatistics | ExactSolution
TaskResult = TrainingResult | EvaluationResult | ClassifierRecord | MeasuredReferences | SolutionRecord
SpeedKey = tuple[Any, ...]  # equal for tasks that run at the same speed


@dataclass(frozen=True)
class Rate:
    """Seconds per floating-point operation; off by about a factor of `spread` at most."""

    seconds: float
    spread: float
    source: Source

    @classmethod
    def of(cls, rates: list[float], source: Source, least: float) -> Rate:
        """Return the median of rates, whose spread is never less than `least`."""
        logs = [math.log(rate) for rate in rates]
        deviation = statistics.stdev(logs) if len(logs) > 1 else 0.0
        return cls(statistics.median(rates), max(least, math.exp(2 * deviation)), source)


class DurationModel:
    """Answers how long tasks take, in constant time whatever the plan.

    Its sources, best first: results of the same network on the same kind of device, the network's probe, the median
    over other results of the same kind of task, a guess. Tasks that finish correct all of these (`learn`), in a run
    from another thread than the one that asks: what grows is copied before it is looked through. left: the trainings
    that will be done, or done again, by default all of the plan.
    """

    def __init__(self, store: Store, plan: Plan, left: Container[str] | None = None) -> None:
        self.store, self._plan = store, plan
        self._left = plan.trainings if left is None else left
        self.device = hardware.device_of(plan.sweep.resources.gpus)
        self.num_gpus = gpus_of_training(plan.sweep.resources.gpus)
        self._probes = probes_by_training(plan, self.device)
        self._own: defaultdict[SpeedKey, deque[float]] = defaultdict(lambda: deque(maxlen=MOST_ALIKE))
        self._ratios: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._scoring: dict[Features | Extension | None, float] = {}
        self._by_probe: dict[str, ProbeResult] = {}  # of networks that fit into the memory
        self._cache: dict[SpeedKey, Rate] = {}
        self._probe_s: deque[float] = deque(maxlen=REMEMBERED)
        self._others: dict[type[TaskResult], Rate] = {}
        for probe in set(self._probes.values()):
            self._read_probe(probe)
        self._read_results(plan)
        self._drawings = set(store.signatures("drawings"))
        self._undrawn: dict[tuple[str, FeatureSpace, int], float] = {}
        self._saved: dict[str, float] = {}  # shares of trainings
        self._data_s: dict[str, float] = {}  # that data sets take to prepare

    # answers --------------------------------------------------------------------------------------

    def seconds(self, task: Task) -> float:
        """Return how many seconds what is left of a task takes by itself, on the resources it gets."""
        if isinstance(task, Probe):
            return statistics.mean(probed) if (probed := list(self._probe_s)) else PROBE_S
        if isinstance(task, WeightsDownload):
            return task.file.bytes / FETCHED_PER_S
        if isinstance(task, DataSource):
            return self._preparing_s(task)
        seconds = task.flops * self._rate(task).seconds
        if isinstance(task, Evaluation):
            return self._evaluation_s(task, seconds)
        return seconds * (1 - self.saved_share(task))

    def saved_share(self, task: Task) -> float:
        """Return which part of a training its newest checkpoint had when this was first asked; 0 for other tasks.

        Of one that has none, the part that a shorter one has done, or will have.
        """
        if not isinstance(task, Training):
            return 0.0
        if task.signature not in self._saved:
            step = step_reached(task.signature, self.store) or self._first_step(task)
            self._saved[task.signature] = min(step / task.config.num_steps, MOST_SAVED)
        return self._saved[task.signature]

    def _first_step(self, training: Training) -> int:
        first = beginning(self._plan.shorter.get(training.signature, ()), self._left, self.store)
        return first.steps if first is not None else 0

    def range(self, task: Task) -> tuple[float, float]:
        """Return the least and the most seconds that a task is likely to take."""
        seconds, spread = self.seconds(task), self._spread(task)
        return seconds / spread, seconds * spread

    def _preparing_s(self, source: DataSource) -> float:
        if source.signature not in self._data_s:
            self._data_s[source.signature] = whole_s(self._plan, source, self.store)
        return self._data_s[source.signature]

    def _spread(self, task: Task) -> float:
        if isinstance(task, WeightsDownload | DataSource):
            return SPREAD_OF_GUESSES
        return SPREAD_OF_OTHERS if isinstance(task, Probe) else self._rate(task).spread

    def measured(self, task: Task) -> bool:
        """Return whether the answer rests on a measurement and is not only a guess."""
        if isinstance(task, WeightsDownload | DataSource):
            return False
        return isinstance(task, Probe) or self._rate(task).source != "guess"

    def learn(self, task: Task, seconds: float) -> None:
        """Take in that a task has finished after so many seconds; later answers follow."""
        if isinstance(task, Probe):
            self._probe_s.append(seconds)
            self._read_probe(task)
        elif not isinstance(task, WeightsDownload | DataSource) and seconds > 0 and task.flops > 0:
            self._learn(task, seconds)
        self._cache.clear()

    def _learn(self, task: TimedTask, seconds: float) -> None:
        drawing_s = seconds
        if isinstance(task, Evaluation):
            fixed = self._scoring.get(task.features.name, SCORING_SHARE * seconds)
            drawing_s = max(seconds - fixed, (1 - SCORING_SHARE) * seconds / 2)
        rate = drawing_s / task.flops
        self._ratios[task.kind].append(rate / self._base(task).seconds)
        self._own[_key(task)].append(rate)

    def _evaluation_s(self, task: Evaluation, drawn: float) -> float:
        """What is left to draw, and the scoring, which does not grow with the number of images as drawing does."""
        fixed = self._scoring.get(task.features.name, self._scoring.get(None))
        if fixed is None:
            fixed = SCORING_SHARE * drawn
        return drawn * self._share_undrawn(task) + fixed

    def _share_undrawn(self, task: Evaluation) -> float:
        """The share of a drawing that is missing: scoring images again takes little time."""
        if task.drawing not in self._drawings:
            return 1.0
        key = (task.drawing, task.features, task.num_segments)
        if key not in self._undrawn:
            there = len(drawn_segments(self.store, task.drawing, task.features.signature))
            self._undrawn[key] = max(0.0, 1 - there / task.num_segments)
        return self._undrawn[key]

    # rates ----------------------------------------------------------------------------------------

    def _rate(self, task: TimedTask) -> Rate:
        key = _key(task)
        rate = self._cache.get(key) or self._rate_of(task, key)
        self._cache[key] = rate  # which another thread may clear at any time
        return rate

    def _rate_of(self, task: TimedTask, key: SpeedKey) -> Rate:
        own = list(self._own.get(key, ()))
        if own:
            return Rate.of(own, "results", SPREAD_OF_RESULTS)
        base, ratios = self._base(task), list(self._ratios.get(task.kind, ()))
        if not ratios:
            return base
        source: Source = "others" if base.source == "guess" else base.source
        return Rate(base.seconds * statistics.median(ratios), min(base.spread, SPREAD_ONCE_CORRECTED), source)

    def _base(self, task: TimedTask) -> Rate:
        """The rate of a task before any like it has finished."""
        if isinstance(task, SweepTask):
            probe = self._by_probe.get(self._probes[own_training(task).signature].signature)
            if probe is not None:
                return self._from_probe(task, probe)
        others = (TrainingResult, EvaluationResult)
        for result_type in (task.result_type, *(reversed(others) if isinstance(task, ExactSolution) else others)):
            if result_type in self._others:
                return self._others[result_type]
        return Rate(1 / GUESSED_FLOPS_PER_S[CPU if self.device == CPU else "gpu"], SPREAD_OF_GUESSES, "guess")

    def _from_probe(self, task: SweepTask, probe: ProbeResult) -> Rate:
        assert probe.training is not None and probe.drawing is not None
        forward = 1000 * forward_flops(own_training(task).network)
        spread = max(SPREAD_OF_PROBES, probe.training.spread)
        if isinstance(task, Training):
            seconds = probe.training.kimg_s / (FORWARDS_PER_TRAINING_IMAGE * forward)
            team = TEAM_EFFICIENCY * self.num_gpus if self.num_gpus > 1 else 1.0
            return Rate(seconds / team, spread, "probe")
        of_drawing = probe.drawing.forward_s / forward
        extracting = sum(min(images, task.config.images) * extractor_flops(s.name) for s, images in task.spaces)
        guessed = extracting / GUESSED_FLOPS_PER_S[CPU if self.device == CPU else "gpu"]
        return Rate(of_drawing + guessed / max(task.flops, 1.0), spread, "probe")

    # reading --------------------------------------------------------------------------------------

    def _read_probe(self, probe: Probe) -> None:
        result = self.store.result(ProbeResult, probe.signature)
        if result is not None and result.fits and result.device == self.device:
            self._by_probe[probe.signature] = result

    def _read_results(self, plan: Plan) -> None:
        tasks: dict[type[TaskResult], dict[str, TimedTask]] = {kind: {} for kind in get_args(TaskResult)}
        for task in (*plan.trainings.values(), *plan.evaluations.values(), *plan.preparations.values()):
            if not isinstance(task, WeightsDownload):
                tasks[task.result_type][task.signature] = task
        scoring: defaultdict[Features | Extension | None, list[float]] = defaultdict(list)
        for result_type, own in tasks.items():
            rates = []
            for task, result in self._results(result_type, own):
                rate = result.seconds / result.flops
                rates.append(rate)
                if task is not None:
                    self._own[_key(task)].append(rate)
                if isinstance(result, EvaluationResult):
                    names = {None, task.features.name} if isinstance(task, Evaluation) else {None}
                    for name in names:
                        scoring[name].append(result.scoring_seconds)
            if rates:
                self._others[result_type] = Rate.of(rates, "others", SPREAD_OF_OTHERS)
        self._scoring = {name: statistics.median(seconds) for name, seconds in scoring.items()}

    def _results(
        self, result_type: type[TaskResult], own: dict[str, TimedTask]
    ) -> Iterator[tuple[TimedTask | None, TaskResult]]:
        """Some results of a kind on this kind of device; first those of the plan, with their tasks."""
        there = self.store.signatures(result_type.kind)
        for name in _sample(own, set(there)):
            result = self._usable(result_type, name)
            if result is not None:
                yield own[name], result
        others = (self.store.folder(result_type.kind, name) for name in there if name not in own)
        for folder in newest(others, MOST_OTHERS):
            result = self._usable(result_type, folder.name)
            if result is not None:
                yield None, result

    def _usable(self, result_type: type[TaskResult], name: str) -> TaskResult | None:
        result = self.store.result(result_type, name)
        is_of_use = result is not None and result.device == self.device and result.seconds and result.flops
        return result if is_of_use else None


def _key(task: TimedTask) -> SpeedKey:
    if isinstance(task, FeatureClassifier):
        return task.kind, task.config, task.data.channels, task.data.resolution
    if isinstance(task, ReferenceStatistics):
        return task.kind, task.features.name, task.data.channels, task.data.resolution
    if isinstance(task, Training):
        return task.kind, task.network, task.config.batch_size, task.config.precision
    guide = task.guide.network if task.guide else None
    if isinstance(task, ExactSolution):
        return task.kind, task.training.network, guide
    return task.kind, task.training.network, guide, task.sampling.precision, task.features.name


def _sample(own: dict[str, TimedTask], there: set[str]) -> list[str]:
    """Signatures of the plan's tasks that the store has, a few of every network."""
    counts: Counter[SpeedKey] = Counter()
    names: list[str] = []
    for name in (name for name in own if name in there):
        key = _key(own[name])
        counts[key] += 1
        if counts[key] <= MOST_ALIKE:
            names.append(name)
        if len(names) == MOST_RESULTS:
            break
    return names
