"""edm/equivalent_code.json: what developers vouch for is what the code computes, to the last bit."""

import importlib.util
import json
import subprocess
import sys

import pytest

from experiments.code_cache import EQUIVALENT
from experiments.sweep.code_parts import all_parts
from tests import ROOT

SCRIPT = ROOT / "docs" / "scripts" / "equivalent_code.py"


@pytest.mark.slow
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


@pytest.fixture
def add():
    """What the script does with what it has computed."""
    spec = importlib.util.spec_from_file_location("equivalent_code", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.add


def test_code_of_the_same_outputs_joins_its_group(add) -> None:
    content = {"network": [{"outputs": "x", "code": ["a"]}]}
    assert add(content, {"network": ("b", "x")}, changed=False, checking=False) == {}
    assert content == {"network": [{"outputs": "x", "code": ["a", "b"]}]}


def test_code_of_other_outputs_begins_a_group_only_if_meant(add) -> None:
    content = {"network": [{"outputs": "x", "code": ["a"]}]}
    assert "numbers changed" in add(content, {"network": ("b", "y")}, changed=False, checking=False)["network"]
    assert content["network"] == [{"outputs": "x", "code": ["a"]}]
    assert add(content, {"network": ("b", "y")}, changed=True, checking=False) == {}
    assert content["network"] == [{"outputs": "x", "code": ["a"]}, {"outputs": "y", "code": ["b"]}]


def test_listed_code_of_other_outputs_is_a_problem(add) -> None:
    content = {"network": [{"outputs": "x", "code": ["a"]}]}
    assert "listed with other outputs" in add(content, {"network": ("a", "y")}, changed=True, checking=False)["network"]


def test_a_check_adds_nothing(add) -> None:
    content = {"network": [{"outputs": "x", "code": ["a"]}]}
    assert "run docs/scripts" in add(content, {"network": ("b", "x")}, changed=False, checking=True)["network"]
    assert content == {"network": [{"outputs": "x", "code": ["a"]}]}
