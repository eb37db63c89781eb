"""The commands of --on-finish and --on-failure learn how a run ended, however it did."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from experiments.cli.hooks import calling_hooks
from experiments.errors import UserError
from experiments.store.store import Store
from tests.experiments.runner.test_notify import writer


@pytest.mark.parametrize(
    ("filled", "raised", "ended", "failure_told"),
    [
        ({"failed": [], "interrupted": False}, None, "done", False),
        ({"failed": ["x"], "interrupted": False}, None, "failed", True),
        ({"failed": [], "cancelled": ["x"]}, None, "failed", True),
        ({"failed": [], "interrupted": True}, None, "interrupted", False),
        ({}, UserError("the disk is gone"), "error", True),
        ({}, RuntimeError("unexpected"), "error", True),
        ({}, KeyboardInterrupt(), "interrupted", False),
    ],
)
def test_whatever_ends_a_run_is_told(
    tmp_path: Path, filled: dict, raised: BaseException | None, ended: str, failure_told: bool
) -> None:
    finish, failure = tmp_path / "finish.json", tmp_path / "failure.json"
    told = {"--on-finish": writer(finish), "--on-failure": writer(failure)}
    console = Console(quiet=True)
    if raised is None:
        with calling_hooks(told, "digits", Store(tmp_path), console) as outcome:
            outcome |= filled
    else:
        with pytest.raises(type(raised)), calling_hooks(told, "digits", Store(tmp_path), console):
            raise raised
    summary = json.loads(finish.read_text())
    assert (summary["outcome"], summary["sweep"], summary["store"]) == (ended, "digits", str(tmp_path))
    assert bool(summary["error"]) == (ended == "error") and failure.exists() == failure_told
