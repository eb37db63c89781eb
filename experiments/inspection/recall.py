"""Plans of the sweeps that a store remembers."""

from __future__ import annotations

from collections.abc import Collection

from experiments.errors import UserError
from experiments.store.files import read_json
from experiments.store.registry import FOLDER, PAST, record_path, remembered
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.recorded import Content, read_plan, read_sweep
from experiments.sweep.spec import Sweep


def past_plans(store: Store, without: Collection[str] = ()) -> list[Plan]:
    """What sweeps asked for in earlier runs and no longer do: before their file was changed, or by other overrides."""
    paths = sorted((store.root / FOLDER / PAST).glob("[!.]*.json"))
    contents = [(read_json(path) or {}, path) for path in paths]
    return [read_plan(content, path) for content, path in contents if content.get("name") not in without]


def recall(name: str, store: Store) -> Plan:
    """The plan of a remembered sweep, from what the store says alone. Raises UserError where there is none."""
    return read_plan(_content(name, store), record_path(name, store))


def recall_sweep(name: str, store: Store) -> Sweep:
    """The same as a sweep, as its file was."""
    return read_sweep(_content(name, store), record_path(name, store))


def _content(name: str, store: Store) -> Content:
    path = record_path(name, store)
    content = read_json(path) if path.name == f"{name}.json" and path.parent == store.root / FOLDER else None
    if content is None:
        known = ", ".join(remembered(store)) or "none yet"
        raise UserError(
            f"{name}: no such file, and no sweep of that name was run on {store.root} (there: {known}); "
            "give a sweep's file, such as sweeps/digits.yaml"
        )
    return content
