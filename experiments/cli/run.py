"""The command run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from experiments.cli.options import (
    AsJson,
    Cpus,
    Gpus,
    Only,
    Overrides,
    StoreFolder,
    SweepArgument,
    TrackingUri,
)
from experiments.cli.output import DONE, FAILED, INTERRUPTED, console_for, print_json, same_command, say
from experiments.cli.parsing import parse_budget, parse_command, parse_tags
from experiments.cli.plan import show_plan
from experiments.cli.report import cells_json, show_tables, write_page
from experiments.cli.report_sources import Source, report_of
from experiments.cli.sweeps import open_sweep, overrides_of, read_sweep
from experiments.cli.views.summary import show_summary, summary_json
from experiments.environment import DEFAULT_STORE
from experiments.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.store.store import Store
    from reports.report import Report


def run(
    sweep: SweepArgument,
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
    only: Only = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run and what it would cost, and start nothing.")
    ] = False,
    gpus: Gpus = None,
    cpus: Cpus = None,
    tracking_uri: TrackingUri = None,
    retries: Annotated[int, typer.Option(help="How often to try a failed task again.", min=0)] = 1,
    budget: Annotated[
        str | None,
        typer.Option(
            help="The most GPU-hours to use (without GPUs: the hours of all trials added up), such as 40h, 90m or 2d."
        ),
    ] = None,
    scheduler: Annotated[
        Literal["asha"] | None,
        typer.Option(help="asha stops trainings whose loss on the val split is among the worst."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster to run on: auto, HOST:PORT or ray://HOST:PORT.")
    ] = None,
    recompute: Annotated[
        Literal["changed"] | None,
        typer.Option(
            help="changed does results again that other code than today's has made, and what depends on them."
        ),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A tag to record with every result of this run. Can be repeated."),
    ] = None,
    on_finish: Annotated[
        str | None,
        typer.Option(metavar="CMD", help="A command to run at the end, with a summary as JSON on its standard input."),
    ] = None,
    on_failure: Annotated[
        str | None,
        typer.Option(
            metavar="CMD", help="Like --on-finish, but only if a task failed, was cancelled or was not started."
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Whether to try the sweep's extensions on random input first.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Run whatever a sweep still needs and show its table. Safe to repeat.

    Exit codes: 0 if all is done; 1 if a task failed, was cancelled or was not started; 2 for wrong input; 130 if
    interrupted.
    """
    requested = read_sweep(sweep, store, overrides_of(set_, gpus, cpus))  # reports a wrong file before more is imported
    hooks = {
        option: parse_command(option, text)
        for option, text in (("--on-finish", on_finish), ("--on-failure", on_failure))
        if text is not None
    }
    budget_s = parse_budget(budget) if budget is not None else None
    tags = parse_tags(tag or [])
    from experiments.cli.views.live import TerminalListener
    from experiments.runner.budget import Budget
    from experiments.runner.options import Options
    from experiments.runner.run import run_sweep

    options = Options(
        retries, budget_s, scheduler == "asha", address, tuple(only or ()), tags, recompute == "changed", check
    )
    schedule, place = open_sweep(requested, store, options)
    console = console_for(as_json)
    estimate = show_plan(schedule, place, console, sweep, as_json and dry_run, options.recompute)
    if budget_s is not None:
        Budget(budget_s).require(estimate)
        if not estimate.measured:
            remark = "nothing has been measured yet, so the budget applies once the first tasks have finished"
            say(console, f"--budget {budget}: {remark}")
    if dry_run:
        return
    place.create()
    with _calling_hooks(hooks, schedule.asked.sweep.name, place, console) as outcome:
        report = _FinalReport(Source(schedule.asked, place, schedule.asked.sweep.name))
        summary = run_sweep(schedule, place, tracking_uri, TerminalListener(console), options, report.write)
        outcome |= summary_json(summary)
        if summary.interrupted:  # no tables after Ctrl-C
            far = f"{summary.done} of {summary.started} tasks are done"
            say(console, f"Interrupted: {far}. To continue: {same_command()}")
            raise typer.Exit(INTERRUPTED)
        show_tables(report.made, place, console)
        outcome |= {"report": str(report.page), "cells": cells_json(report.made)}
    if as_json:
        print_json(outcome)
    show_summary(summary, report.page, place, tracking_uri, console)
    raise typer.Exit(FAILED if summary.is_incomplete else DONE)


class _FinalReport:
    """The report that a run ends with. made, page: it and its page, once it is written."""

    made: Report
    page: Path

    def __init__(self, source: Source) -> None:
        self.source = source

    def write(self) -> None:
        """Make the report and write it into the store; raises UserError."""
        self.made = report_of([self.source])
        self.page = write_page(self.made, self.source.store.report_folder(self.source.name))


@contextmanager
def _calling_hooks(hooks: dict[str, list[str]], sweep: str, store: Store, console: Console) -> Iterator[dict[str, Any]]:
    """Call the hooks once the block has ended, however it did; the block fills in the summary that they get.

    hooks: commands, by the option that gave them.
    """
    from experiments.runner.notify import call

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
        summary = {"sweep": sweep, "store": str(store.root), "outcome": ended, "error": error or None, **outcome}
        for option, command in hooks.items():
            if option == "--on-failure" and ended not in ("error", "failed"):
                continue
            problem = call(command, summary)
            if problem is not None:
                say(console, f"{option} {problem}")


def _ending(outcome: dict[str, Any]) -> str:
    if outcome.get("interrupted"):
        return "interrupted"
    return "failed" if any(outcome.get(key) for key in ("failed", "withheld", "cancelled")) else "done"
