"""Runs code in a process of its own in which Triton interprets kernels, or compiles them for a GPU that is not here.

There are no type checks in it, which kernels cannot stand, and Triton asks only once whether to interpret.
"""

import os
import subprocess
import sys

from tests import ROOT


def output_of(code: str, **environment: str) -> str:
    """Return what a piece of Python prints."""
    command, variables = [sys.executable, "-c", code], {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=variables, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
