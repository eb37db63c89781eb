"""How commands print, and their exit codes."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

LOG_WIDTH = 160  # of tables that go to a file
MOST_NAMES = 12  # in one line
DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


def console_for(as_json: bool) -> Console:
    """Standard output, or standard error where JSON goes to standard output."""
    from rich.console import Console

    console = Console(stderr=as_json, highlight=False)
    return console if console.is_terminal else Console(stderr=as_json, highlight=False, width=LOG_WIDTH)


@contextmanager
def waiting(console: Console, text: str) -> Iterator[None]:
    """Say what is waited for, while the block lasts, on a terminal."""
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        yield


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print a line as it is: no markup in it, never broken."""
    console.print(text, style=style, markup=False, soft_wrap=True)


def print_json(content: Any) -> None:
    """Print JSON to standard output."""
    print(json.dumps(content, indent=1))


def listed(names: list[str]) -> str:
    """Some names in one line."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def same_command() -> str:
    """This command, to give again."""
    return command_here(*sys.argv[1:])


def command_here(*arguments: str) -> str:
    """A command as the person would type it here."""
    runner = ["uv", "run"] if "UV_RUN_RECURSION_DEPTH" in os.environ else []
    return shlex.join([*runner, "edm-sweep", *arguments])
