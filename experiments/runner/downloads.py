"""Which published files of data sets a run would fetch, and about how long that takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edm.data.catalogue import CATALOGUE, SourceFile
from experiments.environment import data_folder
from experiments.store.store import Store
from experiments.sweep.tasks import DataSource

FETCHED_PER_S = 1e7  # bytes of a download; a guess


@dataclass(frozen=True)
class Download:
    """A published file that is not on this machine."""

    dataset: str
    published: SourceFile

    @property
    def file(self) -> str:
        """Its name."""
        return self.published.name

    @property
    def num_bytes(self) -> int:
        """Its size."""
        return self.published.size

    @property
    def seconds(self) -> float:
        """About how long fetching it takes."""
        return self.num_bytes / FETCHED_PER_S


def downloads(sources: Iterable[DataSource], store: Store) -> Iterator[Download]:
    """Yield the files that the preparation of data sets would fetch."""
    names = dict.fromkeys(str(source.config.name) for source in sources)
    for name in (name for name in names if name in CATALOGUE and CATALOGUE[name].files):
        from edm.data.sources import Origin  # heavy

        origin = Origin.fetching(data_folder(store.root))
        if any(origin.archives(name)):
            continue
        for file in CATALOGUE[name].files:
            if file.needed and not any(origin.find(name, each) for each in (file.name, file.unpacked)):
                yield Download(name, file)
