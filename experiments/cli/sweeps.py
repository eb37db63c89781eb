"""From the SWEEP argument of a command to a sweep, a plan or a schedule."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.errors import UserError
from experiments.names import is_part
from experiments.store.sweep_names import MARK, is_variant

if TYPE_CHECKING:
    from experiments.inputs import InputFiles
    from experiments.runner.options import Options
    from experiments.runner.schedule import Schedule
    from experiments.store.store import Store
    from experiments.sweep.plan import Plan
    from experiments.sweep.spec import Sweep
    from experiments.sweep.tasks import DataSource

SWEEP_FILES = (".yaml", ".yml")


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
    from experiments.sweep.reader import load_sweep

    reading = Reading()
    inputs = InputFiles(reading.folder)
    if _is_file(text, store):
        with reading.sweep(text):
            return RequestedSweep(load_sweep(text, overrides, inputs), inputs)
    # imported only now, so that an error in a file is reported without them
    from experiments.store.store import Store
    from experiments.tracking.records import recall_sweep

    sweep = recall_sweep(text, Store(store))
    _refuse_overrides(text, overrides)
    return RequestedSweep(sweep, inputs, text)


def overrides_of(set_: list[str] | None, gpus: str | None, cpus: int | None) -> tuple[str, ...]:
    """Return what --set, --gpus and --cpus-per-trial override, each as FIELD=VALUE."""
    resources = [f"resources.{name}={value}" for name, value in (("gpus", gpus), ("cpus", cpus)) if value is not None]
    return (*(set_ or ()), *resources)


def plan_of(text: str, store: Path, overrides: tuple[str, ...] = ()) -> Plan:
    """Return the plan of a sweep file, or of a sweep that was run with this store; raises UserError.

    A sweep that was run is planned from its record alone: the files that it names may be gone.
    """
    from experiments.store.store import Store
    from experiments.sweep.plan import plan_sweep
    from experiments.tracking.records import recall_plan

    if _is_file(text, store):
        requested = read_sweep(text, store, overrides)
        return plan_sweep(requested.sweep, requested.inputs, holdings=Store(store))
    plan = recall_plan(text, Store(store))
    _refuse_overrides(text, overrides)
    return plan


def _refuse_overrides(text: str, overrides: tuple[str, ...]) -> None:
    """Raise UserError where a sweep without a file is to be changed."""
    if overrides:
        key, whole = overrides[0].partition("=")[0], text.partition(MARK)[0]
        raise UserError(
            f"{text}: {key} can only be overridden for a sweep file; give the file, such as sweeps/{whole}.yaml"
        )


def is_sweep(text: str, store: Path) -> bool:
    """Return whether an argument means a sweep, be it a file or a recorded one, and not one of its cells."""
    return (store / "sweeps" / f"{text}.json").is_file() or Path(text).suffix in SWEEP_FILES


def _is_file(text: str, store: Path) -> bool:
    """Whether the argument means a file; a recorded name comes first, except for names that end like a sweep file.

    The name of a variant that was not recorded is no file either.
    """
    from experiments.store.store import Store
    from experiments.store.sweep_records import record_path

    if is_part(text) and record_path(text, Store(store)).is_file():
        return Path(text).suffix in SWEEP_FILES
    with suppress(OSError, ValueError):  # too long, or with a character that no path has
        exists = Path(text).exists()
        if is_variant(text) and Path(text).suffix not in SWEEP_FILES:
            return exists
        return exists or bool(Path(text).suffix) or "/" in text
    return True  # reading it says what is wrong


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
    return replace(plan, remarks=(*changed_images(plan, store), *plan.remarks))


def changed_images(plan: Plan, store: Store) -> list[str]:
    """Return a sentence for each folder of images that has changed since the last run of the sweep."""
    from experiments.store.sweep_records import recorded_sweeps
    from experiments.tracking.records import recall_plan

    folders = [source for source in plan.sources.values() if source.config.name == "folder"]
    new = [source for source in folders if not store.has_result(source.store_kind, source.signature)]
    name, before = plan.sweep.name, {}
    if new and name in recorded_sweeps(store):
        with suppress(UserError):  # a record that cannot be read
            before = {source.config: source for source in recall_plan(name, store).sources.values()}
    return [
        f"{source.config.path}: has other images than at the last run of {name} ({_num_images(before[source.config])} "
        f"then, {_num_images(source)} now), so that no earlier result holds for them; with the earlier images, these "
        "results count again"
        for source in new
        if source.config in before
    ]


def _num_images(source: DataSource) -> str:
    return f"{sum(number for _, number in source.splits):,}"


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
