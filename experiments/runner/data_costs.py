"""Estimates how long the preparation of data sets takes, and which of them are tasks for that.

A data set that is ready within seconds is prepared by the run itself, while Ray starts. Any other is a task, beside
those that do not need it.
"""

from __future__ import annotations

from edm.config import Extension
from experiments.runner.allocation import local_resources
from experiments.runner.downloads import downloads
from experiments.store.results import DatasetRecord
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import DataSource

TASK_S = 10.0  # what may take longer is a task
# guesses, not measurements: images a second on one core
DECODED_PER_S = {"celeba": 300.0, "folder": 300.0}  # photographs, which are decoded and resized
COPIED_PER_S = 20_000.0  # of data sets that are arrays already


def unprepared(plan: Plan, store: Store) -> list[DataSource]:
    """Return the data sets of a plan that the store does not hold."""
    return [source for name, source in plan.sources.items() if store.result(DatasetRecord, name) is None]


def data_tasks(plan: Plan, store: Store) -> dict[str, DataSource]:
    """Return the data sets of a plan that are to be prepared and may take longer than ten seconds, by signature.

    How long an extension's takes is not known.
    """
    return {
        source.signature: source
        for source in unprepared(plan, store)
        if isinstance(source.config.name, Extension) or whole_s(plan, source, store) > TASK_S
    }


def preparing_s(plan: Plan, source: DataSource) -> float:
    """Return about how many seconds the preparation of a data set takes on this machine, once its files are there."""
    cores = local_resources(plan.sweep.resources)["CPU"]
    return source.images / (DECODED_PER_S.get(str(source.config.name), COPIED_PER_S) * cores)


def whole_s(plan: Plan, source: DataSource, store: Store) -> float:
    """Return about how many seconds the preparation of a data set takes, with the download of files it lacks."""
    return preparing_s(plan, source) + sum(file.seconds for file in downloads([source], store))
