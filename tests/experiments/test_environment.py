"""The environment that processes inherit."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from experiments.environment import inherited
from experiments.store.provenance import code_version


@pytest.fixture
def changing_environment() -> Iterator[None]:
    """Let a thread set and take away variables all the time, as an import of a library does for a moment."""
    ended = threading.Event()

    def change() -> None:
        while not ended.is_set():
            names = [f"EDM_SWEEP_TEST_{index}" for index in range(500)]
            for name in names:
                os.environ[name] = "x" * 20
            for name in names:
                del os.environ[name]

    thread = threading.Thread(target=change)
    thread.start()
    yield
    ended.set()
    thread.join()


@pytest.mark.usefixtures("changing_environment")
def test_processes_start_while_a_thread_sets_variables() -> None:
    for _ in range(30):
        subprocess.run([sys.executable, "-S", "-E", "-c", ""], env=inherited(), check=True)


def test_the_commit_is_found_while_a_thread_sets_variables(request: pytest.FixtureRequest) -> None:
    quiet = code_version()
    request.getfixturevalue("changing_environment")
    for _ in range(10):
        code_version.cache_clear()
        assert code_version() == quiet


def test_what_processes_inherit_can_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDM_SWEEP_STORE", "here")
    assert inherited()["EDM_SWEEP_STORE"] == "here"
    assert inherited(EDM_SWEEP_STORE="there")["EDM_SWEEP_STORE"] == "there"
    assert os.environ["EDM_SWEEP_STORE"] == "here"
