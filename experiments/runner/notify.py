"""Commands that a run calls when it ends, with a summary as JSON on their standard input."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Mapping
from typing import Any

from experiments.environment import inherited

PATIENCE_S = 60.0  # for a command to end: a run does not wait for ever


def call(command: list[str], summary: Mapping[str, Any], patience_s: float = PATIENCE_S) -> str | None:
    """Run a command with a summary on its standard input; return what went wrong, if anything, and never raise it."""
    shown = shlex.join(command)
    try:
        done = subprocess.run(
            command,
            env=inherited(),
            input=json.dumps(summary),
            text=True,
            errors="replace",  # a program may print in any encoding
            capture_output=True,
            timeout=patience_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{shown}: did not end within {patience_s:.0f} s and was stopped"
    except OSError as error:
        return f"{shown}: cannot be run ({error.strerror})"
    if done.returncode:
        output = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return f"{shown}: exited with code {done.returncode}{f' ({output[-1]})' if output else ''}"
    return None
