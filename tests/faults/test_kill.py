"""Killed at any point, in any of its processes: repeating the command completes the same table."""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.commandline import run, start
from tests.conftest import TINY, Filled

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.fixture
def place(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "store")
    return tmp_path / "store"


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something is there, while the process is alive."""
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, f"it ended too soon: {process.communicate()}"
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def in_a_training(store: Path) -> Callable[[], object]:
    """When a training has written a checkpoint that is not there yet."""
    return _when_new(store, "trainings/*/checkpoints/*.safetensors")


def in_an_evaluation(store: Path) -> Callable[[], object]:
    """When an evaluation has kept a segment that is not there yet."""
    return _when_new(store, "drawings/*/*/*.safetensors")


def _when_new(store: Path, pattern: str) -> Callable[[], object]:
    before = set(store.glob(pattern))
    return lambda: set(store.glob(pattern)) - before


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The Ray workers that run trials."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if "ray::ImplicitFunc" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def interrupted(undisturbed: Filled, store: Path, number: signal.Signals, moment: Callable[[], object]) -> str:
    """Start a run, send its driver a signal at a moment, and wait for its end; what it printed."""
    process = start("run", undisturbed.file, "--store", store)
    wait_for(moment, process)
    process.send_signal(number)
    asked = time.monotonic()
    output, errors = process.communicate(timeout=120)
    print(f"{number.name}: left {time.monotonic() - asked:.1f} s later")
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130), output + errors
    assert "Traceback" not in output + errors
    return output


def asked_to_leave(undisturbed: Filled, store: Path, number: signal.Signals, moment: Callable[[], object]) -> None:
    """Interrupt a run gently: it says so, saves its state and tidies up."""
    output = interrupted(undisturbed, store, number, moment)
    assert "Stopping: the running work saves its state" in output and "Interrupted: " in output
    assert not list(store.glob("sessions/*"))


@pytest.mark.timeout(600)
def test_whatever_ends_it_the_same_command_completes_the_same_table(undisturbed: Filled, place: Path) -> None:
    """Ctrl-C, kill -9 of a worker and of the driver, a job scheduler's SIGTERM: one after the other, on one store."""
    asked_to_leave(undisturbed, place, signal.SIGINT, in_a_training(place))
    interrupted(undisturbed, place, signal.SIGKILL, in_a_training(place))

    moment = in_a_training(place)
    process = start("run", undisturbed.file, "--store", place)
    wait_for(lambda: moment() and workers_of(process), process)
    workers_of(process)[0].kill()
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 1, output
    assert "the worker process died" in output and "To try them again: edm-sweep run" in output

    asked_to_leave(undisturbed, place, signal.SIGTERM, in_an_evaluation(place))
    interrupted(undisturbed, place, signal.SIGKILL, in_an_evaluation(place))
    done = run("run", undisturbed.file, "--store", place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert Filled(undisturbed.file, place, "").results == undisturbed.results
    logs = "".join(path.read_text() for path in place.glob("trainings/*/log.txt"))
    assert re.search(r"from step [1-9]", logs), "no training went on from a checkpoint"


def test_a_trial_that_fails_leaves_the_rest_and_is_left_to_do(tmp_path: Path, place: Path) -> None:
    sweep = TINY.replace("model.attention: [false, true]", "training.lr: [2.0e-3, 1.0e+30]")
    broken = tmp_path / "broken.yaml"
    broken.write_text(sweep.replace("lr: 2.0e-3, ", "", 1))
    done = run("run", broken, "--store", place)
    assert done.returncode == 1 and done.stderr == ""
    assert "FAILED training lr=1e+30: the " in done.stdout
    log = re.search(r"the whole log: (.*)", done.stdout)
    assert log is not None and "What may help: lower training.lr" in Path(log[1]).read_text()
    assert "Not run, as the training they stand on failed: lr=1e+30/euler, lr=1e+30/heun" in done.stdout
    assert len(re.findall(r"^0.002 .* %(?: +≈)? *$", done.stdout, re.MULTILINE)) == 2
    again = run("plan", broken, "--store", place)
    assert "(1 in the store) and 4 evaluations (2 in the store)\n3 pieces of work left" in again.stdout
