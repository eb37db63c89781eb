"""Signals that end a run as Ctrl-C does, and those that a person has told the run to ignore."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.cli.signals import interrupted_by_signals
from experiments.runner.run import _interruptible
from experiments.runner.schedule import Schedule
from experiments.runner.timing import Timing
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from tests.commandline import invoke, run
from tests.extending import write_sweep
from tests.inprocess import without_ray


@pytest.fixture
def ignored() -> Iterator[None]:
    """SIGHUP as a program that nohup has started finds it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def heard() -> Iterator[None]:
    """SIGHUP and SIGINT as a program in a terminal finds them, also where nohup or a script's & started the tests."""
    defaults = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


WHILE_PLANNING = """
import os, sys
from experiments.cli import main, run

number = int(sys.argv.pop())
run.read_sweep = lambda *_: os.kill(os.getpid(), number)
main.main()
"""


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_while_a_run_plans_ends_it_as_later(number: signal.Signals, tmp_path: Path) -> None:
    words = ["run", "sweep.yaml", "--store", tmp_path / "store", int(number)]
    process = subprocess.run(
        [sys.executable, "-c", WHILE_PLANNING, *map(str, words)], cwd=tmp_path, capture_output=True, text=True
    )
    assert (process.returncode, process.stderr) == (130, "Interrupted.\n")
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("heard")
def test_an_interruption_names_the_line_of_own_code_that_ran(tmp_path: Path) -> None:
    interrupting = "import os, signal, time\n\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    done = run("plan", write_sweep(tmp_path, ideas=interrupting), "--store", tmp_path / "store")
    assert done.returncode == 130
    assert done.stderr in [f"Interrupted in {tmp_path / 'ideas.py'}:{line}.\n" for line in (3, 4)]


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_is_an_interruption(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_under_nohup_a_closed_terminal_ends_nothing(ignored: None, tiny_plan: Plan, store: Store) -> None:
    schedule = Schedule(tiny_plan, frozenset())
    with interrupted_by_signals(), _interruptible(schedule, store, "s", lambda _: None, Timing()) as asked:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not asked.is_set() and not schedule.stopping
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.usefixtures("heard")
def test_without_nohup_a_closed_terminal_lets_tasks_save_their_state(tiny_plan: Plan, store: Store) -> None:
    schedule = Schedule(tiny_plan, frozenset())
    with _interruptible(schedule, store, "s", lambda _: None, Timing()) as asked:
        os.kill(os.getpid(), signal.SIGHUP)
        assert asked.is_set() and schedule.stopping and store.stop_requested("s")


def test_after_ctrl_c_a_script_still_gets_json(tiny_file: Path, store: Store) -> None:
    def press() -> None:
        raise KeyboardInterrupt

    with without_ray(after_job=press):
        done = invoke("run", tiny_file, "--store", store.root, "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 130 and told["interrupted"] and told["done"] == 1 and "cells" not in told
