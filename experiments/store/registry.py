"""The sweeps that were run on a store, by name."""

from __future__ import annotations

import shutil
from pathlib import Path

from experiments.store.files import read_json
from experiments.store.store import Store

FOLDER = "sweeps"
PAST = "past"  # folder in it: what was run under a name that now stands for something else


def remembered(store: Store) -> list[str]:
    """The names of all sweeps that were run on a store."""
    return sorted(path.stem for path in (store.root / FOLDER).glob("[!.]*.json"))


def named_work(name: str, store: Store) -> dict[str, dict[str, str]]:
    """What the cells and trainings of a remembered sweep are called: the signatures of each."""
    return (read_json(record_path(name, store)) or {}).get("cells", {})


def forget(name: str, store: Store) -> None:
    """Drop a remembered sweep and its past: what it alone refers to is then referred to by nothing."""
    record_path(name, store).unlink(missing_ok=True)
    for path in (store.root / FOLDER / PAST).glob(f"{name}-*.json"):
        if (read_json(path) or {}).get("name") == name:
            path.unlink()


def forget_past(store: Store) -> None:
    """Drop what sweeps asked for in earlier runs."""
    shutil.rmtree(store.root / FOLDER / PAST, ignore_errors=True)


def record_path(name: str, store: Store) -> Path:
    return store.root / FOLDER / f"{name}.json"
