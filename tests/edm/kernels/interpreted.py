"""Runs code in a process of its own in which Triton interprets kernels, or compiles them for a GPU that is not here.

There are no type checks in it, which kernels cannot stand, and Triton asks only once whether to interpret.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

NO_PTXAS = "no ptxas"
WITH_COMPILER = f"""
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

try:
    triton.knobs.nvidia.ptxas
except RuntimeError:
    print("{NO_PTXAS}")
    raise SystemExit
"""


def output_of(code: str, **environment: str) -> str:
    """Return what a piece of Python prints."""
    command, variables = [sys.executable, "-c", code], {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=variables, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def output_with_compiler(code: str, cache: Path) -> str:
    """Return what code prints that compiles kernels by Triton; skips the test where Triton has no assembler."""
    found = output_of(WITH_COMPILER + code, TRITON_CACHE_DIR=str(cache))
    if found.strip() == NO_PTXAS:
        pytest.skip("Triton has no ptxas here")
    return found
