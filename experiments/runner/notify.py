"""Commands that a run calls when it ends, with a summary as JSON on their standard input."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from experiments.errors import UserError

PATIENCE_S = 60.0  # for a command to end: a run does not wait for ever


def parse_hook(option: str, text: str | None) -> list[str] | None:
    """Split a command as a person gives it, without a shell. Raises UserError where there is no such program."""
    if text is None:
        return None
    try:
        command = shlex.split(text)
    except ValueError as error:
        raise UserError(f"{option} {text}: is not a command ({error}); check its quotes") from None
    if not command or shutil.which(command[0]) is None:
        name = command[0] if command else text
        raise UserError(
            f"{option} {text}: no program {name!r} was found; give its path (the command is not run by a shell)"
        )
    return command


def call(command: list[str], summary: Mapping[str, Any], patience_s: float = PATIENCE_S) -> str | None:
    """Run a command with a summary on its standard input; return what went wrong, if anything, and never raise it."""
    shown = shlex.join(command)
    try:
        done = subprocess.run(
            command, input=json.dumps(summary), text=True, capture_output=True, timeout=patience_s, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{shown}: did not end within {patience_s:.0f} s and was stopped"
    except OSError as error:
        return f"{shown}: cannot be run ({error.strerror})"
    if done.returncode:
        output = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return f"{shown}: exited with code {done.returncode}{f' ({output[-1]})' if output else ''}"
    return None
