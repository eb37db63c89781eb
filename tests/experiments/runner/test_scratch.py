"""Folders for Ray's files: short paths, and nothing left behind, whatever ended a run."""

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.runner import scratch
from experiments.runner.scratch import PREFIX, places, remove_abandoned, scratch_folder
from tests import ROOT

HOLDER = """
import os
from experiments.runner.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    input()
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="edmplace", dir="/tmp"))  # short, and no other run of the tests has it
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


def test_a_folder_is_removed_when_its_block_ends(place: Path) -> None:
    with pytest.raises(KeyError), scratch_folder() as folder:
        assert folder.is_relative_to(place) and len(str(folder)) < len(str(place)) + 16
        (folder / "session").mkdir()
        raise KeyError
    assert list(place.iterdir()) == []


def test_other_accounts_reach_nothing_of_it_whatever_ray_allows(place: Path) -> None:
    with scratch_folder() as folder:
        folder.chmod(0o777)  # as Ray does
        assert folder.parent != place and folder.parent.stat().st_mode & 0o777 == 0o700


def test_what_is_added_while_a_folder_is_removed_goes_with_the_next_run(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def adding(path: Path, ignore_errors: bool) -> None:
        assert ignore_errors
        (path / "written by an agent of Ray").touch()

    with scratch_folder() as folder:
        (folder / "session").mkdir()
        monkeypatch.setattr(shutil, "rmtree", adding)
    monkeypatch.undo()
    assert (folder / "session").exists()
    remove_abandoned(place)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_long_path_is_passed_over(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(other, raising=False)
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setenv(name, str(long))
    assert next(places()) in (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))


def test_folders_that_cannot_be_written_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch.os, "access", lambda *_: False)
    with pytest.raises(UserError, match=r"no folder for Ray's temporary files.*set RAY_TMPDIR"), scratch_folder():
        pass


def test_folders_of_killed_processes_are_removed_and_no_others(place: Path) -> None:
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLDER], cwd=ROOT, text=True, stdin=-1, stdout=-1) for _ in range(2)
    ]
    try:
        dead, live = (Path(holder.stdout.readline().strip()) for holder in holders if holder.stdout)
        holders[0].send_signal(signal.SIGKILL)
        holders[0].wait()
        (place / f"{PREFIX}someone").mkdir()  # not one of ours: it has no lock
        assert dead.exists()
        remove_abandoned(place)
        assert {path.name for path in place.iterdir()} == {live.parent.name, f"{PREFIX}someone"}
        assert (live / "file").exists()
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()
