"""edm/equivalent_code.json: what developers vouch for is what the code computes, to the last bit."""

import json
import subprocess
import sys

from experiments.sweep.code_parts import EQUIVALENT, all_parts
from tests import ROOT

SCRIPT = ROOT / "docs" / "scripts" / "equivalent_code.py"


def test_todays_code_computes_the_outputs_it_is_listed_with() -> None:
    """In a process of its own, whose arithmetic is the same on every x86 machine."""
    ran = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_only_parts_that_there_are_can_be_vouched_for() -> None:
    content = json.loads((ROOT / "edm" / EQUIVALENT).read_text())
    assert content.keys() - {"versions"} <= set(all_parts())
    for groups in (groups for part, groups in content.items() if part != "versions"):
        listed = [digest for group in groups for digest in group["code"]]
        assert len(listed) == len(set(listed)), "a digest is in two groups"
