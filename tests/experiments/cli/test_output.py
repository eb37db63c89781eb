"""What commands tell a person to type next."""

import sys
from pathlib import Path

import pytest

from experiments.cli.output import command_here


def test_a_command_is_told_as_it_works_in_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout, elsewhere = tmp_path / "edm sweep", tmp_path / "mine"
    for folder in (checkout / "sweeps", elsewhere):
        folder.mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(checkout / ".venv"))
    monkeypatch.delenv("UV_PROJECT", raising=False)
    monkeypatch.setenv("UV_RUN_RECURSION_DEPTH", "1")
    monkeypatch.chdir(elsewhere)
    assert command_here("ui") == "uv run edm-sweep ui", "the environment belongs to no checkout"
    (checkout / "pyproject.toml").touch()
    assert command_here("ui") == f"uv run --project '{checkout}' edm-sweep ui"
    monkeypatch.chdir(checkout / "sweeps")
    assert command_here("ui") == "uv run edm-sweep ui"
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH")
    monkeypatch.chdir(elsewhere)
    assert command_here("ui") == "edm-sweep ui"
