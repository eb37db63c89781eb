"""The command plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.options import AsJson, Cpus, Gpus, Only, Overrides, StoreFolder, SweepArgument
from experiments.cli.output import console_for, print_json, say, show
from experiments.cli.sweeps import open_sweep, overrides_of, read_sweep
from experiments.environment import DEFAULT_STORE

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.runner.downloads import Download
    from experiments.runner.forecast import Forecast
    from experiments.runner.schedule import Schedule
    from experiments.store.store import Store
    from experiments.sweep.tasks import DataSource


def plan(
    sweep: SweepArgument,
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
    only: Only = None,
    gpus: Gpus = None,
    cpus: Cpus = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Time each network briefly and base the estimate on it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what `run` would do and what it would cost.

    Nothing is started or written, except that --calibrate runs each network for a few seconds and that damaged
    files are set aside in the store.
    """
    requested = read_sweep(sweep, store, overrides_of(set_, gpus, cpus))  # reports a wrong file before more is imported
    from experiments.runner.options import Options

    options = Options(only=tuple(only or ()))
    schedule, place = open_sweep(requested, store, options)
    console = console_for(as_json)
    if calibrate:
        from experiments.cli.views.live import TerminalListener
        from experiments.runner.calibrate import calibrate as measure

        place.create()
        measure(schedule.plan, place, TerminalListener(console))
        schedule, place = open_sweep(requested, store, options)  # with the new measurements
    if as_json:
        from experiments.cli.views.plan_json import plan_json

        estimates = estimate(schedule, place, calibrate)
        print_json(
            plan_json(schedule.asked, schedule, estimates, place if calibrate else None, *_before(schedule, place))
        )
        return
    _show(schedule, place, calibrate, console, sweep)


def _show(schedule: Schedule, store: Store, calibrated: bool, console: Console, sweep: str) -> None:
    from experiments.cli.views.plan import plan_tables

    for table in plan_tables(schedule.asked, schedule, *_before(schedule, store)):
        show(console, table)
        show(console)
    estimates = estimate(schedule, store, calibrated)
    _show_sentences(schedule, estimates[None], console, sweep, store.root)
    if calibrated:
        _show_calibration(schedule, store, estimates, console)


def show_plan(
    schedule: Schedule, store: Store, console: Console, sweep: str, as_json: bool = False, recompute: bool = False
) -> Forecast:
    """Print the trainings and what is left to do, as a run begins; returns what that costs.

    sweep: how the command calls it. recompute: whether results that other code has made are done again.
    """
    from experiments.cli.views.plan import preparations_tables, trainings_table
    from experiments.cli.views.plan_json import plan_json

    estimates = estimate(schedule, store)
    if as_json:
        print_json(plan_json(schedule.asked, schedule, estimates, None, *_before(schedule, store)))
        return estimates[None]
    if schedule.of("waiting"):
        shared = preparations_tables(schedule, *_before(schedule, store))
        for table in (*shared, trainings_table(schedule.asked, schedule)):
            show(console, table)
    _show_sentences(schedule, estimates[None], console, sweep, store.root, recompute)
    return estimates[None]


def _before(schedule: Schedule, store: Store) -> tuple[list[DataSource], list[Download]]:
    """Return the data sets that a run would prepare, and the files that it would fetch for them."""
    from experiments.runner.data_costs import unprepared
    from experiments.runner.downloads import downloads

    if not schedule.of("waiting"):
        return [], []
    data = unprepared(schedule.plan, store)
    return data, list(downloads(data, store))


def estimate(schedule: Schedule, store: Store, calibrated: bool = False) -> dict[int | None, Forecast]:
    """Return what the remaining work costs here (under None) and, if networks were timed, on other numbers of GPUs."""
    from experiments.runner.forecast import forecast, forecasts

    left = schedule.of("waiting")
    if calibrated:
        return {**forecasts(schedule.plan, left, store)}
    return {None: forecast(schedule.plan, left, store)}


def _show_sentences(
    schedule: Schedule, estimate: Forecast, console: Console, sweep: str, store: Path, recompute: bool = False
) -> None:
    from experiments.cli.views.changes import change_lines, named_changes
    from experiments.cli.views.plan import plan_lines

    changed = change_lines(named_changes(schedule.plan, schedule.changes), sweep, store, recompute)
    for line in (*schedule.notices, *changed, *plan_lines(schedule.asked, schedule, estimate)):
        say(console, line)
    schedule.notices.clear()


def _show_calibration(
    schedule: Schedule, store: Store, estimates: dict[int | None, Forecast], console: Console
) -> None:
    from experiments.cli.views.calibration import cost_lines, machines_table, networks_table
    from experiments.cli.views.plan_json import networks_json

    networks = networks_json(schedule.plan, store)
    for table in (networks_table(networks), machines_table(estimates)):
        show(console)
        show(console, table)
    show(console)
    for line in cost_lines(estimates[None]):
        say(console, line)
