"""The command line. Thin: parses, calls one function, prints; heavy imports wait until they are needed."""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from edm.config import Sampler
from edm.schedules import Schedule as NoiseSchedule
from experiments.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.forecast import Forecast
    from experiments.planning import Plan
    from experiments.schedule import Schedule
    from experiments.session import Options, Summary
    from experiments.store import Store
    from reports.page import Report

MOST_NAMES = 12  # in one line
LOG_WIDTH = 160  # of tables that go to a file

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="edm-sweep",
    help="A build system for ablation tables of EDM diffusion models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SweepFile = Annotated[Path, typer.Argument(help="The sweep file, such as sweeps/digits.yaml.")]
data = typer.Typer(no_args_is_help=True, help="Prepare data sets, and list them.")
app.add_typer(data, name="data")

StoreFolder = Annotated[
    Path, typer.Option("--store", envvar="EDM_SWEEP_STORE", help="The folder that holds every result.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a field: training.kimg=10. May be repeated.")
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri", envvar="MLFLOW_TRACKING_URI", help="An MLflow server, instead of the database in the store."
    ),
]
Gpus = Annotated[
    str | None,
    typer.Option(
        "--gpus",
        help="GPUs per trial: a fraction packs several on one, 2 train one network on two, auto packs by memory.",
    ),
]
Cpus = Annotated[int | None, typer.Option("--cpus-per-trial", help="Cores, and so threads, per trial.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

DEFAULT_STORE = Path("runs")

Device = Literal["cpu", "cuda"]


@app.command()
def plan(
    file: SweepFile,
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
    gpus: Gpus = None,
    cpus: Cpus = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure every network for some seconds, and tell all costs by that.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what `run` would do and what it would cost. Starts nothing, but for --calibrate's short measurements."""
    schedule, place = _open(file, store, set_, gpus, cpus)
    console = _console(as_json)
    if calibrate:
        from experiments.calibration import calibrate as measure

        place.create()
        measure(schedule.plan, place, console)
        schedule, place = _open(file, store, set_, gpus, cpus)  # which knows what has been measured
    if not as_json:
        from experiments.display import cells_table

        console.print(cells_table(schedule.plan))
        console.print()
    _show_plan(schedule, place, console, as_json, calibrate)


@app.command()
def run(
    file: SweepFile,
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
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
    as_json: AsJson = False,
) -> None:
    """Run what is missing of a sweep and show its table. Safe to repeat, always.

    Exit codes: 0 done, 1 some work failed or was not started, 2 wrong input, 130 interrupted.
    """
    from experiments.forecast import Budget, parse_hours
    from experiments.session import Options, run_sweep

    options = Options(retries, parse_hours(budget) if budget is not None else None, scheduler == "asha", address)
    schedule, place = _open(file, store, set_, gpus, cpus, options)
    place.create()
    console = _console(as_json)
    estimate = _show_plan(schedule, place, console, as_json=False)
    if options.budget_s is not None:
        Budget(options.budget_s).require(estimate)
    summary = run_sweep(schedule, place, tracking_uri, console, options)
    if summary.interrupted:  # who interrupts wants to leave: no tables now
        _say(console, f"Interrupted: {summary.done} of {summary.started} pieces are done. To go on: {_same_command()}")
        raise typer.Exit(INTERRUPTED)
    made = _report(schedule.plan, place)
    page = _write_report(made, schedule.plan, place, console)
    if as_json:
        print(json.dumps(_summary_json(summary, made, page), indent=1))
    _show_end(summary, page, place, tracking_uri, console)
    raise typer.Exit(FAILED if summary.failures or summary.withheld else DONE)


@app.command()
def report(
    file: SweepFile,
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild tables, figures and the HTML page from the store; with --tracking-uri, from the scores in MLflow."""
    schedule, place = _open(file, store, set_, None, None)
    console = _console(as_json)
    made = _report(schedule.plan, place, tracking_uri)
    page = _write_report(made, schedule.plan, place, console)
    if as_json:
        print(json.dumps({"report": str(page), "cells": _cells_json(made)}, indent=1))
    _say(console, f"Report: {page}")


@app.command()
def sync(
    file: SweepFile,
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Bring MLflow up to date with the store: after an outage, or another server with --tracking-uri."""
    from experiments.display import progress

    schedule, place = _open(file, store, set_, None, None)
    place.create()
    console = _console(as_json)
    with console.status("loading MLflow"):
        from experiments.tracking import embedded_uri, sync
    uri = tracking_uri or embedded_uri(place)
    with progress(console, "bringing MLflow up to date", "runs") as on_progress:
        counts = sync(schedule.plan, place, uri, on_progress)
    if as_json:
        print(json.dumps({"tracking_uri": uri, **asdict(counts)}, indent=1))
        return
    _say(console, f"{uri}: {counts.runs} runs of {schedule.plan.sweep.name}, {counts.finished} of them finished")
    _say(console, f"{counts.sent} were sent now.")


@app.command()
def sample(
    cell: Annotated[str, typer.Argument(help="A cell of a sweep that was run, or how it begins, or a signature.")],
    images: Annotated[int, typer.Option(help="How many images to draw.", min=1)] = 64,
    label: Annotated[int | None, typer.Option(help="The class to draw; all of them in turn by default.")] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; 1 is none.")] = None,
    sampler: Annotated[Sampler | None, typer.Option(help="How to step.")] = None,
    schedule: Annotated[NoiseSchedule | None, typer.Option(help="Where to step.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the noise.")] = None,
    ema: Annotated[float | None, typer.Option(help="Relative width of the power-function average.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Pixels a side, other than trained.")] = None,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("grid.png"),
    trajectory: Annotated[bool, typer.Option("--trajectory", help="Show noisy states and denoised images.")] = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="One picture for each class.")] = False,
    store: StoreFolder = DEFAULT_STORE,
    device: Annotated[Device | None, typer.Option(help="By default a GPU where there is one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw pictures from a finished training: a grid, a page for each class, or the denoising step by step.

    Whatever is not given is as the cell has it.
    """
    given = {
        "guidance": guidance,
        "sampler": sampler,
        "schedule": schedule,
        "steps": steps,
        "seed": seed,
        "ema": ema,
        "resolution": resolution,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    console = _console(as_json)
    drawn, paths = _draw(cell, changes, (images, label, per_class, trajectory, out), store, device, console)
    if as_json:
        print(json.dumps({"drawn": drawn, "pictures": [str(path) for path in paths]}, indent=1))
    _say(console, f"Drew {drawn}")
    for path in paths:
        _say(console, f"Wrote {path}")


@app.command()
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


@data.command("prepare")
def data_prepare(
    name: Annotated[str, typer.Argument(help="digits, fashion_mnist, cifar10, celeba or folder.")],
    from_: Annotated[
        Path | None, typer.Option("--from", help="The archive, or the folder of its files; of folder, the images.")
    ] = None,
    resolution: Annotated[int | None, typer.Option(help="Of celeba (128 by default) and folder, in pixels.")] = None,
    splits: Annotated[str | None, typer.Option(help="Of celeba: study (the default) or official.")] = None,
    channels: Annotated[int | None, typer.Option(help="Of folder: 3 (the default) or 1.")] = None,
    split_seed: Annotated[int | None, typer.Option(help="Of folder without train, val and test.")] = None,
    store: StoreFolder = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Decode a data set into the store, once; absent files are downloaded where that is possible. Safe to repeat."""
    from experiments.datasets import prepare_data, record, record_lines, requested
    from experiments.store import Store

    source, origin = requested(
        name, from_, resolution=resolution, splits=splits, channels=channels, split_seed=split_seed
    )
    place = Store(store)
    place.create()
    console = _console(as_json)
    done_now = prepare_data(place, source, console, origin)
    made = record(place, source)
    if as_json:
        print(json.dumps({**made, "prepared_now": done_now}, indent=1))
        return
    _say(console, f"{name} is prepared{'' if done_now else ' already'}.")
    for line in record_lines(made):
        _say(console, line)


@data.command("list")
def data_list(store: StoreFolder = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Show all data sets: what they are, which are prepared, and where the files of the others are expected."""
    from experiments.datasets import listed, listing_table
    from experiments.store import Store

    rows = listed(Store(store))
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    _console(as_json).print(listing_table(rows))


# what the commands share --------------------------------------------------------------------------


def _console(as_json: bool) -> Console:
    """Standard output, or standard error where JSON goes to standard output."""
    from rich.console import Console

    console = Console(stderr=as_json, highlight=False)
    return console if console.is_terminal else Console(stderr=as_json, highlight=False, width=LOG_WIDTH)


def _open(
    file: Path,
    store: Path,
    overrides: list[str] | None,
    gpus: str | None,
    cpus: int | None,
    run_options: Options | None = None,
) -> tuple[Schedule, Store]:
    from experiments.spec import load_sweep

    options = [f"resources.{name}={value}" for name, value in (("gpus", gpus), ("cpus", cpus)) if value is not None]
    sweep = load_sweep(file, (*(overrides or ()), *options))
    # a wrong file has been answered before these are imported
    from experiments.planning import plan_sweep
    from experiments.session import Options, open_schedule
    from experiments.store import Store

    place = Store(store)
    return open_schedule(plan_sweep(sweep), place, run_options or Options()), place


def _draw(
    cell: str,
    changes: dict[str, Any],
    wanted: tuple[int, int | None, bool, bool, Path],
    store: Path,
    device: Device | None,
    console: Console,
) -> tuple[str, list[Path]]:
    """Draw pictures; returns what was drawn, in words, and the files."""
    from edm.config import FieldError
    from experiments.display import progress
    from experiments.names import find
    from experiments.store import Store

    place = Store(store)
    piece = find(cell, place)
    with console.status("loading torch"):
        import torch

        from experiments.drawing import Request, describe, draw_pictures, sampling_of
    try:
        sampling = sampling_of(piece, changes)
    except FieldError as error:
        raise UserError(f"--{error.field}: {error}") from None
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU here; leave it out to draw on the CPU")
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with progress(console, "drawing", "images") as on_progress:
        paths = draw_pictures(piece, sampling, Request(*wanted), place, chosen, on_progress)
    return describe(piece, sampling), paths


def _show_plan(schedule: Schedule, store: Store, console: Console, as_json: bool, calibrated: bool = False) -> Forecast:
    """Print what is left to do and what it costs; where that was measured on purpose, on other machines as well."""
    from experiments.display import cost_lines, machines_table, networks_table, plan_json, plan_lines, plan_table
    from experiments.forecast import forecast, forecasts

    left = schedule.of("waiting")
    made: dict[int | None, Forecast]
    made = forecasts(schedule.plan, left, store) if calibrated else {None: forecast(schedule.plan, left, store)}
    if as_json:
        print(json.dumps(plan_json(schedule.plan, schedule, made, store if calibrated else None), indent=1))
        return made[None]
    if schedule.of("waiting"):
        console.print(plan_table(schedule.plan, schedule))
    for line in (*schedule.notices, *plan_lines(schedule.plan, schedule, made[None])):
        _say(console, line)
    schedule.notices.clear()
    if calibrated:
        for table in (networks_table(schedule.plan, store), machines_table(made)):
            console.print()
            console.print(table)
        console.print()
        for line in cost_lines(made[None]):
            _say(console, line)
    return made[None]


def _report(plan: Plan, store: Store, tracking_uri: str | None = None) -> Report:
    from experiments.frames import covariances, curves_frame, found_in_store, results_frame
    from experiments.store import PAIRS, SAMPLES
    from reports.page import Report
    from reports.significance import Paired
    from reports.tables import Layout

    if tracking_uri:
        from experiments.tracking import found_in_mlflow

        found = found_in_mlflow(plan, tracking_uri)
    else:
        found = found_in_store(plan, store)
    wanted = plan.sweep.report
    folders = {plan.cell_name(p): store.folder("evaluations", p.evaluation.signature) for p in plan.cells}
    return Report(
        Layout(plan.sweep.name, wanted.rows or (), wanted.columns, wanted.metrics),
        results_frame(plan, found),
        curves_frame(plan, store),
        {cell: folder / SAMPLES for cell, folder in folders.items()},
        _facts(plan, store, tracking_uri),
        paired={metric: Paired(*known) for metric, known in covariances(plan, store).items()},
        pairs={cell: folder / PAIRS for cell, folder in folders.items() if (folder / PAIRS).exists()},
    )


def _facts(plan: Plan, store: Store, tracking_uri: str | None) -> dict[str, str]:
    from experiments.frames import facts_of

    return {
        "scores": f"MLflow at {tracking_uri}" if tracking_uri else f"the store {store.root}",
        **facts_of(plan, store),
    }


def _write_report(report: Report, plan: Plan, store: Store, console: Console) -> Path:
    from reports.page import state_line, write_report
    from reports.render import to_rich

    try:
        page = write_report(report, store.root / "reports" / plan.sweep.name)
    except OSError as error:
        raise UserError(
            f"{store.root}: the report cannot be written ({error}); choose another store with --store"
        ) from None
    if {"missing", "stopped", "pruned"} & set(report.frame["status"]):
        _say(console, f"{state_line(report.frame)} in {store.root}.")
    if "done" in set(report.frame["status"]):
        for table in report.tables:
            if table.main:
                console.print()
                console.print(to_rich(table, console.width))
        console.print()
    return page


def _show_end(summary: Summary, page: Path, store: Store, tracking_uri: str | None, console: Console) -> None:
    for failure in summary.failures:
        _say(console, f"FAILED {failure.name}: {failure.message}", style="bold red")
        for line in failure.tail:
            _say(console, f"    {line}")
        _say(console, f"    the whole log: {failure.log}")
    if summary.blocked:
        _say(console, f"Not run, as the training they stand on failed: {_listed(summary.blocked)}")
    if summary.pruned:
        _say(console, f"Pruned, which a run without --scheduler asha trains to the end: {_listed(summary.pruned)}")
    for reason in dict.fromkeys(summary.withheld.values()):
        names = [name for name, own in summary.withheld.items() if own == reason]
        _say(console, f"Not started: {_listed(names)}. {reason}")
    if summary.mirror_problem:
        problem = f"MLflow is not up to date ({summary.mirror_problem})"
        _say(console, f"{problem}; nothing is lost: the next run catches up.")
    if summary.failures:
        failed = f"{len(summary.failures)} of {summary.started} pieces failed"
        _say(console, f"{failed}. To try them again: {_same_command()}")
    place = [] if store.root == DEFAULT_STORE.absolute() else ["--store", str(store.root)]
    _say(console, f"Report: {page}")
    _say(console, f"MLflow: {tracking_uri or _command('ui', *place)}")


def _say(console: Console, text: str, style: str | None = None) -> None:
    """Print a line as it is: no markup in it, never broken."""
    console.print(text, style=style, markup=False, soft_wrap=True)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _same_command() -> str:
    return _command(*sys.argv[1:])


def _command(*arguments: str) -> str:
    """A command as the person would type it here."""
    runner = ["uv", "run"] if "UV_RUN_RECURSION_DEPTH" in os.environ else []
    return shlex.join([*runner, "edm-sweep", *arguments])


def _summary_json(summary: Summary, report: Report, page: Path) -> dict[str, Any]:
    return {
        "done": summary.done,
        "started": summary.started,
        "failed": [{"name": f.name, "message": f.message, "log": str(f.log)} for f in summary.failures],
        "blocked": summary.blocked,
        "pruned": summary.pruned,
        "withheld": summary.withheld,
        "worked_s": summary.worked_s,
        "mlflow_problem": summary.mirror_problem,
        "report": str(page),
        "cells": _cells_json(report),
    }


def _cells_json(report: Report) -> list[dict[str, Any]]:
    return json.loads(report.frame.to_json(orient="records") or "[]")


def main() -> None:
    """The entry point: errors for people become one line and exit code 2."""
    try:
        app()
    except SystemExit as end:
        _leave(end.code if isinstance(end.code, int) else DONE)
    except UserError as error:
        print(error, file=sys.stderr)
        _leave(WRONG_INPUT)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        _leave(INTERRUPTED)


def _leave(code: int) -> NoReturn:
    """Exit, at once where a library's thread still runs: taking the interpreter down around it could abort."""
    sys.stdout.flush()
    sys.stderr.flush()
    if threading.active_count() > 1:
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
