"""The commands of --on-finish and --on-failure, which get a summary of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from experiments.cli.output import say
from experiments.cli.parsing import parse_command
from experiments.errors import RayLost, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.store.store import Store

Hooks = dict[str, list[str]]  # commands, by the option that gave them


def parse_hooks(on_finish: str | None, on_failure: str | None) -> Hooks:
    """Return the commands that were given. Raises UserError if one of them is not a command."""
    given = {"--on-finish": on_finish, "--on-failure": on_failure}
    return {option: parse_command(option, text) for option, text in given.items() if text is not None}


@contextmanager
def calling_hooks(hooks: Hooks, sweep: str, store: Store, console: Console) -> Iterator[dict[str, Any]]:
    """Call the hooks once the block has ended, however it did; the block fills in the summary that they get."""
    from experiments.runner.notify import call

    outcome: dict[str, Any] = {}
    error = ""
    try:
        yield outcome
    except RayLost:
        hooks = {}  # the command that is started again calls them
        raise
    except UserError as raised:
        error = str(raised)
        raise
    except KeyboardInterrupt:
        outcome["interrupted"] = True
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
