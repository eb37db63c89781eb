"""edm/equivalent_code.json: what developers vouch for is what the code computes, to the last bit."""

import importlib.util
import json
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from experiments.code_cache import EQUIVALENT
from experiments.sweep.code_parts import all_parts
from tests import ROOT

SCRIPT = ROOT / "docs" / "scripts" / "equivalent_code.py"


@pytest.mark.slow
def test_todays_code_computes_the_outputs_it_is_listed_with() -> None:
    """In a process of its own, whose arithmetic is the same on CPUs of one maker."""
    ran = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_only_parts_that_there_are_can_be_vouched_for() -> None:
    content = json.loads((ROOT / "edm" / EQUIVALENT).read_text())
    assert content.keys() <= set(all_parts())
    for groups in content.values():
        listed = [digest for group in groups for digest in group["code"]]
        assert len(listed) == len(set(listed)), "a digest is in two groups"
        computed = [each for group in groups for each in group["outputs"].items()]
        assert len(computed) == len(set(computed)), "two groups have the same outputs"


@pytest.fixture
def script() -> ModuleType:
    """What the script does with what it has computed."""
    spec = importlib.util.spec_from_file_location("equivalent_code", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HERE, THERE = "torch 1, one CPU", "torch 2, another CPU"


def a_group(*code: str, **outputs: str) -> dict[str, Any]:
    return {
        "outputs": {{"here": HERE, "there": THERE}[name]: value for name, value in outputs.items()},
        "code": [*code],
    }


def test_code_of_the_same_outputs_joins_its_group(script) -> None:
    content = {"network": [a_group("a", here="x")]}
    assert script.add(content, {"network": ("b", "x")}, HERE, changed=False, checking=False) == {}
    assert content == {"network": [a_group("a", "b", here="x")]}


def test_code_of_other_outputs_begins_a_group_only_if_meant(script) -> None:
    content, found = {"network": [a_group("a", here="x")]}, {"network": ("b", "y")}
    assert "numbers changed" in script.add(content, found, HERE, changed=False, checking=False)["network"]
    assert content["network"] == [a_group("a", here="x")]
    assert script.add(content, found, HERE, changed=True, checking=False) == {}
    assert content["network"] == [a_group("a", here="x"), a_group("b", here="y")]


def test_listed_code_of_other_outputs_is_a_problem(script) -> None:
    content = {"network": [a_group("a", here="x")]}
    found = script.add(content, {"network": ("a", "y")}, HERE, changed=True, checking=False)
    assert "listed with other outputs" in found["network"]


def test_checking_names_code_that_is_not_listed_and_adds_nothing(script) -> None:
    content = {"network": [a_group("a", here="x")]}
    same, changed = (
        script.add(content, {"network": ("b", outputs)}, HERE, changed=False, checking=True)["network"]
        for outputs in ("x", "y")
    )
    assert "computes the same" in same and "numbers changed" in changed
    assert content == {"network": [a_group("a", here="x")]}


def test_outputs_of_another_cpu_are_not_compared(script) -> None:
    content = {"network": [a_group("a", there="x")]}
    assert script.add(content, {"network": ("a", "y")}, HERE, changed=False, checking=True) == {}
    assert content == {"network": [a_group("a", there="x")]}
    assert script.add(content, {"network": ("a", "y")}, HERE, changed=False, checking=False) == {}
    assert content == {"network": [a_group("a", there="x", here="y")]}


def test_a_new_environment_compares_with_the_committed_code(script) -> None:
    content, found = {"network": [a_group("a", there="x")]}, {"network": ("b", "y")}
    assert script.is_new(content, found, HERE) and not script.is_new(content, found, THERE)
    script.note(content, {"network": ("a", "y"), "unknown": ("c", "z")}, HERE)
    assert content == {"network": [a_group("a", there="x", here="y")]}
    assert script.add(content, found, HERE, changed=False, checking=False) == {}
    assert content == {"network": [a_group("a", "b", there="x", here="y")]}
