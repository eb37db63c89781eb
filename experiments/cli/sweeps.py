"""From the SWEEP argument to a sweep, a plan or a schedule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.errors import UserError

if TYPE_CHECKING:
    from experiments.runner.options import Options
    from experiments.runner.schedule import Schedule
    from experiments.store.store import Store
    from experiments.sweep.plan import Plan
    from experiments.sweep.spec import Sweep

SWEEP_FILES = (".yaml", ".yml")


def sweep_of(text: str, store: Path, overrides: tuple[str, ...] = ()) -> Sweep:
    """The sweep of a file, or one that the store remembers; raises UserError."""
    from experiments.sweep.reader import load_sweep

    if _is_file(text, store):
        return load_sweep(text, overrides)
    # a wrong file has been answered before these are imported
    from experiments.inspection.recall import recall_sweep
    from experiments.store.store import Store

    sweep = recall_sweep(text, Store(store))
    if overrides:
        raise UserError(
            f"{text}: {overrides[0].partition('=')[0]} can be overridden in a sweep's file alone; give that"
        )
    return sweep


def plan_of(text: str, store: Path, overrides: tuple[str, ...] = ()) -> Plan:
    """The plan of a file, or of a sweep that the store remembers, from what that says alone; raises UserError."""
    from experiments.inspection.recall import recall
    from experiments.store.store import Store
    from experiments.sweep.plan import plan_sweep

    if _is_file(text, store):
        return plan_sweep(sweep_of(text, store, overrides))
    if overrides:
        sweep_of(text, store, overrides)
    return recall(text, Store(store))


def _is_file(text: str, store: Path) -> bool:
    if (store / "sweeps" / f"{text}.json").is_file():
        return Path(text).suffix in SWEEP_FILES
    return Path(text).exists() or bool(Path(text).suffix) or "/" in text


def open_sweep(
    text: str,
    store: Path,
    overrides: list[str] | None,
    gpus: str | None = None,
    cpus: int | None = None,
    options: Options | None = None,
) -> tuple[Schedule, Store]:
    """What is left to do of a sweep, and the store; raises UserError where the file or an option is wrong."""
    own = [f"resources.{name}={value}" for name, value in (("gpus", gpus), ("cpus", cpus)) if value is not None]
    sweep = sweep_of(text, store, (*(overrides or ()), *own))
    from experiments.runner.options import Options
    from experiments.runner.resume import open_schedule
    from experiments.store.store import Store
    from experiments.sweep.plan import plan_sweep

    place = Store(store)
    return open_schedule(plan_sweep(sweep), place, options or Options()), place
