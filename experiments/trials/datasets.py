"""The data sets of a store: prepared with a progress bar, described, listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from edm.data.errors import DataError
from edm.data.prepare import FILES, prepare
from edm.data.sources import OnProgress, Origin
from experiments.cli.views.progress import showing_progress
from experiments.environment import data_folder
from experiments.errors import UserError
from experiments.store.provenance import provenance
from experiments.store.store import Store
from experiments.sweep.tasks import DataSource
from experiments.trials.remedies import explain


def prepare_data(store: Store, source: DataSource, console: Console, origin: Origin | None = None) -> bool:
    """Prepare a data set and show how far that is; False where it is there already. Raises UserError."""
    if store.sound("data", source.signature):
        return False
    with showing_progress(console, source.config.name) as on_progress:
        from experiments.trials.datasets import ensure_prepared  # heavy: numpy

        ensure_prepared(store, source, origin, on_progress)
    return True


def ensure_prepared(
    store: Store,
    source: DataSource,
    origin: Origin | None = None,
    on_progress: OnProgress = lambda _step, _done, _total: None,
) -> dict[str, Any]:
    """Return the record of a prepared data set; it is prepared first if the store does not have it.

    origin: where its files are; by default where EDM_SWEEP_DATA points, else `sources` in the store. Raises UserError
    where files are missing or wrong.
    """

    def build(folder: Path) -> dict[str, Any]:
        try:
            made = prepare(source.config, folder, origin or Origin.fetching(data_folder(store.root)), on_progress)
        except DataError as error:
            raise UserError(explain(error)) from None
        return {**made, "provenance": provenance()}

    return store.ensure("data", source.signature, build, FILES)
