"""The record of a failure: written, read back, read from files of earlier versions, and said once."""

import json
from pathlib import Path

import pytest

from experiments.store.failures import Failure
from experiments.store.files import write_json
from experiments.store.layout import FAILURE, LOG
from experiments.sweep.jobs import Outcome
from experiments.wording import on_one_line


def test_a_failure_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    failure = Failure("KeyError: 'x'", "unknown", "0123456789ab", str(tmp_path / LOG), 5.0)
    failure.write(tmp_path)
    assert Failure.read(tmp_path) == failure
    assert Failure.read(tmp_path / "elsewhere") is None


def test_files_of_earlier_versions_are_read(tmp_path: Path) -> None:
    write_json(tmp_path / FAILURE, {"message": "no number", "fault": "diverged", "time": 3.0})
    failure = Failure.read(tmp_path)
    assert failure is not None and failure.is_permanent and not failure.is_external
    assert (failure.message, failure.place, failure.time) == ("no number", "", 3.0)
    write_json(tmp_path / FAILURE, {"message": "strange", "fault": "of a later version"})
    assert Failure.read(tmp_path) == Failure("strange", "unknown", log=str(tmp_path / LOG), time=0.0)


@pytest.mark.parametrize("failure", [None, Failure("no room", "disk", "here", "/log.txt", 1.0)])
def test_an_outcome_crosses_as_plain_json(failure: Failure | None) -> None:
    outcome = Outcome("failed" if failure else "done", failure=failure, seconds=2.0)
    assert Outcome.from_dict(json.loads(json.dumps(outcome.as_dict()))) == outcome


def test_the_log_adds_what_the_message_does_not_say(tmp_path: Path) -> None:
    log = tmp_path / LOG
    log.write_text("starting\n\nTraceback:\n  File x\nRuntimeError: two\n  lines\n")
    failure = Failure(on_one_line("RuntimeError: two\n  lines"), "unknown", log=str(log))
    assert failure.log_tail() == ["starting", "Traceback:", "  File x"]
    log.write_text("starting\nERROR: the worker ended without a word\n")
    assert Failure("the worker ended without a word", "lost", log=str(log)).log_tail() == ["starting"]
    assert Failure("the sweep asks for too much", "input", log=str(log)).log_tail() == []
    assert Failure("gone", "lost", log=str(tmp_path / "none")).log_tail() == []


def test_a_message_is_one_line_and_not_endless() -> None:
    assert on_one_line("a\n\n b") == "a b"
    assert len(on_one_line("x" * 5000)) < 600
