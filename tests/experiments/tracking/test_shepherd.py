"""Processes of a server end with whoever started it, however that ends."""

import subprocess
import sys
from pathlib import Path

import psutil

from experiments.tracking import shepherd
from tests.waiting import until

# a server that starts another process, and notes both
SERVER = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
part = pathlib.Path(sys.argv[1] + ".part")
part.write_text(f"{os.getpid()} {child.pid}")
part.rename(sys.argv[1])
time.sleep(600)
"""
# whoever starts it
OWNER = """
import subprocess, sys, time
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
time.sleep(600)
"""


def test_a_killed_owner_leaves_no_process_behind(tmp_path: Path) -> None:
    noted = tmp_path / "processes"
    command = [sys.executable, shepherd.__file__, sys.executable, "-c", SERVER, str(noted)]
    owner = subprocess.Popen([sys.executable, "-c", OWNER, *command])
    try:
        until(noted.exists)
        family = [psutil.Process(int(pid)) for pid in noted.read_text().split()]
        family += psutil.Process(owner.pid).children()
        assert len(family) == 3 and all(process.is_running() for process in family)
    finally:
        owner.kill()
        owner.wait()
    assert not psutil.wait_procs(family, timeout=60)[1]


def test_the_exit_code_of_the_command_is_handed_on() -> None:
    for text, expected in (("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 15)", 143)):
        command = [sys.executable, shepherd.__file__, sys.executable, "-c", text]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            assert process.wait(60) == expected
