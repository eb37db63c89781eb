"""A command that has lost Ray becomes the same command in a new process, with what it has used of its budget."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.cli import restart
from experiments.cli.hooks import calling_hooks
from experiments.cli.output import console_for
from experiments.errors import RayLost
from experiments.store.store import Store

# a command that loses Ray whenever it may be started again, and prints what it knows each time
LOSES_RAY = """
import os, sys
from experiments.cli import main, restart
from experiments.errors import RayLost

def app():
    print(os.getpid(), restart.restarts_left(), restart.spent_s(), *sys.argv[1:])
    if restart.restarts_left():
        raise RayLost(restart.spent_s() + 60.5)

main.app = app
main.main()
"""


def test_a_command_is_started_again_under_its_number_three_times(tmp_path: Path) -> None:
    script = tmp_path / "command.py"
    script.write_text(LOSES_RAY)
    done = subprocess.run([sys.executable, script, "run", "x y.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pids, told = zip(*(line.split(" ", 1) for line in done.stdout.splitlines()), strict=True)
    assert len(set(pids)) == 1
    assert told == tuple(f"{restart.RESTARTS - times} {times * 60.5} run x y.yaml" for times in range(4))


def test_only_the_command_that_ends_calls_its_hooks(tmp_path: Path) -> None:
    called = tmp_path / "called"
    hooks = {"--on-finish": ["touch", str(called)]}
    with pytest.raises(RayLost), calling_hooks(hooks, "tiny_digits", Store(tmp_path), console_for(as_json=False)):
        raise RayLost(0.0)
    assert not called.exists()
    with calling_hooks(hooks, "tiny_digits", Store(tmp_path), console_for(as_json=False)):
        pass
    assert called.exists()
