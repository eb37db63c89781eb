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
from tests.conftest import TINY

pytestmark = [pytest.mark.slow, pytest.mark.faults]

# long enough for a kill to land inside, with checkpoints all along
LONGER = TINY.replace("kimg: 0.64", "kimg: 8").replace("sampling_batch: 40", "sampling_batch: 40, checkpoint_s: 0.3")
LONGER = LONGER.replace("images: 120", "images: 2000").replace("steps: 3", "steps: 6")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "tiny_digits.yaml"
    path.write_text(LONGER)
    return path


@pytest.fixture(scope="module")
def undisturbed(file: Path, prepared: Path) -> bytes:
    """results.csv of a run that nothing happened to."""
    store = file.parent / "undisturbed"
    shutil.copytree(prepared, store)
    done = run("run", file, "--store", store)
    assert done.returncode == 0, done.stdout + done.stderr
    return results(store)


@pytest.fixture
def place(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "store")
    return tmp_path / "store"


def results(store: Path) -> bytes:
    return (store / "reports" / "tiny_digits" / "results.csv").read_bytes()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until something is there, while the process is alive."""
    deadline = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, f"it ended too soon: {process.communicate()}"
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def in_a_training(store: Path) -> Callable[[], object]:
    return lambda: list(store.glob("trainings/*/checkpoints/*.safetensors"))


def in_an_evaluation(store: Path) -> Callable[[], object]:
    return lambda: list(store.glob("evaluations/*/segments/*.safetensors"))


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


def test_killed_processes_and_the_same_command_again_make_the_same_table(
    file: Path, place: Path, undisturbed: bytes
) -> None:
    process = start("run", file, "--store", place)
    wait_for(in_a_training(place), process)
    process.kill()  # the driver, in a training
    process.communicate()

    process = start("run", file, "--store", place)
    wait_for(lambda: in_a_training(place)() and workers_of(process), process)
    workers_of(process)[0].kill()  # a worker, which the driver tells of
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 1
    assert "the worker process died" in output and "To try them again: edm-sweep run" in output

    process = start("run", file, "--store", place)
    wait_for(in_an_evaluation(place), process)
    process.kill()  # the driver, in an evaluation
    process.communicate()

    done = run("run", file, "--store", place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(place) == undisturbed
    logs = "".join(path.read_text() for path in place.glob("trainings/*/log.txt"))
    assert re.search(r"from step [1-9]", logs), "no training went on from a checkpoint"


def test_ctrl_c_and_sigterm_save_and_the_same_command_goes_on(file: Path, place: Path, undisturbed: bytes) -> None:
    for number, moment in ((signal.SIGINT, in_a_training(place)), (signal.SIGTERM, in_an_evaluation(place))):
        process = start("run", file, "--store", place)
        wait_for(moment, process)
        process.send_signal(number)
        asked = time.monotonic()
        output, errors = process.communicate(timeout=120)
        print(f"left {time.monotonic() - asked:.1f} s after {number.name}")
        assert process.returncode == 130 and "Traceback" not in output + errors
        assert "Stopping: the running work saves its state" in output and "Interrupted: " in output
        assert not list(place.glob("sessions/*"))
    done = run("run", file, "--store", place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(place) == undisturbed


def test_a_trial_that_fails_leaves_the_rest_and_is_tried_again(file: Path, place: Path) -> None:
    sweep = TINY.replace("model.attention: [false, true]", "training.lr: [2.0e-3, 1.0e+30]").replace(
        "lr: 2.0e-3, ", "", 1
    )
    broken = file.with_name("broken.yaml")
    broken.write_text(sweep)
    for _ in range(2):
        done = run("run", broken, "--store", place)
        assert done.returncode == 1 and done.stderr == ""
        assert "FAILED training lr=1e+30: DivergedError: the loss is" in done.stdout
        log = re.search(r"the whole log: (.*)", done.stdout)
        assert log is not None and "DivergedError" in Path(log[1]).read_text()
        assert "Not run, as the training below them failed: lr=1e+30/euler, lr=1e+30/heun" in done.stdout
        assert len(re.findall(r"^0.002 .* %$", done.stdout, re.MULTILINE)) == 2
    assert "(1 in the store) and 4 evaluations (2 in the store)" in done.stdout
