"""The data sets of a store, prepared where they are not there. No torch: a run's driver prepares without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edm.data.errors import DataError
from edm.data.prepare import FILES, prepare
from edm.data.sources import OnProgress, Origin
from experiments.errors import UserError
from experiments.planning import DataSource
from experiments.provenance import provenance
from experiments.store import Store


def ensure_prepared(
    store: Store,
    source: DataSource,
    origin: Origin | None = None,
    on_progress: OnProgress = lambda _step, _done, _total: None,
) -> dict[str, Any]:
    """What is recorded of a prepared data set, prepared first if it is not there, by default from Origin.usual.

    Raises UserError where that is not possible.
    """

    def build(folder: Path) -> dict[str, Any]:
        try:
            made = prepare(source.config, folder, origin or Origin.usual(store.root), on_progress)
        except DataError as error:
            raise UserError(str(error)) from None
        return {**made, "provenance": provenance()}

    return store.ensure("data", source.signature, build, FILES)
