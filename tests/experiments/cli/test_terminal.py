"""A person's day with a sweep, in real terminals: run, watch from another, cancel a cell, a power cut, run again."""

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pexpect
import psutil
import pytest

from tests.commandline import counting, invoke, run, terminal
from tests.conftest import LONGER, Filled
from tests.faults.harness import Scene, require_whole_record
from tests.table import reproducible
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def status(store: Path) -> dict[str, Any]:
    done = invoke("status", store.parent / "tiny_digits.yaml", "--store", store, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def in_state(kind: str, state: str, store: Path) -> dict[str, Any] | None:
    """The status, once a cell or a training is in a state."""
    found = status(store)
    return found if any(row["state"] == state for row in found[kind]) else None


def state_of(found: dict[str, Any], cell: str) -> str:
    return next(row["state"] for row in found["cells"] if row["name"] == cell)


def kill_family(pid: int) -> None:
    """As a power cut: the driver and all of its Ray at once."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in family:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family[1:], timeout=30)  # the first is the terminal's to wait for


def test_run_watch_cancel_kill_status_and_run_again(undisturbed: Filled, prepared: Path, tmp_path: Path) -> None:
    file, store = tmp_path / "tiny_digits.yaml", tmp_path / "store"
    file.write_text(LONGER)
    shutil.copytree(prepared, store)
    with terminal("run", file, "--store", store, "--tag", "day=one") as command:
        command.expect("running")  # the live table
        with terminal("status", "tiny_digits", "--store", store, "--watch") as watch:
            watch.expect(r"Active run: host \S+ process \d+, started")
            watch.expect(r"\d+% of 4.* kimg")
            cancelled = run("cancel", "attention/heun", "--store", store)
            assert cancelled.returncode == 0 and "Asked to stop working on attention/heun: host " in cancelled.stdout
            command.expect(r"cancelled evaluate attention/heun: the next run continues it")
            watch.expect("Forecast: about")
        found = until(lambda: in_state("cells", "running", store))
        (session,) = found["runs"]
        assert session["pid"] == command.pid and session["total"] == 1 + 2 + 4 and "--tag day=one" in session["command"]
        kill_family(command.pid)
    found = status(store)
    assert found["runs"] == [] and found["estimate"] is not None
    assert "running" not in found["counts"] and found["counts"].get("done", 0) < 4
    assert state_of(found, "attention/heun") != "done"
    text = invoke("status", "tiny_digits", "--store", store).stdout
    assert "No active run. The rest takes about" in text
    with terminal("run", file, "--store", store) as command:
        command.expect(pexpect.EOF)
        shown = ANSI.sub("", command.before)
        command.close()
    assert command.exitstatus == 0, shown
    assert "done evaluate attention/heun" in shown
    assert status(store)["counts"] == {"done": 4}
    assert reproducible(store / "reports" / "tiny_digits" / "results.csv") == undisturbed.results
    require_whole_record(Scene(tmp_path, file, store))


def test_a_whole_sweep_is_cancelled_from_another_terminal(prepared: Path, tmp_path: Path) -> None:
    file, store = tmp_path / "tiny_digits.yaml", tmp_path / "store"
    file.write_text(LONGER.replace("kimg: 4", "kimg: 60"))
    shutil.copytree(prepared, store)
    told = tmp_path / "told.json"
    with terminal("run", file, "--store", store, "--on-finish", f"tee {told}") as command:
        until(lambda: counting(store, "trainings"))
        assert "Asked to stop: host" in run("cancel", "tiny_digits", "--store", store).stdout
        command.expect(r"Interrupted: [01] of 7 tasks are done. To continue: ")
        command.expect(pexpect.EOF)
        command.close()
    assert command.exitstatus == 130
    assert json.loads(told.read_text())["outcome"] == "interrupted"
    found = status(store)
    assert found["runs"] == []
    states = {training["state"] for training in found["trainings"]}
    assert "interrupted" in states and states <= {"interrupted", "planned"}
