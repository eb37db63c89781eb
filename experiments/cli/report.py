"""The commands report and export."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.cli.completion import complete_sweeps
from experiments.cli.options import AsJson, Overrides, StoreFolder, SweepArgument, TrackingUri
from experiments.cli.output import command_here, console_for, print_json, say
from experiments.cli.parsing import parse_allowed, parse_formats
from experiments.cli.report_sources import ReportOptions, Source, opened_sources, report_of
from experiments.cli.sweeps import plan_of
from experiments.environment import DEFAULT_STORE
from experiments.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.store.store import Store
    from reports.report import Report


SweepsOrBundles = Annotated[
    list[str],
    typer.Argument(
        metavar="SWEEP",
        help="A sweep file, the name of a sweep that was run with this store, or a bundle that `export` made. "
        "Several of them make one table.",
        autocompletion=complete_sweeps,
    ),
]
Formats = Annotated[
    str | None,
    typer.Option(
        "--format", help="What to write, such as html,tex: of html, md, tex, csv and parquet. By default all."
    ),
]
WithProvenance = Annotated[
    bool,
    typer.Option("--with-provenance", help="Include host names, absolute paths and, in a bundle, the code's diff."),
]
OutFolder = Annotated[Path | None, typer.Option(help="The folder to write. By default reports/NAME in the store.")]
FiguresFolder = Annotated[Path | None, typer.Option(help="The folder to write figures for a paper to, as SVG and PDF.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD",
        help="Put cells into one table although they differ in this field, such as evaluation.images. The table "
        "says so. Can be repeated.",
    ),
]
Serve = Annotated[
    bool, typer.Option("--serve", help="Serve the page on this machine, as new as the results are, until Ctrl-C.")
]
ServePort = Annotated[int, typer.Option(help="The port of --serve; 0 is any that is free.", min=0, max=65535)]
Open = Annotated[bool, typer.Option("--open", help="Open the page, or the first file, when it is written.")]


def report(
    sweep: SweepsOrBundles,
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
    tracking_uri: TrackingUri = None,
    format_: Formats = None,
    with_provenance: WithProvenance = False,
    out: OutFolder = None,
    figures: FiguresFolder = None,
    allow: Allow = None,
    live: Serve = False,
    port: ServePort = 5050,
    open_: Open = False,
    as_json: AsJson = False,
) -> None:
    """Write a sweep's report: tables, figures and one HTML page.

    A run writes it as well, when it ends. Scores come from the store or the bundle, or from MLflow if --tracking-uri is
    given. A bundle's report, and one with --set, get folders of their own. If the store cannot be written, the report
    is written to NAME-report in the current folder.
    """
    from experiments.store.store import Store

    formats = parse_formats(format_) if format_ is not None else ()
    options = ReportOptions(parse_allowed(allow or []), with_provenance)
    console, place = console_for(as_json), Store(store)
    with opened_sources(sweep, store, tuple(set_ or ()), tracking_uri) as sources:
        if live:
            serve_page(sources, options, port, open_, console)
            return
        made = report_of(sources, options)
        page = write_page(made, out or _own_folder(made, place, sources), formats)
        _show_tables(made, sources, console)
        if figures is not None:
            write_paper_figures(made, figures, console)
    if as_json:
        print_json({"report": str(page), "cells": cells_json(made)})
    say(console, f"Report: {page}")
    if open_:
        typer.launch(str(page))


def _show_tables(report: Report, sources: Sequence[Source], console: Console) -> None:
    """Print the tables, which of the sweeps have other files than when they were run, and metrics that none has."""
    from experiments.inspection.changed_data import changed_files
    from experiments.sweep.remarks import metrics_without_scores

    show_tables(report, ", ".join(dict.fromkeys(source.place for source in sources)), console)
    for source in sources:
        if source.has_own_record:  # neither a bundle's nor a server's
            lacking = metrics_without_scores(source.plan.sweep.report, source.plan.evaluations.values())
            for remark in (*changed_files(source.plan, source.store), *lacking):
                say(console, f"Warning: {remark}")


def _report_folder(store: Store, sources: Sequence[Source]) -> Path:
    """Return where a report goes: into the store, or, if that is only readable, the current folder."""
    from experiments.store.folders import existing

    name = "+".join(dict.fromkeys(source.name for source in sources))
    folder = store.report_folder(name)
    return folder if os.access(existing(folder), os.W_OK | os.X_OK) else Path(f"{name}-report")


def _own_folder(made: Report, store: Store, sources: Sequence[Source]) -> Path:
    """Return where a report goes by default.

    Raises UserError where one without a result would replace one that has some, as after images have changed.
    """
    from experiments.inspection.changed_data import changed_files
    from reports.folder import num_results

    folder = _report_folder(store, sources)
    if made.frame["status"].eq("missing").all() and num_results(folder):
        changed = [remark for source in sources for remark in changed_files(source.plan, source.store)]
        why = "; ".join(changed or ["no cell has a result yet"])
        last = f", or '{command_here('report', sources[0].name)}' for the report of the last run" if changed else ""
        raise UserError(
            f"{folder}: keeps its report of earlier results, as this one has none ({why}); give --out FOLDER to write "
            f"this one elsewhere{last}"
        )
    return folder


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
        raise UserError(f"{bundle}: a bundle is a zip file; name it {bundle.stem or sweep}.zip")
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


def write_page(report: Report, folder: Path, formats: tuple[str, ...] = (), figures: bool = False) -> Path:
    """Write a report into a folder and return its page.

    formats: by default all, and then the figures that the folder has are renewed. figures: write them in any case.
    Raises UserError if it cannot be written.
    """
    from reports.folder import FIGURES, write_report
    from reports.formats import FORMATS

    renewed = not formats and (folder / FIGURES).is_dir()
    try:
        return write_report(report, folder, formats or FORMATS, figures or renewed)
    except OSError as error:
        raise UserError(
            f"{folder}: the report cannot be written ({error.strerror}); choose another folder with "
            "'report --out FOLDER', or another store with --store"
        ) from None


def serve_page(sources: Sequence[Source], options: ReportOptions, port: int, opens: bool, console: Console) -> None:
    """Serve the page of a report until Ctrl-C. opens: open it in a browser."""
    from experiments.cli.serving import REFRESH_S, LivePage, serve
    from reports.page import to_html

    def make() -> str:
        made = report_of(sources, options)
        return to_html(made.as_shown, REFRESH_S if "missing" in set(made.frame["status"]) else 0)

    def on_ready(address: str) -> None:
        say(console, f"The report is at {address} until you press Ctrl-C.")
        if opens:
            typer.launch(address)

    serve(LivePage(make), port, on_ready)


def write_paper_figures(report: Report, folder: Path, console: Console) -> None:
    """Write a report's figures as SVG and PDF. Raises UserError if they cannot be written."""
    from experiments.wording import count
    from reports.figures import all_charts
    from reports.plots import write_figures

    charts = all_charts(report.as_shown)
    try:
        write_figures(charts, folder)
    except OSError as error:
        raise UserError(f"--figures {folder}: cannot be written ({error.strerror}); choose another folder") from None
    say(console, f"Wrote {count(len(charts), 'figure')} as SVG and PDF, and captions.txt: {folder}")


def show_tables(report: Report, place: str, console: Console) -> None:
    """Print a report's main tables, and how much of them is still missing. place: where the results are from."""
    from reports.notes import state_line
    from reports.terminal import to_rich

    states = set(report.frame["status"])
    if {"missing", "stopped", "pruned"} & states:
        say(console, f"{state_line(report.frame, report.states)} in {place}.")
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
