"""The command gc."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.completion import complete_sweeps
from experiments.cli.options import DEFAULT_STORE, AsJson, StoreFolder
from experiments.cli.output import console_for, print_json, same_command, say, waiting
from experiments.cli.sweeps import plan_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from experiments.inspection.garbage import Garbage
    from experiments.store.store import Store
    from experiments.sweep.plan import Plan

MOST_ROWS = 40


def gc(
    sweeps: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SWEEP",
            help="Sweep files that count as well, beside all sweeps that were run on the store.",
            autocompletion=complete_sweeps,
        ),
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it. Without this, nothing is.")] = False,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="POLICY",
            help="Which checkpoints of finished trainings stay: last, best, all, or kimg such as 1000,5000. "
            "By default what the sweeps say (training.keep).",
        ),
    ] = None,
    drawings: Annotated[
        bool,
        typer.Option("--drawings", help="Features of images, too, whose scores are all there: more scores draw anew."),
    ] = False,
    data: Annotated[bool, typer.Option("--data", help="Prepared data sets as well that no sweep uses.")] = False,
    past: Annotated[
        bool,
        typer.Option("--past", help="What sweeps asked for in earlier runs alone: before a change, by another --set."),
    ] = False,
    forget: Annotated[
        list[str] | None,
        typer.Option(metavar="SWEEP", help="Act as if this sweep had never been run on the store. May be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what of a store nothing refers to and what a policy would free, with sizes; with --yes, delete it.

    What sweeps that were run on the store refer to stays, be it in earlier runs, and so does what anybody is at.
    """
    from experiments.inspection import garbage
    from experiments.store.store import Store

    place, console = Store(store), console_for(as_json)
    wanted = garbage.CleanupPolicy(garbage.parse_keep(keep) if keep is not None else None, drawings, data)
    with waiting(console, "looking through the store"):
        items = garbage.survey(place, _plans(store, list(sweeps or ()), list(forget or ()), past), wanted)
    freed = _free(items, place, list(forget or ()), past, console) if yes else None
    if as_json:
        rows = [{**asdict(item), "path": str(item.path)} for item in items]
        print_json({"items": rows, "bytes": _total(items if freed is None else freed), "deleted": yes})
        return
    _show_items(items, freed, place, console)


def _free(items: list[Garbage], store: Store, forgotten: list[str], with_past: bool, console: Console) -> list[Garbage]:
    """Delete things, and what protected them; those that were deleted, as some may be in use by now."""
    from experiments.cli.views.progress import progress
    from experiments.inspection import garbage
    from experiments.store.registry import forget, forget_past

    for name in forgotten:
        forget(name, store)
    if with_past:
        forget_past(store)
    freed: list[Garbage] = []
    with progress(console, "deleting", "things") as on_progress:
        for item in garbage.free(store, items):
            freed.append(item)
            on_progress(len(freed), len(items))
    return freed


def _show_items(items: list[Garbage], freed: list[Garbage] | None, store: Store, console: Console) -> None:
    """What could be freed, or what of it was."""
    if not items:
        say(console, f"{store.root}: nothing could be freed.")
        return
    console.print(_items_table(items))
    if freed is None:
        say(console, f"{_size(_total(items))} could be freed. Nothing was deleted; to do it: {same_command()} --yes")
        return
    left = len(items) - len(freed)
    used = f"; {left} of {len(items)} things are in use by now" if left else ""
    say(console, f"Freed {_size(_total(freed))}{used}.")


def _total(items: list[Garbage]) -> int:
    return sum(item.size for item in items)


def _plans(store: Path, files: list[str], forgotten: list[str], without_past: bool) -> list[Plan]:
    """Of all sweeps that were run on a store, now and earlier, but those to be forgotten; and of files."""
    from experiments.errors import UserError
    from experiments.inspection.recall import past_plans, recall
    from experiments.store.registry import remembered
    from experiments.store.store import Store

    place = Store(store)
    known = remembered(place)
    for name in forgotten:
        if name not in known:
            raise UserError(
                f"--forget {name}: no sweep of that name was run on {place.root} ({', '.join(known) or 'none'})"
            )
    kept = [recall(name, place) for name in known if name not in forgotten]
    if not without_past:
        kept += past_plans(place, forgotten)
    return [*kept, *(plan_of(file, store) for file in files)]


def _items_table(items: list[Garbage]) -> Table:
    from rich.table import Table
    from rich.text import Text

    reasons = {
        "unused": "no sweep refers to it",
        "policy": "a checkpoint that is not to be kept",
        "drawings": "features of images that are scored",
        "abandoned": "of a run that was killed",
        "damaged": "set aside as damaged",
    }
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in ("what", "why", "size"):
        table.add_column(header, justify="right" if header == "size" else "left")
    for item in sorted(items, key=lambda item: -item.size)[:MOST_ROWS]:
        table.add_row(Text(f"{item.kind}/{item.name}"), reasons[item.reason], _size(item.size))
    if len(items) > MOST_ROWS:
        table.add_row(f"... and {len(items) - MOST_ROWS} smaller ones (--json has all)")
    return table


def _size(number: int) -> str:
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= scale:
            return f"{number / scale:,.1f} {unit}"
    return f"{number} bytes"
