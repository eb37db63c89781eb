"""Vouch for changed code of edm/ that computes the same: write edm/equivalent_code.json.

    uv run python docs/scripts/equivalent_code.py            # add today's code where its outputs are the same to the bit
    uv run python docs/scripts/equivalent_code.py --changed  # the same; and where numbers changed, begin a new group
    uv run python docs/scripts/equivalent_code.py --check    # say what is missing or wrong, and write nothing

For each part of the code, the file has groups of digests whose code computed the same outputs (golden_outputs.py). A test
checks that today's code is in a group of its outputs. Outputs are computed without instructions that only some CPUs
have, so that their bits are the same on every x86 machine with these versions of torch and numpy.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FILE = ROOT / "edm" / "equivalent_code.json"
VERSIONS = "versions"  # key of the file, beside the parts
PORTABLE = {  # set before torch and numpy are loaded
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Nehalem",
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


def main() -> int:
    """Compute, compare and write; return the exit code."""
    from golden_outputs import OUTPUTS, digest_of, versions

    from experiments.sweep.code_parts import EdmCode

    checking = "--check" in sys.argv
    content = json.loads(FILE.read_text()) if FILE.exists() else {VERSIONS: versions()}
    if content[VERSIONS] != versions():
        print(f"made with {content[VERSIONS]}, here is {versions()}: outputs cannot be compared")
        return 0 if checking else 1
    code = EdmCode(ROOT / "edm")
    found = {part: (code.digest(part), digest_of(part)) for part in OUTPUTS}
    problems = add(content, found, "--changed" in sys.argv, checking)
    for part, problem in problems.items():
        print(f"{part}: {problem}")
    if not checking:
        FILE.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if problems else 0


def add(content: dict[str, Any], found: Mapping[str, tuple[str, str]], changed: bool, checking: bool) -> dict[str, str]:
    """Add today's code to the groups of its outputs; return what is in the way, by part.

    found: the digests of each part's code and outputs. changed: whether new outputs are meant. checking: whether to
    add nothing.
    """
    problems: dict[str, str] = {}
    for part, (today, outputs) in found.items():
        groups = content.setdefault(part, [])
        own = next((group for group in groups if group["outputs"] == outputs), None)
        if own is not None and today in own["code"]:
            continue
        listed = any(today in group["code"] for group in groups)
        if listed or checking or (own is None and groups and not changed):
            problems[part] = _problem(listed, own is None)
        elif own is None:
            groups.append({"outputs": outputs, "code": [today]})
        else:
            own["code"].append(today)
    return problems


def _problem(listed: bool, outputs_differ: bool) -> str:
    if listed:
        return "is listed with other outputs: has something that the digest does not see changed, such as a library?"
    if outputs_differ:
        return "numbers changed; if that is meant, run this with --changed (see docs/contributing.md)"
    return "code changed and computes the same; run docs/scripts/equivalent_code.py"


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in PORTABLE.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **PORTABLE})
    sys.path = [str(ROOT), *sys.path[1:], sys.path[0]]  # last, from where mlflow.py would be imported as MLflow
    sys.exit(main())
