"""The sweeps that were run on a store, by name: one JSON file each, written and read by name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from experiments.store.files import read_json
from experiments.store.store import Store

FOLDER = "sweeps"
PAST = "past"  # folder in it, for what was recorded under a name before the sweep of that name changed


def remembered(store: Store) -> list[str]:
    """Return the names of all sweeps that were run on a store."""
    return sorted(path.stem for path in (store.root / FOLDER).glob("[!.]*.json"))


def record_of(name: str, store: Store) -> dict[str, Any] | None:
    """Return what a store has recorded of a sweep; None where no sweep of that name was run on it."""
    path = record_path(name, store)
    is_name = path.name == f"{name}.json" and path.parent == store.root / FOLDER  # no path such as ../x
    return read_json(path) if is_name else None


def named_tasks(name: str, store: Store) -> dict[str, dict[str, str]]:
    """Return the names of a recorded sweep's cells and trainings, each with the signatures of its tasks."""
    return (record_of(name, store) or {}).get("cells", {})


def past_records(store: Store) -> list[tuple[dict[str, Any], Path]]:
    """Return what sweeps asked for in earlier runs and no longer do, each with its file; empty where unreadable."""
    return [(read_json(path) or {}, path) for path in sorted((store.root / FOLDER / PAST).glob("[!.]*.json"))]


def forget(name: str, store: Store) -> None:
    """Delete the record of a sweep and its past; results that it alone refers to become garbage."""
    record_path(name, store).unlink(missing_ok=True)
    for record, path in past_records(store):
        if record.get("name") == name:
            path.unlink()


def forget_past(store: Store) -> None:
    """Delete the records of what sweeps asked for in earlier runs and no longer do."""
    shutil.rmtree(store.root / FOLDER / PAST, ignore_errors=True)


def record_path(name: str, store: Store) -> Path:
    """Return the file that holds the record of a sweep."""
    return store.root / FOLDER / f"{name}.json"
