"""The commands report and export."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.completion import complete_sweeps
from experiments.cli.options import AsJson, Overrides, StoreFolder, SweepArgument, TrackingUri
from experiments.cli.output import command_here, console_for, print_json, say
from experiments.cli.sweeps import plan_of
from experiments.environment import DEFAULT_STORE
from experiments.errors import UserError
from experiments.redaction import redact, without_paths
from experiments.store.sweep_names import variant_name

WithProvenance = Annotated[
    bool,
    typer.Option("--with-provenance", help="Include host names, absolute paths and, in a bundle, the code's diff."),
]

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.store.store import Store
    from experiments.sweep.plan import Plan
    from reports.page import Report


def report(
    sweep: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP",
            help="A sweep file, the name of a sweep that was run with this store, or a bundle that `export` made.",
            autocompletion=complete_sweeps,
        ),
    ],
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
    tracking_uri: TrackingUri = None,
    with_provenance: WithProvenance = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The folder to write. By default reports/NAME in the store."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a sweep's report: tables, figures and one HTML page.

    A run writes it as well, when it ends. Scores come from the store or the bundle, or from MLflow if --tracking-uri is
    given. A bundle's report, and one with --set, get folders of their own. If the store cannot be written, the report
    is written to NAME-report in the current folder.
    """
    from experiments.store.store import Store
    from experiments.tracking.bundle import bundle_digest, is_bundle, opened

    console, place = console_for(as_json), Store(store)
    if is_bundle(Path(sweep)):
        if set_ or tracking_uri:
            raise UserError(f"{sweep}: a bundle holds all that its report needs; leave --set and --tracking-uri out")
        with opened(Path(sweep)) as (plan, bundled):
            name = variant_name(plan.sweep.name, [f"bundle={bundle_digest(Path(sweep))}"])
            made = report_of(plan, bundled, source=sweep, with_provenance=with_provenance)
            _write_and_show(made, out or _report_folder(place, name), place, console, as_json)
        return
    plan = plan_of(sweep, store, tuple(set_ or ()))
    made = report_of(plan, place, tracking_uri, with_provenance=with_provenance)
    _write_and_show(made, out or _report_folder(place, plan.sweep.name), place, console, as_json)


def _write_and_show(made: Report, folder: Path, place: Store, console: Console, as_json: bool) -> None:
    page = write_page(made, folder)
    show_tables(made, place, console)
    if as_json:
        print_json({"report": str(page), "cells": cells_json(made)})
    say(console, f"Report: {page}")


def _report_folder(store: Store, name: str) -> Path:
    """Return where the report of a name goes: into the store, or, if that is only readable, the current folder."""
    folder = store.report_folder(name)
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    return folder if os.access(existing, os.W_OK | os.X_OK) else Path(f"{name}-report")


def export(
    sweep: SweepArgument,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The file to write, such as bundle.zip.")],
    store: StoreFolder = DEFAULT_STORE,
    with_provenance: WithProvenance = False,
    as_json: AsJson = False,
) -> None:
    """Pack a sweep's results into one file, from which `report` and `sync` work on any machine.

    The file has no weights and no features of images; and, unless --with-provenance is given, no logs, no uncommitted
    changes of the code, no commands, no host names and no absolute paths.
    """
    from experiments.cli.views.progress import progress
    from experiments.store.store import Store
    from experiments.tracking.bundle import export as pack
    from experiments.tracking.bundle import is_bundle
    from experiments.wording import count, size

    if not is_bundle(bundle):
        raise UserError(f"{bundle}: a bundle is a zip file; name it {bundle.with_suffix('.zip').name}")
    console, place = console_for(as_json), Store(store)
    made = plan_of(sweep, store)
    with progress(console, "packing", "files") as on_progress:
        manifest = pack(made, place, bundle, on_progress, with_provenance)
    num_bytes = bundle.stat().st_size
    if as_json:
        files = len(manifest["files"])
        print_json({"bundle": str(bundle), "bytes": num_bytes, "sweep": manifest["sweep"], "files": files})
        return
    say(console, f"Wrote {bundle}: {count(len(manifest['files']), 'file')} of {made.sweep.name}, {size(num_bytes)}")
    commands = command_here("report", str(bundle)), command_here("sync", "--from", str(bundle))
    say(console, f"To use it on any machine: {commands[0]}, or {commands[1]}")


def report_of(
    plan: Plan, store: Store, tracking_uri: str | None = None, source: str = "", with_provenance: bool = False
) -> Report:
    """Return a sweep's report, with scores from a store or from MLflow. source: what the report calls the store.

    with_provenance: with host names and absolute paths.
    """
    from experiments.store.layout import PAIRS, SAMPLES
    from experiments.tracking.frames import curves_frame, results_frame, scores_in_store
    from experiments.tracking.paired_errors import error_covariances
    from experiments.tracking.provenance import classifier_notes, provenance_of
    from reports.layout import Layout
    from reports.page import Report
    from reports.significance import PairedErrors

    if tracking_uri:
        from experiments.tracking.read import scores_in_mlflow

        found = scores_in_mlflow(plan, tracking_uri, store)
    else:
        found = scores_in_store(plan, store)
    wanted = plan.sweep.report
    folders = {plan.cell_name(p): store.folder("evaluations", p.evaluation.signature) for p in plan.cells}
    origin = f"MLflow at {redact(tracking_uri)}" if tracking_uri else source or f"the store {store.name}"
    provenance = {"scores": origin, **provenance_of(plan, store)}
    if not with_provenance:
        provenance.pop("host", None)
        provenance["scores"] = "MLflow" if tracking_uri else without_paths(source) or "the store"
    return Report(
        Layout(plan.sweep.name, wanted.rows or (), wanted.columns, wanted.metrics),
        results_frame(plan, found),
        curves_frame(plan, store),
        {cell: folder / SAMPLES for cell, folder in folders.items()},
        provenance,
        paired={metric: PairedErrors(*known) for metric, known in error_covariances(plan, store).items()},
        pairs={cell: folder / PAIRS for cell, folder in folders.items() if (folder / PAIRS).exists()},
        notes=(*plan.idle_axes, *plan.equivalences, *classifier_notes(plan, store)),
        shown=str if with_provenance else without_paths,
    )


def write_page(report: Report, folder: Path) -> Path:
    """Write a report into a folder and return its page. Raises UserError if it cannot be written."""
    from reports.page import write_report

    try:
        return write_report(report, folder)
    except OSError as error:
        raise UserError(
            f"{folder}: the report cannot be written ({error}); choose another folder with 'report --out FOLDER', or "
            "another store with --store"
        ) from None


def show_tables(report: Report, store: Store, console: Console) -> None:
    """Print a report's main tables, and how much of them is still missing."""
    from reports.notes import state_line
    from reports.terminal import to_rich

    states = set(report.frame["status"])
    if {"missing", "stopped", "pruned"} & states:
        say(console, f"{state_line(report.frame)} in {store.root}.")
    if "done" in states:
        for table in report.tables:
            if table.main:
                console.print()
                console.print(to_rich(table, console.width))
        console.print()


def cells_json(report: Report) -> list[dict[str, Any]]:
    """Return a report's cells for a script."""
    import json

    return json.loads(report.frame.to_json(orient="records") or "[]")
