"""The command gc."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.completion import complete_sweeps
from experiments.cli.options import AsJson, StoreFolder
from experiments.cli.output import console_for, print_json, same_command, say, show, waiting
from experiments.cli.parsing import parse_keep
from experiments.cli.sweeps import plan_of
from experiments.environment import DEFAULT_STORE
from experiments.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.inspection.garbage import Garbage
    from experiments.store.store import Store
    from experiments.sweep.plan import Plan


MoreSweeps = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SWEEP",
        help="Further sweep files whose results to keep. Sweeps that were run with this store need not be given.",
        autocompletion=complete_sweeps,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Delete what is listed. Nothing is deleted without it.")]
KeepPolicy = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY",
        help="The checkpoints of finished trainings to keep: last, best, all, or a list of kimg such as 1000,5000. "
        "By default, those that each sweep's training.keep says.",
    ),
]
Drawings = Annotated[
    bool,
    typer.Option(
        "--drawings",
        help="Also delete the features of drawn images whose scores are complete; new scores then need the images "
        "to be drawn again.",
    ),
]
States = Annotated[
    bool,
    typer.Option(
        "--states",
        help="Also delete the states at the ends of trainings, where longer ones would begin; they take about four "
        "times the space of the models.",
    ),
]
UnusedData = Annotated[bool, typer.Option("--data", help="Also delete prepared data sets that no sweep uses.")]
Past = Annotated[
    bool,
    typer.Option(
        "--past", help="Also delete what only earlier versions of sweeps refer to: from before the file was changed."
    ),
]
Forget = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SWEEP",
        help="Also delete what only this sweep refers to, as if it had never been run. Its report and its MLflow "
        "experiment stay. Can be repeated.",
    ),
]
Reports = Annotated[bool, typer.Option("--reports", help="Also delete the reports of the sweeps that --forget names.")]


def gc(
    sweeps: MoreSweeps = None,
    store: StoreFolder = DEFAULT_STORE,
    yes: Yes = False,
    keep: KeepPolicy = None,
    drawings: Drawings = False,
    states: States = False,
    data: UnusedData = False,
    past: Past = False,
    forget: Forget = None,
    reports: Reports = False,
    as_json: AsJson = False,
) -> None:
    """List what can be deleted from a store, with sizes, and delete it with --yes.

    By default it lists what no sweep that was run with this store refers to, and checkpoints that no sweep keeps. It
    leaves out results of earlier versions of sweeps, and whatever an active run works on.
    """
    from experiments.inspection import garbage
    from experiments.store.active_runs import active_runs
    from experiments.store.store import Store

    place, console, forgotten = Store(store), console_for(as_json), list(dict.fromkeys(forget or ()))
    if reports and not forgotten:
        raise UserError("--reports: deletes the reports of sweeps that --forget names; give --forget SWEEP, too")
    unwanted = tuple(forgotten) if reports else ()
    kept = parse_keep(keep) if keep is not None else None
    policy = garbage.CleanupPolicy(kept, drawings, states, data, unwanted)
    with waiting(console, "looking through the store"):
        active = {run.sweep for run in active_runs(place)}
        items = garbage.survey(place, _plans(place, list(sweeps or ()), forgotten, past, active), policy)
    freed = _free(items, place, forgotten, past, active, console) if yes else None
    deleted = {item.path for item in (items if freed is None else freed)}  # or to be deleted
    left = [(name, _report_left(name, place, deleted)) for name in forgotten]
    if as_json:
        print_json(_as_json(items, freed, left))
        return
    _show(items, freed, place, console)
    for name, report in left:
        say(console, _what_stays(name, report, deleted=yes))


def _as_json(items: list[Garbage], freed: list[Garbage] | None, left: list[tuple[str, Path | None]]) -> dict[str, Any]:
    """Return what can be deleted (freed None) or was, and what stays of sweeps that are forgotten, as JSON."""
    gone = {item.path for item in freed or ()}
    rows = [{**asdict(item), "path": str(item.path), "deleted": item.path in gone} for item in items]
    stays = [{"sweep": name, "report": str(kept) if kept else None, "experiment": name} for name, kept in left]
    freed_bytes = _total(items if freed is None else freed)
    return {"items": rows, "bytes": freed_bytes, "deleted": freed is not None, "stays": stays}


def _report_left(name: str, store: Store, deleted: Collection[Path]) -> Path | None:
    """Return the report that is left, or would be left, of a sweep that is forgotten."""
    report = store.report_folder(name)
    return report if report not in deleted and report.is_dir() else None


def _what_stays(name: str, report: Path | None, deleted: bool) -> str:
    """Return in words what is left, or would be left, of a sweep that is forgotten."""
    experiment = f"MLflow keeps the experiment {name}, if it has one; delete it in MLflow's UI."
    if report is None:
        return experiment
    return f"The report in {report} stays{'' if deleted else ', unless you add --reports'}. {experiment}"


def _plans(
    store: Store, files: list[str], forgotten: list[str], without_past: bool, active: Collection[str]
) -> list[Plan]:
    """The plans whose results stay: of sweeps that were run with the store, of their earlier versions, and of files.

    active: the sweeps that are running. Their earlier versions always stay, as a run may have begun with one.
    """
    from experiments.store.sweep_records import recorded_sweeps
    from experiments.tracking.records import recall_past_plans, recall_plan, unknown_sweep

    names = recorded_sweeps(store)
    for name in forgotten:
        if name not in names:
            raise UserError(f"--forget {name}: {unknown_sweep(name, store)}")
        if name in active:
            raise UserError(f"--forget {name}: is running; wait for it, or end it with 'edm-sweep cancel {name}'")
    plans = [recall_plan(name, store) for name in names if name not in forgotten]
    plans += recall_past_plans(store, forgotten, active if without_past else None)
    return [*plans, *(plan_of(file, store.root) for file in files)]


def _free(
    items: list[Garbage],
    store: Store,
    forgotten: list[str],
    with_past: bool,
    active: Collection[str],
    console: Console,
) -> list[Garbage]:
    """Delete items, and the records of sweeps that protected them. Returns those that are gone.

    Raises UserError where the store cannot be written, and OSError where a record may not be deleted.
    """
    from experiments.cli.views.progress import progress
    from experiments.inspection import garbage
    from experiments.store.sweep_records import forget_past, forget_sweep

    if store.root.is_dir():
        store.create()
    for name in forgotten:
        forget_sweep(name, store)
    if with_past:
        forget_past(store, active)
    freed: list[Garbage] = []
    with progress(console, "deleting", "items") as on_progress:
        for item in garbage.free(store, items):
            freed.append(item)
            on_progress(len(freed), len(items))
    return freed


def _show(items: list[Garbage], freed: list[Garbage] | None, store: Store, console: Console) -> None:
    """Print what can be deleted (freed None), or what was."""
    from experiments.cli.views.garbage import garbage_table
    from experiments.wording import count, size

    if not items:
        say(console, f"{store.root}: nothing to delete.")
        return
    show(console, garbage_table(items))
    if freed is None:
        say(console, f"{size(_total(items))} can be freed. Nothing was deleted; to delete it: {same_command()} --yes")
        return
    left = len(items) - len(freed)
    why = "because an active run uses them, or this account may not delete them"
    stayed = f" {left:,} of {count(len(items), 'item')} stayed, {why}." if left else ""
    say(console, f"Freed {size(_total(freed))}.{stayed}")


def _total(items: list[Garbage]) -> int:
    return sum(item.size for item in items)
