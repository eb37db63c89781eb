"""The records of the sweeps that were run on a store: one JSON file each, written and read by the sweep's name.

<root>/sweeps/<name>.json                  what the last run of a sweep asked for
<root>/sweeps/past/<name>-<digest>.json    what an earlier run asked for, under other cells
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from experiments.names import is_part, require_part
from experiments.store.files import read_json, write_json
from experiments.store.folders import make_inside
from experiments.store.store import Store
from experiments.store.sweep_names import is_variant

SWEEP_FILES = (".yaml", ".yml")  # how the names of sweep files end
FOLDER = "sweeps"
PAST = "past"  # folder in it


def recorded_sweeps(store: Store) -> list[str]:
    """Return the names of all sweeps that were run on a store."""
    return sorted(path.stem for path in (store.root / FOLDER).glob("[!.]*.json") if is_part(path.stem))


def is_recorded(name: str, store: Store) -> bool:
    """Return whether a sweep of that name was run on a store."""
    return is_part(name) and record_path(name, store).is_file()


def means_sweep(text: str, store: Store) -> bool:
    """Return whether a text that a person gave means a sweep, by its file or its name, and not one of its cells."""
    return is_recorded(text, store) or Path(text).suffix in SWEEP_FILES


def means_file(text: str, store: Store) -> bool:
    """Return whether a text that means a sweep is the path of its file, and not the name of a recorded one.

    A recorded name comes first, except for names that end like a sweep file. The name of a variant that was not
    recorded is no file either.
    """
    is_sweep_file = Path(text).suffix in SWEEP_FILES
    if is_recorded(text, store):
        return is_sweep_file
    with suppress(OSError, ValueError):  # too long, or with a character that no path has
        exists = Path(text).exists()
        if is_variant(text) and not is_sweep_file:
            return exists
        return exists or bool(Path(text).suffix) or "/" in text
    return True  # reading it says what is wrong


def read_record(name: str, store: Store) -> dict[str, Any] | None:
    """Return what a store has recorded of a sweep; None where no sweep of that name was run on it."""
    return read_json(record_path(name, store)) if is_part(name) else None


def write_record(name: str, content: dict[str, Any], store: Store) -> None:
    """Record a sweep; what was recorded under its name before is kept as past where its cells were others."""
    path = record_path(name, store)
    before = read_json(path)
    if before is not None and before.get("cells") != content["cells"]:
        digest = hashlib.sha256(json.dumps(before.get("cells"), sort_keys=True).encode()).hexdigest()[:16]
        kept = path.parent / PAST / f"{name}-{digest}.json"
        make_inside(store.root, kept.parent)
        write_json(kept, before)
    make_inside(store.root, path.parent)
    write_json(path, content)


def named_tasks(name: str, store: Store) -> dict[str, dict[str, str]]:
    """Return the names of a recorded sweep's cells and trainings, each with the signatures of its tasks."""
    return (read_record(name, store) or {}).get("cells", {})


def read_past_records(store: Store) -> list[tuple[dict[str, Any], Path]]:
    """Return what sweeps asked for in earlier runs and no longer do, each with its file; empty where unreadable."""
    return [(read_json(path) or {}, path) for path in sorted((store.root / FOLDER / PAST).glob("[!.]*.json"))]


def forget_sweep(name: str, store: Store) -> None:
    """Delete the record of a sweep and its past; results that it alone refers to become garbage. Raises OSError."""
    record_path(name, store).unlink(missing_ok=True)
    for record, path in read_past_records(store):
        if record.get("name") == name:
            path.unlink(missing_ok=True)


def forget_past(store: Store, keep: Collection[str] = ()) -> None:
    """Delete the records of what sweeps asked for in earlier runs and no longer do. Raises OSError.

    keep: names of sweeps whose records stay.
    """
    for record, path in read_past_records(store):
        if record.get("name") not in keep:
            path.unlink(missing_ok=True)


def record_path(name: str, store: Store) -> Path:
    """Return the file that holds the record of a sweep. Raises ValueError where the name is not one."""
    return store.root / FOLDER / f"{require_part(name)}.json"
