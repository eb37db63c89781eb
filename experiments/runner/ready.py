"""The tasks that could start now: probes, preparations, trainings, longest first, then evaluations.

Short evaluations share a trial.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

from experiments.sweep.jobs import Task
from experiments.sweep.tasks import Evaluation, Training

JOINED_S = 60.0  # evaluations are joined into trials of about this length: ten times what a cold worker takes to start
Entry = tuple[float, int, str]  # minus the seconds, the place in the plan, the signature: longest first, then in order


class ReadyQueue:
    """Hands out what is ready. Entries of tasks that are no longer ready stay in it and are passed over.

    is_ready: whether a task could be started now.
    """

    def __init__(self, tasks: Mapping[str, Task], order: Mapping[str, int], is_ready: Callable[[str], bool]) -> None:
        self._tasks, self._order, self._is_ready = tasks, order, is_ready
        self._first: list[Entry] = []  # probes, preparations and trainings
        self._evaluations: list[Entry] = []
        self._by_training: defaultdict[str, list[Entry]] = defaultdict(list)  # the same evaluations
        self._seconds: dict[str, float] = {}  # of evaluations in the queue
        self._total_s = 0.0
        self._drawings = Drawings()

    def offer(self, signature: str, seconds: float) -> None:
        """Queue a task that is ready, and takes so many seconds."""
        task, place = self._tasks[signature], self._order[signature]
        entry = (-seconds, place, signature)
        if isinstance(task, Training):
            heapq.heappush(self._first, entry)
        elif isinstance(task, Evaluation):
            heapq.heappush(self._evaluations, entry)
            heapq.heappush(self._by_training[task.training.signature], entry)
            self._total_s += seconds - self._seconds.get(signature, 0.0)
            self._seconds[signature] = seconds
        else:  # a probe's result is needed to share out the rest; many evaluations wait for a preparation
            heapq.heappush(self._first, (-float("inf"), place, signature))

    def withdraw(self, signature: str) -> None:
        """Remove an evaluation's time from the total."""
        self._total_s -= self._seconds.pop(signature, 0.0)

    def take(self, workers: int) -> list[str]:
        """Return the signatures of the next job, none where nothing is ready; evaluations are shared by `workers`."""
        first = self._pop(self._first)
        return [first[2]] if first is not None else self._take_evaluations(workers)

    def ended(self, evaluation: Evaluation) -> list[str]:
        """Note that a trial no longer works on an evaluation; return what waited for its images."""
        return self._drawings.release(evaluation.drawing)

    def _pop(self, heap: list[Entry]) -> Entry | None:
        while heap:
            entry = heapq.heappop(heap)
            if self._is_ready(entry[2]):
                return entry
        return None

    def _take_evaluations(self, workers: int) -> list[str]:
        """The longest evaluation, joined by others of its training as long as enough is left for all workers."""
        limit_s = min(JOINED_S, self._total_s / (2 * workers))
        taken: list[Evaluation] = []
        while (entry := self._pop(self._evaluations)) is not None:
            minus_s, _, signature = entry
            if self._claim(signature, taken):
                self._join(taken, -minus_s, limit_s)
                break
        return [evaluation.signature for evaluation in taken]

    def _join(self, taken: list[Evaluation], seconds: float, limit_s: float) -> None:
        """Add evaluations of the same training to one of so many seconds, up to a length in all."""
        others = self._by_training[taken[0].training.signature]
        while others and (not self._is_free(others[0][2], taken) or seconds - others[0][0] <= limit_s):
            minus_s, _, signature = heapq.heappop(others)
            if self._is_free(signature, taken) and self._claim(signature, taken):
                seconds -= minus_s

    def _is_free(self, signature: str, taken: list[Evaluation]) -> bool:
        return self._is_ready(signature) and all(other.signature != signature for other in taken)

    def _claim(self, signature: str, taken: list[Evaluation]) -> bool:
        """Take an evaluation, unless another trial draws the very images: then it waits for them."""
        evaluation = self._tasks[signature]
        assert isinstance(evaluation, Evaluation)
        if not self._drawings.claim(evaluation, taken):
            return False
        self.withdraw(signature)
        taken.append(evaluation)
        return True


class Drawings:
    """The drawings that trials work on: evaluations that score the very same images wait for each other."""

    def __init__(self) -> None:
        self._claims: Counter[str] = Counter()
        self._waiting: defaultdict[str, list[str]] = defaultdict(list)

    def claim(self, evaluation: Evaluation, job: list[Evaluation]) -> bool:
        """Claim an evaluation's drawing for a job; where another job has it, let the evaluation wait."""
        drawing = evaluation.drawing
        if self._claims[drawing] and all(other.drawing != drawing for other in job):
            self._waiting[drawing].append(evaluation.signature)
            return False
        self._claims[drawing] += 1
        return True

    def release(self, drawing: str) -> list[str]:
        """End a claim; return the evaluations that waited for it, once nobody claims it any more."""
        self._claims[drawing] -= 1
        return [] if self._claims[drawing] else self._waiting.pop(drawing, [])
