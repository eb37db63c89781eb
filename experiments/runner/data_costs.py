"""Estimates how long the preparation of data sets takes, which a run does before it starts any task."""

from __future__ import annotations

from experiments.runner.allocation import local_resources
from experiments.store.results import DatasetRecord
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import DataSource

# guesses, not measurements: images a second on one core
DECODED_PER_S = {"celeba": 300.0, "folder": 300.0}  # photographs, which are decoded and resized
COPIED_PER_S = 20_000.0  # of data sets that are arrays already


def unprepared(plan: Plan, store: Store) -> list[DataSource]:
    """Return the data sets of a plan that the store does not hold."""
    return [source for name, source in plan.sources.items() if store.result(DatasetRecord, name) is None]


def preparing_s(plan: Plan, source: DataSource) -> float:
    """Return about how many seconds the preparation of a data set takes on this machine, once its files are there."""
    cores = local_resources(plan.sweep.resources)["CPU"]
    return images_of(source) / (DECODED_PER_S.get(str(source.config.name), COPIED_PER_S) * cores)


def images_of(source: DataSource) -> int:
    """Return how many images a data set has."""
    return sum(source.sizes.values())
