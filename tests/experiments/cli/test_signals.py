"""Signals that end a run as Ctrl-C does, and those that a person has told the run to ignore."""

import json
import os
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.cli.signals import interrupted_by_signals
from experiments.runner.run import _interruptible
from experiments.runner.schedule import Schedule
from experiments.runner.timing import Timing
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from tests import ROOT
from tests.commandline import invoke, run
from tests.extending import write_sweep
from tests.inprocess import without_ray
from tests.waiting import until


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


WHILE_LOADING = """
import sys
from {module} import {function}

class Press:
    def find_spec(self, name, *_):
        if name == "experiments.cli.run":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Press())
{function}()
"""


def test_ctrl_c_while_the_command_line_is_loaded_is_answered() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, function = project["scripts"]["edm-sweep"].split(":")
    code = WHILE_LOADING.format(module=module, function=function)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")


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


@pytest.mark.usefixtures("heard")
def test_what_is_being_printed_when_a_signal_comes_ends_first(tiny_plan: Plan, store: Store) -> None:
    printing, said = threading.Lock(), list[str]()

    def say(text: str) -> None:
        assert printing.acquire(timeout=20), "the answer to the signal waits for what it has interrupted"
        said.append(text)
        printing.release()

    with _interruptible(Schedule(tiny_plan, frozenset()), store, "s", say, Timing()):
        with printing:
            os.kill(os.getpid(), signal.SIGTERM)
            assert not said
        until(lambda: said, 20)
    assert said[0].startswith("Stopping: ")
