"""The command doctor."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.cli.completion import complete_sweeps
from experiments.cli.options import DEFAULT_STORE, AsJson, StoreFolder, TrackingUri
from experiments.cli.output import DONE, FAILED, console_for, print_json, say
from experiments.cli.sweeps import plan_of

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.inspection.doctor import Finding

MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("WRONG", "bold red")}


def doctor(
    sweep: Annotated[
        str | None,
        typer.Argument(
            metavar="SWEEP",
            help="A sweep: what it needs of data, weights, GPUs and disk is looked for.",
            autocompletion=complete_sweeps,
        ),
    ] = None,
    store: StoreFolder = DEFAULT_STORE,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Look whether this machine can do it: a line for each thing that may be wrong, with the remedy.

    Exit codes: 0 nothing is wrong, 1 something is.
    """
    from experiments.inspection.doctor import examine
    from experiments.store.store import Store

    console, findings = console_for(as_json), []
    plan = plan_of(sweep, store) if sweep is not None else None
    for finding in examine(Store(store), plan, tracking_uri):
        findings.append(finding)
        if not as_json:
            _show_finding(finding, console)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    wrong = [finding for finding in findings if finding.verdict == "wrong"]
    if not as_json:
        say(console, f"{len(wrong)} things are wrong." if wrong else "Nothing is wrong.")
    raise typer.Exit(FAILED if wrong else DONE)


def _show_finding(finding: Finding, console: Console) -> None:
    from rich.text import Text

    mark, style = MARKS[finding.verdict]
    console.print(Text.assemble((f"{mark:<6}", style), f"{finding.what}: {finding.text}"), soft_wrap=True)
    if finding.remedy:
        say(console, f"{'':<6}remedy: {finding.remedy}")
