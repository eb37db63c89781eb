"""From the SWEEP argument of a command to a sweep, a plan or a schedule."""

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
    """Return the sweep of a file, or the sweep of that name that was run with this store; raises UserError."""
    from experiments.inputs import InputFiles
    from experiments.sweep.reader import load_sweep

    if _is_file(text, store):
        return load_sweep(text, overrides, InputFiles())
    # imported only now, so that an error in a file is reported without them
    from experiments.inspection.recall import recall_sweep
    from experiments.store.store import Store

    sweep = recall_sweep(text, Store(store))
    _refuse_overrides(text, overrides)
    return sweep


def plan_of(text: str, store: Path, overrides: tuple[str, ...] = ()) -> Plan:
    """Return the plan of a sweep file, or of a sweep that was run with this store; raises UserError.

    A sweep that was run is planned from its record alone: the files that it names may be gone.
    """
    from experiments.inputs import InputFiles
    from experiments.inspection.recall import recall
    from experiments.store.store import Store
    from experiments.sweep.plan import plan_sweep
    from experiments.sweep.reader import load_sweep

    if _is_file(text, store):
        inputs = InputFiles()
        return plan_sweep(load_sweep(text, overrides, inputs), inputs, holdings=Store(store))
    plan = recall(text, Store(store))
    _refuse_overrides(text, overrides)
    return plan


def _refuse_overrides(text: str, overrides: tuple[str, ...]) -> None:
    """Raise UserError where a sweep without a file is to be changed."""
    if overrides:
        key = overrides[0].partition("=")[0]
        raise UserError(
            f"{text}: {key} can only be overridden for a sweep file; give the file, such as sweeps/{text}.yaml"
        )


def _is_file(text: str, store: Path) -> bool:
    """Whether the argument means a file; a recorded name comes first, but for names that end like a sweep file."""
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
    """Return what is left to do of a sweep, and the store; raises UserError where the file or an option is wrong.

    gpus, cpus: override resources.gpus and resources.cpus.
    """
    resources = [f"resources.{name}={value}" for name, value in (("gpus", gpus), ("cpus", cpus)) if value is not None]
    sweep = sweep_of(text, store, (*(overrides or ()), *resources))
    # imported only now, so that an error in a file is reported without them
    from experiments.inputs import InputFiles
    from experiments.runner.options import Options
    from experiments.runner.resume import open_schedule
    from experiments.store.store import Store
    from experiments.sweep.plan import plan_sweep

    place = Store(store)
    return open_schedule(plan_sweep(sweep, InputFiles(), holdings=place), place, options or Options()), place
