"""Plans of sweeps that were run on a store, without their files."""

from __future__ import annotations

from collections.abc import Collection

from experiments.errors import UserError
from experiments.store.registry import past_records, record_of, record_path, remembered
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.recorded import Content, read_plan, read_sweep
from experiments.sweep.spec import Sweep


def past_plans(store: Store, without: Collection[str] = ()) -> list[Plan]:
    """Return the plans that sweeps had in earlier runs and no longer have, as their file or overrides have changed.

    without: names of sweeps to leave out. Raises UserError where a record cannot be read.
    """
    records = [(record, path) for record, path in past_records(store) if record.get("name") not in without]
    return [read_plan(record, path, store) for record, path in records]


def recall(name: str, store: Store) -> Plan:
    """Return the plan of a sweep that was run on a store, without reading its file; raises UserError."""
    return read_plan(_record(name, store), record_path(name, store), store)


def recall_sweep(name: str, store: Store) -> Sweep:
    """Return a sweep that was run on a store, without reading its file; raises UserError."""
    return read_sweep(_record(name, store), record_path(name, store))


def _record(name: str, store: Store) -> Content:
    record = record_of(name, store)
    if record is None:
        names = ", ".join(remembered(store))
        listed = f"sweeps run there: {names}" if names else "no sweep was run there yet"
        raise UserError(
            f"{name}: no such file, and no sweep of that name was run on {store.root} ({listed}); "
            "give a sweep file, such as sweeps/digits.yaml"
        )
    return record
