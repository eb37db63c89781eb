"""The command run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from experiments.cli.hooks import Hooks, calling_hooks, parse_hooks
from experiments.cli.options import AsJson, Cpus, Gpus, Only, Overrides, StoreFolder, SweepArgument, TrackingUri
from experiments.cli.output import DONE, FAILED, INTERRUPTED, console_for, print_json, same_command, say
from experiments.cli.parsing import parse_budget, parse_tags
from experiments.cli.plan import show_plan
from experiments.cli.report import cells_json, show_tables, write_page
from experiments.cli.report_sources import ReportOptions, Source, report_of
from experiments.cli.restart import restarts_left, spent_s
from experiments.cli.sweeps import open_sweep, overrides_of, read_sweep
from experiments.cli.views.summary import show_summary, summary_json
from experiments.environment import DEFAULT_STORE

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.runner.forecast import Forecast
    from experiments.runner.options import Options
    from experiments.runner.schedule import Schedule
    from experiments.store.store import Store
    from reports.report import Report

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would run and what it would cost, and start nothing.")
]
Retries = Annotated[int, typer.Option(help="How often to try a failed task again.", min=0)]
Budget = Annotated[
    str | None,
    typer.Option(
        help="The most GPU-hours to use (without GPUs: the hours of all trials added up), such as 40h, 90m or 2d."
    ),
]
Scheduler = Annotated[
    Literal["asha"] | None,
    typer.Option(help="asha stops trainings whose loss on the val split is among the worst."),
]
RayAddress = Annotated[str | None, typer.Option(help="A Ray cluster to run on: auto, HOST:PORT or ray://HOST:PORT.")]
Recompute = Annotated[
    Literal["changed", "missing"] | None,
    typer.Option(
        help="changed does results again that other code than today's has made, and what depends on them. missing "
        "trains networks again whose folders were deleted, which a run otherwise does only if an evaluation needs them."
    ),
]
Tags = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="A tag to record with every result of this run. Can be repeated."),
]
OnFinish = Annotated[
    str | None,
    typer.Option(metavar="CMD", help="A command to run at the end, with a summary as JSON on its standard input."),
]
OnFailure = Annotated[
    str | None,
    typer.Option(
        metavar="CMD",
        help="Like --on-finish, but only if the run failed, or a task failed, was cancelled or was not started.",
    ),
]
Check = Annotated[
    bool, typer.Option("--check/--no-check", help="Whether to try the sweep's extensions on random input first.")
]
WithProvenance = Annotated[
    bool,
    typer.Option("--with-provenance", help="Include host names, absolute paths and links to MLflow in the report."),
]


def run(
    sweep: SweepArgument,
    store: StoreFolder = DEFAULT_STORE,
    set_: Overrides = None,
    only: Only = None,
    dry_run: DryRun = False,
    gpus: Gpus = None,
    cpus: Cpus = None,
    tracking_uri: TrackingUri = None,
    retries: Retries = 1,
    budget: Budget = None,
    scheduler: Scheduler = None,
    address: RayAddress = None,
    recompute: Recompute = None,
    tag: Tags = None,
    on_finish: OnFinish = None,
    on_failure: OnFailure = None,
    check: Check = True,
    with_provenance: WithProvenance = False,
    as_json: AsJson = False,
) -> None:
    """Run whatever a sweep still needs and show its table. Safe to repeat.

    Exit codes: 0 if all is done; 1 if a task failed, was cancelled or was not started; 2 for wrong input, or what you
    must fix first, such as a full disk; 130 on Ctrl-C or SIGTERM.
    """
    requested = read_sweep(sweep, store, overrides_of(set_, gpus, cpus))  # reports a wrong file before more is imported
    hooks, tags = parse_hooks(on_finish, on_failure), parse_tags(tag or [])
    from experiments.runner.options import Options

    budget_s = None if budget is None else parse_budget(budget)
    cells, asha, again = tuple(only or ()), scheduler == "asha", recompute == "changed"
    given = (retries, budget_s, asha, address, cells, tags, again, check)
    options = Options(*given, restartable=restarts_left() > 0, spent_s=spent_s(), missing=recompute == "missing")
    schedule, place = open_sweep(requested, store, options)
    console = console_for(as_json)
    _check_budget(budget, options, show_plan(schedule, place, console, sweep, as_json and dry_run, again), console)
    if not dry_run:
        report = _FinalReport(schedule, place, tracking_uri, with_provenance)
        _fill(schedule, report, options, hooks, console, as_json)


def _check_budget(budget: str | None, options: Options, estimate: Forecast, console: Console) -> None:
    """Raise UserError if what is left takes more than a budget; say so if nobody can know yet."""
    from experiments.runner.budget import Budget

    if options.budget_s is None:
        return
    Budget(options.budget_s).require(estimate)
    if not estimate.measured:
        remark = "nothing has been measured yet, so the budget applies once the first tasks have finished"
        say(console, f"--budget {budget}: {remark}")


def _fill(
    schedule: Schedule, report: _FinalReport, options: Options, hooks: Hooks, console: Console, as_json: bool
) -> NoReturn:
    """Run what a schedule has left, print the tables and a summary, and exit."""
    from experiments.cli.views.live import TerminalListener
    from experiments.runner.run import run_sweep

    store, tracking_uri = report.store, report.tracking_uri
    store.create()
    with calling_hooks(hooks, schedule.asked.sweep.name, store, console) as outcome:
        summary = run_sweep(schedule, store, tracking_uri, TerminalListener(console), options, report.write)
        outcome |= summary_json(summary)
        if summary.interrupted:  # no tables after Ctrl-C
            far = f"{summary.done} of {summary.started} tasks are done"
            say(console, f"Interrupted: {far}. To continue: {same_command()}")
            if as_json:
                print_json(outcome)
            raise typer.Exit(INTERRUPTED)
        show_tables(report.made, str(store.root), console)
        outcome |= {"report": str(report.page), "cells": cells_json(report.made)}
    if as_json:
        print_json(outcome)
    show_summary(summary, report.page, report.kept, store, tracking_uri, console)
    raise typer.Exit(FAILED if summary.is_incomplete else DONE)


class _FinalReport:
    """The report that a run ends with. made, page: it and its page, once it is written.

    kept: why the page is still that of an earlier report. with_provenance: with host names, absolute paths and links to
    a server on another machine.
    """

    made: Report
    page: Path
    kept = ""

    def __init__(self, schedule: Schedule, store: Store, tracking_uri: str | None, with_provenance: bool) -> None:
        self.schedule, self.store, self.tracking_uri = schedule, store, tracking_uri
        self.options = ReportOptions(with_provenance=with_provenance)

    def write(self, links: dict[str, str]) -> None:
        """Make the report and write it into the store; raises UserError. links: of tasks in MLflow, by signature.

        An earlier report with more results stays where this run has added none, as after all its tasks have failed.
        """
        from reports.folder import PAGE

        plan = self.schedule.asked
        source = Source(plan, self.store, plan.sweep.name, run_links=links if self.tracking_uri else None)
        self.made = report_of([source], self.options)
        folder = self.store.report_folder(plan.sweep.name)
        self.kept = self._why_kept(folder)
        self.page = folder / PAGE if self.kept else write_page(self.made, folder, figures=True)

    def _why_kept(self, folder: Path) -> str:
        """Return why the report that a folder has is better than this one, "" if it is not."""
        from experiments.sweep.tasks import Evaluation
        from reports.folder import num_results

        is_done = self.made.frame["status"].eq("done")
        added = {task.signature for task in self.schedule.of("done") if isinstance(task, Evaluation)}
        if is_done.all() or added - self.schedule.present or (before := num_results(folder)) <= is_done.sum():
            return ""
        now = f"only {is_done.sum():,}" if is_done.any() else "none"
        return f"with {before:,} earlier results: this run added none, and the sweep has {now} now"
