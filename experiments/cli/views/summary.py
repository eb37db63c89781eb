"""How a run ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli.output import command_here, same_command, say, store_option
from experiments.redaction import redact
from experiments.wording import shortened_list

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.runner.run import Summary
    from experiments.store.store import Store


def show_summary(
    summary: Summary, page: Path, kept: str, store: Store, tracking_uri: str | None, console: Console
) -> None:
    """Print how a run ended. kept: why its report's page is still an earlier one, if it is."""
    for name, failure in summary.failures.items():
        say(console, f"FAILED {name}: {failure.message}", style="bold red")
        for line in failure.log_tail():
            say(console, f"    {line}")
        if failure.remedy:
            say(console, f"    What may help: {failure.remedy}")
        say(console, f"    The whole log: {failure.log}")
    if summary.blocked:
        say(console, f"Not run because a task that they depend on failed: {_listed(summary.blocked)}")
    if summary.pruned:
        say(console, f"Pruned (a run without --scheduler asha trains them to the end): {_listed(summary.pruned)}")
    if summary.cancelled:
        say(console, f"Cancelled (the same command continues them): {_listed(summary.cancelled)}")
    for reason in dict.fromkeys(summary.withheld.values()):
        names = [name for name, own in summary.withheld.items() if own == reason]
        say(console, f"Not started: {shortened_list(names)}. {reason}")
    if summary.mirror_problem:
        problem = f"MLflow is not up to date ({summary.mirror_problem})"
        say(console, f"{problem}; nothing is lost, and the next run catches up.")
    if summary.failures:
        failed = f"{len(summary.failures)} of {summary.started} tasks failed"
        say(console, f"{failed}. To try them again: {same_command()}")
    place = store_option(store.root)
    say(console, f"Report: {page}{kept and f' ({kept})'}")
    say(console, f"MLflow: {_scores(tracking_uri, summary.experiment) if tracking_uri else command_here('ui', *place)}")


def _listed(names: list[str]) -> str:
    """List names, each once: a cell and its training may have the same."""
    return shortened_list(list(dict.fromkeys(names)))


def _scores(tracking_uri: str, experiment: str | None) -> str:
    """Return the address of the page that shows the scores, or that of the server or database."""
    address = redact(tracking_uri)
    if experiment is None or not address.startswith("http"):
        return address
    from experiments.tracking.views import view_link  # heavy

    return f"{address.rstrip('/')}/{view_link(experiment)}"


def summary_json(summary: Summary) -> dict[str, Any]:
    """Return how a run ended, for scripts."""
    return {
        "done": summary.done,
        "started": summary.started,
        "failed": [
            {"name": name, "message": failure.message, "log": failure.log, "kind": failure.kind}
            for name, failure in summary.failures.items()
        ],
        "blocked": summary.blocked,
        "pruned": summary.pruned,
        "withheld": summary.withheld,
        "cancelled": summary.cancelled,
        "interrupted": summary.interrupted,
        "worked_s": summary.worked_s,
        "mlflow_problem": summary.mirror_problem,
    }
