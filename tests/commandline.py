"""The command line: in a process of its own, as a person starts it, or quicker in this one."""

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest
from typer import testing
from typer.main import get_command

from experiments.errors import UserError
from experiments.store.progress import TaskProgress

EDM_SWEEP = Path(sys.executable).parent / "edm-sweep"
made_once = functools.cache(get_command)  # takes longer than most commands do
OWN = ("EDM_SWEEP_STORE", "EDM_SWEEP_DATA", "MLFLOW_TRACKING_URI", "UV_RUN_RECURSION_DEPTH")


def environment() -> dict[str, str]:
    """This process's, less what would send a test's record elsewhere or change what is printed, and without a GPU."""
    return {name: value for name, value in os.environ.items() if name not in OWN} | {"CUDA_VISIBLE_DEVICES": ""}


def counting(store: Path, kind: str) -> list[Path]:
    """The folders of tasks of a kind that count what they have done: past loading and waiting."""
    folders = [path.parent for path in store.glob(f"{kind}/*/progress.json")]
    return [folder for folder in folders if (progress := TaskProgress.read(folder)) and not progress.phase]


def start(*arguments: object, folder: Path | None = None, **variables: str) -> subprocess.Popen[str]:
    """Start a command in a session of its own, as a terminal does; `variables` go into its environment."""
    command = [str(EDM_SWEEP), *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env=environment() | variables,
        start_new_session=True,
    )


def run(*arguments: object, folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    process = start(*arguments, folder=folder, **variables)
    try:
        output, errors = process.communicate(timeout=280)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@contextmanager
def terminal(*arguments: object) -> Iterator[Any]:
    """A command in a terminal of its own, ended with the block."""
    command = pexpect.spawn(
        str(EDM_SWEEP), list(map(str, arguments)), env=environment() | {"TERM": "xterm"}, encoding="utf-8",
        dimensions=(50, 160), timeout=240,
    )  # fmt: skip
    try:
        yield command
    finally:
        command.close(force=True)


def invoke(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, where what it imports is loaded already: for tests of what it does and prints."""
    from experiments.cli.main import app

    words = list(map(str, arguments))
    with pytest.MonkeyPatch.context() as patch:
        for name in OWN:
            patch.delenv(name, raising=False)
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setattr(testing, "_get_command", made_once)
        result = testing.CliRunner().invoke(app, words)
    if isinstance(result.exception, UserError):  # as main does it
        return subprocess.CompletedProcess(words, 2, result.stdout, f"{result.exception}\n")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(words, result.exit_code, result.stdout, result.stderr)
