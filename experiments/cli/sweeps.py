"""From the SWEEP argument of a command to a sweep, a plan or a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.errors import UserError
from experiments.store.sweep_names import MARK

if TYPE_CHECKING:
    from experiments.inputs import InputFiles
    from experiments.runner.options import Options
    from experiments.runner.schedule import Schedule
    from experiments.store.store import Store
    from experiments.sweep.plan import Plan
    from experiments.sweep.spec import Sweep


@dataclass(frozen=True)
class RequestedSweep:
    """A sweep, and the reader of the files that it names, which reads each of them once.

    record: the name under which it was recalled; None where it was read from its file.
    """

    sweep: Sweep
    inputs: InputFiles
    record: str | None = None


def read_sweep(text: str, store: Path, overrides: tuple[str, ...] = ()) -> RequestedSweep:
    """Return the sweep of a file, or the sweep of that name that was run with this store; raises UserError."""
    from experiments.cli.reading import Reading
    from experiments.inputs import InputFiles
    from experiments.store.store import Store
    from experiments.store.sweep_records import means_file
    from experiments.sweep.reader import load_sweep, with_resources

    reading, place = Reading(), Store(store)
    inputs = InputFiles(reading.folder)
    if means_file(text, place):
        with reading.sweep(text):
            return RequestedSweep(load_sweep(text, overrides, inputs), inputs)
    from experiments.tracking.records import recall_sweep  # only now: an error in a file is reported without it

    sweep, resources = recall_sweep(text, place), [each for each in overrides if each.startswith("resources.")]
    _refuse_overrides(text, [each for each in overrides if each not in resources])
    return RequestedSweep(with_resources(sweep, resources, inputs), inputs, text)


def overrides_of(set_: list[str] | None, gpus: str | None, cpus: int | None) -> tuple[str, ...]:
    """Return what --set, --gpus and --cpus-per-trial override, each as FIELD=VALUE."""
    resources = [f"resources.{name}={value}" for name, value in (("gpus", gpus), ("cpus", cpus)) if value is not None]
    return (*(set_ or ()), *resources)


def plan_of(text: str, store: Path, overrides: tuple[str, ...] = ()) -> Plan:
    """Return the plan of a sweep file, or of a sweep that was run with this store; raises UserError.

    A sweep that was run is planned from its record alone: the files that it names may be gone.
    """
    from experiments.store.store import Store
    from experiments.store.sweep_records import means_file
    from experiments.sweep.plan import plan_sweep
    from experiments.tracking.records import recall_plan

    place = Store(store)
    if means_file(text, place):
        requested = read_sweep(text, store, overrides)
        return plan_sweep(requested.sweep, requested.inputs, holdings=place)
    plan = recall_plan(text, place)
    _refuse_overrides(text, overrides)
    return plan


def _refuse_overrides(text: str, overrides: Sequence[str]) -> None:
    """Raise UserError where a sweep without a file is to be changed."""
    if overrides:
        key, whole = overrides[0].partition("=")[0], text.partition(MARK)[0]
        raise UserError(
            f"{text}: {key} can only be overridden for a sweep file; give the file, such as sweeps/{whole}.yaml"
        )


def open_sweep(requested: RequestedSweep, store: Path, options: Options) -> tuple[Schedule, Store]:
    """Return what is left to do of a sweep, and the store; raises UserError where the store or an option is wrong."""
    from experiments.runner.resume import open_schedule
    from experiments.store.store import Store

    place = Store(store)
    return open_schedule(_planned(requested, place), place, options), place


def _planned(requested: RequestedSweep, store: Store) -> Plan:
    """Return the plan of a sweep; one without its file goes on from the store where a file that it names is gone.

    Raises UserError where the store does not have what is needed of that file either.
    """
    from edm.data.errors import DataError
    from experiments.inspection.changed_data import changed_files
    from experiments.sweep.plan import plan_sweep

    try:
        plan = plan_sweep(requested.sweep, requested.inputs, holdings=store)
    except (DataError, UserError) as error:
        name = requested.record
        plan = _plan_of_held(name, store) if name is not None else None
        if plan is None:
            where = f"{name}: " if name is not None else ""
            raise UserError(f"{where}{error}") from None
        return replace(plan, remarks=(f"{error}; {name} goes on from what the store holds of it", *plan.remarks))
    return replace(plan, remarks=(*changed_files(plan, store), *plan.remarks))


def _plan_of_held(name: str, store: Store) -> Plan | None:
    """Return the plan of a recorded sweep; None unless the store has all folders of images and networks that it names.

    Other data sets have no files of their own.
    """
    from experiments.tracking.records import recall_plan

    plan = recall_plan(name, store)
    folders = [source for source in plan.sources.values() if source.config.name == "folder"]
    networks = [training for training in plan.trainings.values() if training.pretrained is not None]
    held = all(store.has_result(task.store_kind, task.signature) for task in (*folders, *networks))
    return plan if held else None
