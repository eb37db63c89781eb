"""Records the plan of every sweep that is run on a store, and recalls it without the sweep file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from experiments.errors import UserError
from experiments.store.store import Store
from experiments.store.sweep_names import is_variant
from experiments.store.sweep_records import (
    is_recorded,
    read_past_records,
    read_record,
    record_path,
    recorded_sweeps,
    write_record,
)
from experiments.sweep.plan import Plan
from experiments.sweep.serialisation import Content, plan_from_json, plan_to_json, sweep_from_json
from experiments.sweep.spec import Sweep
from experiments.wording import did_you_mean

SWEEPS = "sweeps"  # the folder of the current one in which people keep sweep files


def record_plan(plan: Plan, store: Store) -> None:
    """Record a plan under its sweep's name, for commands that have only the store."""
    write_record(plan.sweep.name, plan_to_json(plan), store)


def record_request(whole: Plan, asked: Plan, store: Store) -> None:
    """Record what a run is asked for, and the whole sweep where a run of some cells is the first of it."""
    record_plan(asked, store)
    name = whole.sweep.name
    if not is_variant(name) and read_record(name, store) is None:
        record_plan(whole, store)


def recall_past_plans(store: Store, without: Collection[str] = (), only: Collection[str] | None = None) -> list[Plan]:
    """Return the plans that sweeps had in earlier runs and no longer have, as their file or overrides have changed.

    without: names of sweeps to leave out. only: those to return. Raises UserError where a record cannot be read.
    """
    chosen = [
        (record, path)
        for record, path in read_past_records(store)
        if record.get("name") not in without and (only is None or record.get("name") in only)
    ]
    return [plan_from_json(record, path, store) for record, path in chosen]


def recall_plan(name: str, store: Store) -> Plan:
    """Return the plan of a sweep that was run on a store, without reading its file; raises UserError."""
    return plan_from_json(_record(name, store), record_path(name, store), store)


def recall_sweep(name: str, store: Store) -> Sweep:
    """Return a sweep that was run on a store, without reading its file; raises UserError."""
    return sweep_from_json(_record(name, store), record_path(name, store))


def unknown_sweep(name: str, store: Store) -> str:
    """Return that no sweep of a name was run on a store, and which sweep or sweep file a person may have meant."""
    known = {sweep: repr(sweep) for sweep in recorded_sweeps(store)}
    files = {path.stem: str(path) for folder in (SWEEPS, ".") for path in sorted(Path(folder).glob("[!.]*.yaml"))}
    choices = files | known
    listed = f"its sweeps: {', '.join(known)}" if known else "no sweep was run with it yet"
    remedy = did_you_mean(name, choices, choices.__getitem__) or "give a sweep file, such as sweeps/digits.yaml"
    return f"no sweep of that name was run with the store {store.root} ({listed}); {remedy}"


def _record(name: str, store: Store) -> Content:
    record = read_record(name, store)
    if record is None and is_recorded(name, store):
        raise UserError(
            f"{record_path(name, store)}: cannot be read; run the sweep again from its file to replace it, or delete it"
        )
    if record is None:
        raise UserError(f"{name}: no such file, and {unknown_sweep(name, store)}")
    return record
