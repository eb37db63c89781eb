"""The environment: variables that say where the store, data and weights are, and what processes that start inherit."""

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


def inherited(**changes: str) -> dict[str, str]:
    """Return a copy of the environment, with changes, for a process that starts.

    Without a copy, starting one fails with "Bad address" where a thread (an import of Ray or MLflow) sets a variable
    meanwhile and so moves the original.
    """
    names = list(os.environ)
    kept = {name: value for name in names if (value := os.environ.get(name)) is not None}  # a thread may take one away
    return kept | changes
