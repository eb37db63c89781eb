"""The command plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.options import DEFAULT_STORE, AsJson, Cpus, Gpus, Only, Overrides, StoreFolder, SweepArgument
from experiments.cli.output import console_for, print_json, say
from experiments.cli.sweeps import open_sweep, sweep_of

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.runner.forecast import Forecast
    from experiments.runner.schedule import Schedule
    from experiments.store.store import Store


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
    from experiments.runner.options import Options

    options = Options(only=tuple(only or ()))
    schedule, place = open_sweep(sweep, store, set_, gpus, cpus, options)
    console = console_for(as_json)
    if calibrate:
        from experiments.cli.views.live import TerminalListener
        from experiments.runner.calibrate import calibrate as measure

        place.create()
        measure(schedule.plan, place, TerminalListener(console))
        schedule, place = open_sweep(sweep, store, set_, gpus, cpus, options)  # which knows what has been measured
    if not as_json:
        from experiments.cli.views.plan import cells_table

        console.print(cells_table(schedule.plan))
        console.print()
    show_plan(schedule, place, console, as_json, calibrate)


def show_plan(schedule: Schedule, store: Store, console: Console, as_json: bool, calibrated: bool = False) -> Forecast:
    """Print what is left to do and what it costs; where that was measured on purpose, on other machines as well."""
    from experiments.cli.views.plan import cost_lines, machines_table, networks_table, plan_json, plan_lines, plan_table
    from experiments.runner.forecast import forecast, forecasts

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
