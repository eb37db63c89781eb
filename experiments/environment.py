"""The environment variables that say where the store, data and weights are."""

from __future__ import annotations

import os
from pathlib import Path

STORE_VARIABLE, DEFAULT_STORE = "EDM_SWEEP_STORE", Path("runs")
DATA_VARIABLE = "EDM_SWEEP_DATA"
WEIGHTS_VARIABLE = "EDM_SWEEP_WEIGHTS"


def store_folder() -> Path:
    """Return the folder of the default store: where EDM_SWEEP_STORE points, else `runs` in the current folder."""
    return Path(os.environ.get(STORE_VARIABLE) or DEFAULT_STORE)


def data_folder(store_root: Path) -> Path:
    """Return the folder of published data files: where EDM_SWEEP_DATA points, else `sources` in the store."""
    return Path(os.environ.get(DATA_VARIABLE) or store_root / "sources")


def given_weights() -> Path | None:
    """Return where EDM_SWEEP_WEIGHTS points: a file of weights or a folder of them; None where it is not set."""
    given = os.environ.get(WEIGHTS_VARIABLE)
    return Path(given).expanduser() if given else None
