"""Commands that are told how a run ended: a summary as JSON on their standard input."""

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
    """A command as a person gives it, without a shell; raises UserError where there is no such program."""
    if text is None:
        return None
    try:
        command = shlex.split(text)
    except ValueError as error:
        raise UserError(f"{option} {text}: is not a command ({error}); put the quotes right") from None
    if not command or shutil.which(command[0]) is None:
        name = command[0] if command else text
        raise UserError(f"{option} {text}: there is no program {name!r} here; give its path (no shell reads this)")
    return command


def call(command: list[str], summary: Mapping[str, Any]) -> str | None:
    """Run a command with a summary on its standard input; what went wrong, or None. A run never fails by it."""
    try:
        done = subprocess.run(
            command, input=json.dumps(summary), text=True, capture_output=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{shlex.join(command)}: has not ended within {PATIENCE_S:.0f} s"
    except OSError as error:
        return f"{shlex.join(command)}: cannot be run ({error.strerror})"
    if done.returncode:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return f"{shlex.join(command)}: ended with {done.returncode}{f' ({told[-1]})' if told else ''}"
    return None
