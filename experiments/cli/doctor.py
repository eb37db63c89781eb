"""The command doctor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from experiments.cli.options import AsJson, OptionalSweepArgument, StoreFolder, TrackingUri
from experiments.cli.output import DONE, FAILED, console_for, print_json, say, show, waiting
from experiments.cli.sweeps import plan_of
from experiments.environment import DEFAULT_STORE

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.inspection.doctor import Check, Finding


def doctor(
    sweep: OptionalSweepArgument = None,
    store: StoreFolder = DEFAULT_STORE,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine's setup, and say how to fix each problem.

    With SWEEP it checks what that sweep needs: data, weights, GPUs and disk space.

    Exit codes: 0 no problems found; 1 problems found; 2 wrong input.
    """
    from experiments.cli.views.findings import finding_view, summary_line
    from experiments.inspection.doctor import checks
    from experiments.store.store import Store

    console, findings = console_for(as_json), []
    plan = plan_of(sweep, store) if sweep is not None else None
    for finding in examined(checks(Store(store), plan, tracking_uri), console):
        findings.append(finding)
        if not as_json:
            show(console, finding_view(finding))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        say(console, summary_line(findings))
    raise typer.Exit(FAILED if any(finding.verdict == "wrong" for finding in findings) else DONE)


def examined(checks: Iterator[Check], console: Console) -> Iterator[Finding]:
    """Make one check after the other, and show on a terminal which one is under way."""
    for check in checks:
        with waiting(console, f"checking {check.title}"):
            findings = list(check.run())
        yield from findings
