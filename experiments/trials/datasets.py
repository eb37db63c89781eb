"""The data sets of a store: prepared with a progress bar, described, listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from edm.data.errors import DataError
from edm.data.prepare import FILES, prepare
from edm.data.sources import OnProgress, Origin
from experiments.cli.views.progress import showing_progress
from experiments.errors import UserError
from experiments.store.provenance import provenance
from experiments.store.store import Store
from experiments.sweep.tasks import DataSource


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
