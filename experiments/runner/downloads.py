"""Which published files of data sets a run would fetch before its first task, and about how long that takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edm.data.catalogue import CATALOGUE
from experiments.environment import data_folder
from experiments.runner.data_costs import unprepared
from experiments.runner.durations import FETCHED_PER_S
from experiments.store.store import Store
from experiments.sweep.plan import Plan


@dataclass(frozen=True)
class Download:
    """A published file that is not on this machine."""

    file: str
    num_bytes: int

    @property
    def seconds(self) -> float:
        """About how long fetching it takes."""
        return self.num_bytes / FETCHED_PER_S


def downloads(plan: Plan, store: Store) -> Iterator[Download]:
    """Yield the files of data sets that a run of a plan would fetch."""
    names = dict.fromkeys(str(source.config.name) for source in unprepared(plan, store))
    for name in (name for name in names if name in CATALOGUE and CATALOGUE[name].files):
        from edm.data.sources import Origin  # heavy

        origin = Origin.fetching(data_folder(store.root))
        if any(origin.archives(name)):
            continue
        for file in CATALOGUE[name].files:
            if file.needed and not any(origin.find(name, each) for each in (file.name, file.unpacked)):
                yield Download(file.name, file.size)
