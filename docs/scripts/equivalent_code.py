"""Vouch for changed code of edm/ that computes the same: write edm/equivalent_code.json.

    uv run python docs/scripts/equivalent_code.py            # add today's code where its outputs are the same to the bit
    uv run python docs/scripts/equivalent_code.py --changed  # the same; and where numbers changed, begin a new group
    uv run python docs/scripts/equivalent_code.py --check    # say what is missing or wrong, and write nothing

For each part of the code, the file has groups of digests whose code computed the same outputs (golden_outputs.py). A test
checks that today's code is in a group of its outputs. Outputs are computed without instructions that only some CPUs
have. Their bits depend on the versions of torch and numpy and on the CPU's maker all the same (torch draws dropout masks with
MKL on Intel's alone), so a group keeps them for each of these environments in which they were computed. In one that is
new, the committed code is computed as well, and today's is compared with that.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FILE = ROOT / "edm" / "equivalent_code.json"
PORTABLE = {  # set before torch and numpy are loaded
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Nehalem",
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
OUTPUTS_OF = "--outputs-of"  # with a folder of code: print what that computes, for this script itself

Computed = Mapping[str, tuple[str, str]]  # the digests of a part's code and of its outputs, by part


def main() -> int:
    """Compute, compare and write; return the exit code."""
    from golden_outputs import environment

    checking, here = "--check" in sys.argv, environment()
    content = json.loads(FILE.read_text()) if FILE.exists() else {}
    found = computed(ROOT)
    if not checking and is_new(content, found, here):
        print(f"nothing was computed with {here} before: comparing with the committed code", flush=True)
        note(content, of_committed_code(), here)
    problems = add(content, found, here, "--changed" in sys.argv, checking)
    for part, problem in problems.items():
        print(f"{part}: {problem}")
    if not checking:
        FILE.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if problems else 0


def computed(folder: Path) -> Computed:
    """Return what the code in a folder computes; it has to be the code that this process imports."""
    from golden_outputs import OUTPUTS, digest_of

    from experiments.sweep.code_parts import EdmCode

    code = EdmCode(folder / "edm")
    digests = {part: code.digest(part) for part in OUTPUTS}
    return {part: (digest, digest_of(part)) for part, digest in digests.items() if digest is not None}


def of_committed_code() -> Computed:
    """Return what the code of the last commit computes here, in a process of its own."""
    archive = subprocess.run(
        ["git", "archive", "HEAD", "edm", "experiments"], cwd=ROOT, capture_output=True, check=True
    )
    with tempfile.TemporaryDirectory() as name:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(name, filter="data")
        command = [sys.executable, __file__, OUTPUTS_OF, name]
        ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ran.stdout)


def is_new(content: Mapping[str, Any], found: Computed, here: str) -> bool:
    """Return whether a part has groups, but no outputs of this environment."""
    return any(part in content and not any(here in group["outputs"] for group in content[part]) for part in found)


def note(content: dict[str, Any], committed: Computed, here: str) -> None:
    """Note what committed code computes here in the group that it is in."""
    for part, (code, outputs) in committed.items():
        for group in content.get(part, []):
            if code in group["code"]:
                group["outputs"].setdefault(here, outputs)


def add(content: dict[str, Any], found: Computed, here: str, changed: bool, checking: bool) -> dict[str, str]:
    """Add today's code to the groups of its outputs; return what is in the way, by part.

    here: the environment of these outputs. changed: whether new outputs are meant. checking: whether to add nothing.
    """
    problems: dict[str, str] = {}
    for part, (code, outputs) in found.items():
        groups = content.setdefault(part, [])
        own = next((group for group in groups if code in group["code"]), None)
        same = next((group for group in groups if group["outputs"].get(here) == outputs), None)
        if own is not None:
            if own["outputs"].get(here, outputs) != outputs:
                problems[part] = LISTED
            elif not checking:
                own["outputs"][here] = outputs
        elif checking or (same is None and groups and not changed):
            problems[part] = CHANGED if same is None else SAME
        elif same is None:
            groups.append({"outputs": {here: outputs}, "code": [code]})
        else:
            same["code"].append(code)
    return problems


LISTED = "is listed with other outputs: has something that the digest does not see changed, such as a library?"
CHANGED = "numbers changed; if that is meant, run this with --changed (see docs/contributing.md)"
SAME = "code changed and computes the same; run docs/scripts/equivalent_code.py"


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in PORTABLE.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **PORTABLE})
    folder = Path(sys.argv[2]) if sys.argv[1:2] == [OUTPUTS_OF] else ROOT
    sys.path = [str(folder), *sys.path[1:], sys.path[0]]  # last, from where mlflow.py would be imported as MLflow
    if folder == ROOT:
        sys.exit(main())
    print(json.dumps(computed(folder)))
