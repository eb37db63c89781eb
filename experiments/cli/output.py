"""How commands print, and their exit codes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.environment import DEFAULT_STORE
from experiments.redaction import redacted_command

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

LOG_WIDTH = 160  # of tables that do not go to a terminal
PLAIN_PERIOD_S = 60.0  # between summaries of progress where nothing can be redrawn
DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


def console_for(as_json: bool) -> Console:
    """Return a console on standard output, or on standard error if JSON goes to standard output."""
    from rich.console import Console, ConsoleDimensions

    from experiments.cli.views.printable import PrintableText

    console = Console(stderr=as_json, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=as_json, highlight=False, width=LOG_WIDTH)
    elif console.is_dumb_terminal:  # rich takes these to have 80 columns, whatever they have
        console.size = ConsoleDimensions(*shutil.get_terminal_size())
    console.push_render_hook(PrintableText())  # a store or a bundle may have come from anybody
    return console


@contextmanager
def waiting(console: Console, text: str) -> Iterator[None]:
    """Show on a terminal what the block does, for as long as it takes."""
    if not console.is_interactive:
        yield
        return
    with console.status(text):
        yield


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print a line without interpreting markup and without breaking it."""
    console.print(text, style=style, markup=False, soft_wrap=True)


def show(console: Console, view: RenderableType = "") -> None:
    """Print a view, such as a table, without cutting lines that are longer than the console is wide."""
    console.print(view, crop=False)


def print_json(content: Any) -> None:
    """Print JSON to standard output."""
    print(json.dumps(content, indent=1))


def same_command() -> str:
    """Return this command as it was typed."""
    return command_here(*sys.argv[1:])


def store_option(root: Path) -> list[str]:
    """Return the option of a command that selects a store; none for the default one."""
    return [] if root == DEFAULT_STORE.absolute() else ["--store", str(root)]


def command_here(*arguments: str) -> str:
    """Return a command as a person would type it here, beginning with `uv run` if this one was."""
    return redacted_command([*_runner(), "edm-sweep", *arguments])


def _runner() -> list[str]:
    """How the command is started here; outside of the checkout uv has to be told where that is."""
    if "UV_RUN_RECURSION_DEPTH" not in os.environ:
        return []
    here, project = Path.cwd(), Path(sys.prefix).parent
    is_elsewhere = (project / "pyproject.toml").exists() and project not in (here, *here.parents)
    return ["uv", "run", *(["--project", str(project)] if is_elsewhere and "UV_PROJECT" not in os.environ else [])]
