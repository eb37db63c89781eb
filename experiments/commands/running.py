"""plan, run, report, sync, export: from a sweep to its table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from experiments.commands.common import (
    DEFAULT_STORE,
    DONE,
    FAILED,
    INTERRUPTED,
    AsJson,
    Cpus,
    Gpus,
    Only,
    Overrides,
    StoreFolder,
    SweepArgument,
    TrackingUri,
    command_here,
    console_for,
    listed,
    open_sweep,
    plan_of,
    print_json,
    same_command,
    say,
    sweep_of,
)
from experiments.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.forecast import Forecast
    from experiments.planning import Plan
    from experiments.schedule import Schedule
    from experiments.session import Summary
    from experiments.store import Store
    from reports.page import Report


def plan(
    sweep: SweepArgument,
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
    only: Only = None,
    gpus: Gpus = None,
    cpus: Cpus = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure every network for some seconds, and tell all costs by that.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what `run` would do and what it would cost. Starts nothing, but for --calibrate's short measurements."""
    sweep_of(sweep, store, tuple(set_ or ()))  # a wrong file is answered before more is imported
    from experiments.session import Options

    options = Options(only=tuple(only or ()))
    schedule, place = open_sweep(sweep, store, set_, gpus, cpus, options)
    console = console_for(as_json)
    if calibrate:
        from experiments.calibration import calibrate as measure

        place.create()
        measure(schedule.plan, place, console)
        schedule, place = open_sweep(sweep, store, set_, gpus, cpus, options)  # which knows what has been measured
    if not as_json:
        from experiments.display import cells_table

        console.print(cells_table(schedule.plan))
        console.print()
    show_plan(schedule, place, console, as_json, calibrate)


def run(
    sweep: SweepArgument,
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
    only: Only = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done and what it would cost, and start nothing.")
    ] = False,
    gpus: Gpus = None,
    cpus: Cpus = None,
    tracking_uri: TrackingUri = None,
    retries: Annotated[int, typer.Option(help="How often work that failed is tried again.", min=0)] = 1,
    budget: Annotated[
        str | None, typer.Option(help="Hours of GPUs (of trials, where there are none) at most: 40h, 90m, 2d.")
    ] = None,
    scheduler: Annotated[
        Literal["asha"] | None, typer.Option(help="asha prunes trainings whose loss on the val split is behind.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster to run on: auto, HOST:PORT or ray://HOST:PORT.")
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Recorded with every result of this run. May be repeated."),
    ] = None,
    on_finish: Annotated[
        str | None, typer.Option(metavar="CMD", help="A command that gets a summary as JSON when the run ends.")
    ] = None,
    on_failure: Annotated[
        str | None,
        typer.Option(metavar="CMD", help="The same, only where some work failed, was cancelled or was not started."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run what is missing of a sweep and show its table. Safe to repeat, always.

    Exit codes: 0 done, 1 some work failed, was cancelled or was not started, 2 wrong input, 130 interrupted.
    """
    sweep_of(sweep, store, tuple(set_ or ()))
    from experiments.forecast import Budget, parse_hours
    from experiments.hooks import parse_hook
    from experiments.session import Options, parse_tags, run_sweep

    hooks = {"on_finish": parse_hook("--on-finish", on_finish), "on_failure": parse_hook("--on-failure", on_failure)}
    budget_s = parse_hours(budget) if budget is not None else None
    options = Options(retries, budget_s, scheduler == "asha", address, tuple(only or ()), parse_tags(tuple(tag or ())))
    schedule, place = open_sweep(sweep, store, set_, gpus, cpus, options)
    console = console_for(as_json)
    estimate = show_plan(schedule, place, console, as_json and dry_run)
    if budget_s is not None:
        Budget(budget_s).require(estimate)
        if not estimate.measured:
            remark = "nothing is measured yet, so it holds from when the first pieces have ended"
            say(console, f"--budget {budget}: {remark}")
    if dry_run:
        return
    place.create()
    with _telling(hooks, schedule.plan.sweep.name, place, console) as outcome:
        summary = run_sweep(schedule, place, tracking_uri, console, options)
        outcome |= summary_json(summary)
        if summary.interrupted:  # who interrupts wants to leave: no tables now
            far = f"{summary.done} of {summary.started} pieces are done"
            say(console, f"Interrupted: {far}. To go on: {same_command()}")
            raise typer.Exit(INTERRUPTED)
        made = report_of(schedule.plan, place)
        page = write_page(made, schedule.plan, place, console)
        outcome |= {"report": str(page), "cells": cells_json(made)}
    if as_json:
        print_json(outcome)
    _show_end(summary, page, place, tracking_uri, console)
    raise typer.Exit(FAILED if summary.is_incomplete else DONE)


@contextmanager
def _telling(
    hooks: dict[str, list[str] | None], sweep: str, store: Store, console: Console
) -> Iterator[dict[str, Any]]:
    """Call the commands that want to know of the end of a run, whatever that is; the block fills in what they get."""
    from experiments.hooks import call

    outcome: dict[str, Any] = {}
    error = ""
    try:
        yield outcome
    except UserError as raised:
        error = str(raised)
        raise
    except BaseException as raised:
        error = "" if isinstance(raised, typer.Exit) else f"{type(raised).__name__}: {raised}"
        raise
    finally:
        ended = "error" if error else _ending(outcome)
        told = {"sweep": sweep, "store": str(store.root), "outcome": ended, "error": error or None, **outcome}
        wanted = ("on_finish", "on_failure") if ended in ("error", "failed") else ("on_finish",)
        for name in wanted:
            command = hooks[name]
            problem = call(command, told) if command is not None else None
            if problem is not None:
                say(console, f"--{name.replace('_', '-')} {problem}")


def _ending(outcome: dict[str, Any]) -> str:
    if outcome.get("interrupted"):
        return "interrupted"
    return "failed" if any(outcome.get(key) for key in ("failed", "withheld", "cancelled")) else "done"


def report(
    sweep: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP",
            help="A sweep file, the name of a sweep that was run on the store, or a bundle.zip of 'export'.",
        ),
    ],
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild tables, figures and the HTML page from the store or a bundle; with --tracking-uri, MLflow's scores."""
    from experiments.bundle import is_bundle, opened
    from experiments.store import Store

    console, place = console_for(as_json), Store(store)
    if is_bundle(Path(sweep)):
        if set_ or tracking_uri:
            raise UserError(f"{sweep}: a bundle is reported as it is; leave --set and --tracking-uri out")
        place.create()
        with opened(Path(sweep)) as (plan, bundled):
            _report(plan, bundled, place, None, console, as_json, source=sweep)
        return
    _report(plan_of(sweep, store, tuple(set_ or ())), place, place, tracking_uri, console, as_json)


def _report(
    plan: Plan,
    store: Store,
    place: Store,
    tracking_uri: str | None,
    console: Console,
    as_json: bool,
    source: str = "",
) -> None:
    made = report_of(plan, store, tracking_uri, source)
    page = write_page(made, plan, place, console)
    if as_json:
        print_json({"report": str(page), "cells": cells_json(made)})
    say(console, f"Report: {page}")


def export(
    sweep: SweepArgument,
    bundle: Annotated[Path, typer.Argument(help="The file to write: bundle.zip.")],
    store: StoreFolder = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Pack what a sweep's report and its MLflow runs are made from into one file, without weights and features."""
    from experiments.bundle import export as pack
    from experiments.bundle import is_bundle
    from experiments.display import count, progress
    from experiments.store import Store

    if not is_bundle(bundle):
        raise UserError(f"{bundle}: bundles are zip files; name it {bundle.with_suffix('.zip').name}")
    console, place = console_for(as_json), Store(store)
    made = plan_of(sweep, store)
    with progress(console, "packing", "files") as on_progress:
        manifest = pack(made, place, bundle, on_progress)
    size = bundle.stat().st_size
    if as_json:
        print_json({"bundle": str(bundle), "bytes": size, "sweep": manifest["sweep"], "files": len(manifest["files"])})
        return
    say(console, f"{bundle}: {count(len(manifest['files']), 'file')} of {made.sweep.name}, {size / 2**20:,.2f} MiB")
    say(console, f"Anywhere else: {command_here('report', str(bundle))}, {command_here('sync', '--from', str(bundle))}")


def sync(
    sweep: Annotated[
        str | None,
        typer.Argument(metavar="SWEEP", help="A sweep file, or the name of a sweep that was run on the store."),
    ] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="BUNDLE", help="Take what a bundle of 'export' holds instead.")
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Bring MLflow up to date with the store or a bundle: after an outage, or another server with --tracking-uri."""
    from experiments.bundle import opened
    from experiments.store import Store

    if (sweep is None) == (from_ is None):
        raise UserError("sync: give a sweep, or a bundle with --from")
    place, console = Store(store), console_for(as_json)
    if from_ is not None:
        place.create()
        with opened(from_) as (plan, bundled):
            _sync(plan, bundled, place, tracking_uri, console, as_json)
        return
    assert sweep is not None
    made = plan_of(sweep, store, tuple(set_ or ()))
    place.create()
    _sync(made, place, place, tracking_uri, console, as_json)


def _sync(plan: Plan, store: Store, place: Store, tracking_uri: str | None, console: Console, as_json: bool) -> None:
    """Tell MLflow, by default the one in `place`, what `store` has of a plan."""
    from experiments.display import progress

    with console.status("loading MLflow"):
        from experiments.tracking import embedded_uri, sync
    uri = tracking_uri or embedded_uri(place)
    with progress(console, "bringing MLflow up to date", "runs") as on_progress:
        counts = sync(plan, store, uri, on_progress, place)
    if as_json:
        print_json({"tracking_uri": uri, **asdict(counts)})
        return
    say(console, f"{uri}: {counts.runs} runs of {plan.sweep.name}, {counts.finished} of them finished")
    say(console, f"{counts.sent} were sent now.")


def ui(
    store: StoreFolder = DEFAULT_STORE,
    tracking_uri: TrackingUri = None,
    host: Annotated[str, typer.Option(help="The address to serve on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to serve on.", min=1, max=65535)] = 5000,
) -> None:
    """Serve MLflow's own UI on the record."""
    from experiments.store import Store
    from experiments.ui import serve

    raise typer.Exit(serve(Store(store), tracking_uri, host, port))


def init(
    name: Annotated[str, typer.Argument(help="What to call the sweep.")],
    data: Annotated[
        str, typer.Option("--data", help="What to train on: digits, fashion_mnist, cifar10, celeba or folder.")
    ] = "digits",
    folder: Annotated[
        Path | None, typer.Option(help="Where to write it; by default sweeps/, where there is such a folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a commented sweep file to start from, which runs as it is."""
    from experiments.starting import start_sweep

    path = start_sweep(name, data, folder)
    if as_json:
        print_json({"sweep": str(path)})
        return
    console = console_for(as_json)
    say(console, f"Wrote {path}. What it would do: {command_here('plan', str(path))}")


# what these share ---------------------------------------------------------------------------------


def show_plan(schedule: Schedule, store: Store, console: Console, as_json: bool, calibrated: bool = False) -> Forecast:
    """Print what is left to do and what it costs; where that was measured on purpose, on other machines as well."""
    from experiments.display import cost_lines, machines_table, networks_table, plan_json, plan_lines, plan_table
    from experiments.forecast import forecast, forecasts

    left = schedule.of("waiting")
    made: dict[int | None, Forecast]
    made = forecasts(schedule.plan, left, store) if calibrated else {None: forecast(schedule.plan, left, store)}
    if as_json:
        print_json(plan_json(schedule.plan, schedule, made, store if calibrated else None))
        return made[None]
    if schedule.of("waiting"):
        console.print(plan_table(schedule.plan, schedule))
    for line in (*schedule.notices, *plan_lines(schedule.plan, schedule, made[None])):
        say(console, line)
    schedule.notices.clear()
    if calibrated:
        for table in (networks_table(schedule.plan, store), machines_table(made)):
            console.print()
            console.print(table)
        console.print()
        for line in cost_lines(made[None]):
            say(console, line)
    return made[None]


def report_of(plan: Plan, store: Store, tracking_uri: str | None = None, source: str = "") -> Report:
    """A sweep's report from a store, or with scores from MLflow. source: what to call the store in it."""
    from experiments.frames import covariances, curves_frame, facts_of, found_in_store, results_frame
    from experiments.store import PAIRS, SAMPLES
    from reports.layout import Layout
    from reports.page import Report
    from reports.significance import PairedErrors

    if tracking_uri:
        from experiments.tracking import found_in_mlflow

        found = found_in_mlflow(plan, tracking_uri)
    else:
        found = found_in_store(plan, store)
    wanted = plan.sweep.report
    folders = {plan.cell_name(p): store.folder("evaluations", p.evaluation.signature) for p in plan.cells}
    origin = f"MLflow at {tracking_uri}" if tracking_uri else source or f"the store {store.name}"
    return Report(
        Layout(plan.sweep.name, wanted.rows or (), wanted.columns, wanted.metrics),
        results_frame(plan, found),
        curves_frame(plan, store),
        {cell: folder / SAMPLES for cell, folder in folders.items()},
        {"scores": origin, **facts_of(plan, store)},
        paired={metric: PairedErrors(*known) for metric, known in covariances(plan, store).items()},
        pairs={cell: folder / PAIRS for cell, folder in folders.items() if (folder / PAIRS).exists()},
    )


def write_page(report: Report, plan: Plan, store: Store, console: Console) -> Path:
    """Write a report into a store, and show its main tables."""
    from reports.notes import state_line
    from reports.page import write_report
    from reports.terminal import to_rich

    try:
        page = write_report(report, store.root / "reports" / plan.sweep.name)
    except OSError as error:
        raise UserError(
            f"{store.root}: the report cannot be written ({error}); choose another store with --store"
        ) from None
    if {"missing", "stopped", "pruned"} & set(report.frame["status"]):
        say(console, f"{state_line(report.frame)} in {store.root}.")
    if "done" in set(report.frame["status"]):
        for table in report.tables:
            if table.main:
                console.print()
                console.print(to_rich(table, console.width))
        console.print()
    return page


def _show_end(summary: Summary, page: Path, store: Store, tracking_uri: str | None, console: Console) -> None:
    for failure in summary.failures:
        say(console, f"FAILED {failure.name}: {failure.message}", style="bold red")
        for line in failure.tail:
            say(console, f"    {line}")
        say(console, f"    the whole log: {failure.log}")
    if summary.blocked:
        say(console, f"Not run, as the training they stand on failed: {listed(summary.blocked)}")
    if summary.pruned:
        say(console, f"Pruned, which a run without --scheduler asha trains to the end: {listed(summary.pruned)}")
    if summary.cancelled:
        say(console, f"Cancelled, which the same command does after all: {listed(summary.cancelled)}")
    for reason in dict.fromkeys(summary.withheld.values()):
        names = [name for name, own in summary.withheld.items() if own == reason]
        say(console, f"Not started: {listed(names)}. {reason}")
    if summary.mirror_problem:
        problem = f"MLflow is not up to date ({summary.mirror_problem})"
        say(console, f"{problem}; nothing is lost: the next run catches up.")
    if summary.failures:
        failed = f"{len(summary.failures)} of {summary.started} pieces failed"
        say(console, f"{failed}. To try them again: {same_command()}")
    place = [] if store.root == DEFAULT_STORE.absolute() else ["--store", str(store.root)]
    say(console, f"Report: {page}")
    say(console, f"MLflow: {tracking_uri or command_here('ui', *place)}")


def summary_json(summary: Summary) -> dict[str, Any]:
    """How a run ended, for a script."""
    return {
        "done": summary.done,
        "started": summary.started,
        "failed": [{"name": f.name, "message": f.message, "log": str(f.log)} for f in summary.failures],
        "blocked": summary.blocked,
        "pruned": summary.pruned,
        "withheld": summary.withheld,
        "cancelled": summary.cancelled,
        "interrupted": summary.interrupted,
        "worked_s": summary.worked_s,
        "mlflow_problem": summary.mirror_problem,
    }


def cells_json(report: Report) -> list[dict[str, Any]]:
    """A report's cells, for a script."""
    import json

    return json.loads(report.frame.to_json(orient="records") or "[]")
