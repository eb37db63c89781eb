"""A command that reads a large folder of images says how far that is."""

from pathlib import Path

import pexpect
import pytest

from experiments.cli import reading as module
from tests.commandline import invoke, terminal
from tests.datafiles import image_tree
from tests.extending import DAMPED, write_sweep

SWEEP = """\
name: own
data: {{name: folder, path: {path}, resolution: 8}}
model: {{preset: nano}}
training: {{kimg: 1}}
evaluation: {{images: 100, features: inception, metrics: [kid]}}
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = image_tree(tmp_path / "images", *(f"{i}.png" for i in range(20)))
    (tmp_path / "own.yaml").write_text(SWEEP.format(path=folder))
    return tmp_path / "own.yaml"


@pytest.mark.parametrize("command", ["plan", "data prepare"])
def test_what_takes_long_is_shown_beside_the_output(sweep: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    store, folder = sweep.parent / "store", sweep.parent / "images"
    given = [sweep] if command == "plan" else ["folder", "--from", folder, "--resolution", "8"]
    monkeypatch.setattr(module, "LATE_S", 0.0)
    done = invoke(*command.split(), *given, "--store", store, "--json")
    assert done.returncode == 0, done.stderr
    assert f"reading {folder}: hashing images" in done.stderr and "hashing" not in done.stdout


def test_what_takes_less_than_two_seconds_shows_nothing(sweep: Path) -> None:
    done = invoke("plan", sweep, "--store", sweep.parent / "store", "--json")
    assert done.returncode == 0 and done.stderr == ""


def test_a_terminal_shows_that_extensions_take_long(tmp_path: Path) -> None:
    slow = write_sweep(tmp_path, ideas="import time\n\ntime.sleep(3)\n" + DAMPED)
    with terminal("plan", slow, "--store", tmp_path / "store") as command:
        command.expect("reading")
        command.expect("0 in the store")
        command.expect(pexpect.EOF)
        command.close()
    assert command.exitstatus == 0
