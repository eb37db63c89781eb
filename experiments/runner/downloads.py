"""Which published files a run would fetch before it starts any task, and about how long that takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edm.config import Extension, Features
from edm.data.catalogue import CATALOGUE
from experiments.environment import data_folder, given_weights
from experiments.runner.data_costs import unprepared
from experiments.store.store import Store
from experiments.sweep.jobs import Task
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import Evaluation

FETCHED_PER_S = 1e7  # bytes; a guess


@dataclass(frozen=True)
class Download:
    """A published file that is not on this machine."""

    file: str
    num_bytes: int

    @property
    def seconds(self) -> float:
        """About how long fetching it takes."""
        return self.num_bytes / FETCHED_PER_S


def downloads(plan: Plan, tasks: Iterable[Task], store: Store) -> list[Download]:
    """Return the files that a run of a plan's `tasks` would fetch: of data sets, and weights of feature extractors."""
    left = list(tasks)
    if not left:
        return []
    return [*_of_data_sets(plan, store), *_of_weights(task for task in left if isinstance(task, Evaluation))]


def _of_data_sets(plan: Plan, store: Store) -> Iterator[Download]:
    names = dict.fromkeys(str(source.config.name) for source in unprepared(plan, store))
    for name in (name for name in names if name in CATALOGUE and CATALOGUE[name].files):
        from edm.data.sources import Origin  # heavy: urllib

        origin = Origin.fetching(data_folder(store.root))
        if any(origin.archives(name)):
            continue
        for file in CATALOGUE[name].files:
            if file.needed and not any(origin.find(name, each) for each in (file.name, file.unpacked)):
                yield Download(file.name, file.size)


def _of_weights(evaluations: Iterable[Evaluation]) -> Iterator[Download]:
    names: set[Features | Extension] = {space.name for evaluation in evaluations for space, _ in evaluation.spaces}
    for name in sorted(names - {"classifier"}, key=str):  # which is trained here
        if isinstance(name, Extension):
            continue
        from edm.metrics.weights import PUBLISHED, WeightsError, present_weights  # heavy: urllib

        weights = PUBLISHED[name]
        try:
            there = present_weights(weights, given_weights())
        except WeightsError:
            continue  # of a file that a person gave: the run says what is wrong with it
        if there is None:
            yield Download(weights.file, weights.bytes)
