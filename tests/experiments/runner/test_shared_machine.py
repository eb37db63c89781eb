"""Two runs on one machine at once: they share its cores, and never take the same GPU unless a person says so."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from experiments import hardware
from experiments.runner import shared_machine
from experiments.runner.scratch import scratch_folder
from experiments.runner.shared_machine import RECORD, MachineShare, bound_cores, sharing_machine
from experiments.store.store import Store
from experiments.sweep.spec import ResourcesConfig
from tests import ROOT
from tests.experiments.runner.test_tune import searcher_of, told
from tests.planning import load_sweep, plan_sweep

HOLDER = """
from experiments.runner.scratch import scratch_folder
with scratch_folder() as folder:
    print(folder.parent, flush=True)
    input()
"""
FOUR = "".join(f"GPU {i}: NVIDIA H100 (UUID: GPU-{i}{i}{i}{i})\n" for i in range(4))
ALL = [f"GPU-{i}{i}{i}{i}" for i in range(4)]
Start = Callable[..., Path]


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The only place for temporary files, so that no other run of this machine is seen."""
    folder = Path(tempfile.mkdtemp(prefix="edmshare", dir="/tmp"))
    monkeypatch.setattr("experiments.runner.shared_machine.places", lambda: iter([folder]))
    monkeypatch.setattr("experiments.runner.scratch.places", lambda: iter([folder]))
    monkeypatch.setattr(shared_machine, "LOOK_S", 0.0)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def other(place: Path) -> Iterator[Start]:
    """Starts processes that hold a folder as a run does, each with the record of one; returns the folder."""
    processes: list[subprocess.Popen[str]] = []

    def start(occupied: int = 0, gpus: list[str] | None = None, cores: list[int] | None = None) -> Path:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"RAY_TMPDIR": str(place)},
        )
        processes.append(process)
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        record = {"pid": process.pid, "command": "edm-sweep run other.yaml", "gpus": gpus or [], "occupied": occupied}
        (folder / RECORD).write_text(json.dumps(record | {"cores": bound_cores() if cores is None else cores}))
        return folder

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def four_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with four GPUs."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!{sys.executable}\nprint({FOUR!r}, end='')\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(hardware.VISIBLE, raising=False)
    hardware.all_gpus.cache_clear()
    yield
    hardware.all_gpus.cache_clear()


@contextmanager
def own_share() -> Iterator[MachineShare]:
    with scratch_folder() as folder:
        yield MachineShare(folder.parent)


# cores --------------------------------------------------------------------------------------------


def test_alone_a_run_has_all_cores() -> None:
    with own_share() as share:
        assert share.admits(8, cores=8) and share.others() == []


@pytest.mark.parametrize(
    ("theirs", "most"),
    [([8], 4), ([4], 4), ([1], 7), ([0], 8), ([8, 8, 8], 2), ([1, 2], 5), ([8] * 9, 1)],
)
def test_a_run_has_its_equal_part_and_what_others_leave(other: Start, theirs: list[int], most: int) -> None:
    for occupied in theirs:
        other(occupied)
    with own_share() as share:
        assert [share.admits(occupied, cores=8) for occupied in (0, most - 1, most)] == [True, True, False]


def test_runs_that_are_bound_to_other_cores_share_none(other: Start) -> None:
    other(8, cores=[100_000])
    with own_share() as share:
        assert share.admits(7, cores=8)


def test_what_was_killed_or_cannot_be_read_is_no_run(other: Start, place: Path) -> None:
    folder = other(8)
    (other(8) / RECORD).write_text("{")
    dead = place / "edm-dead"
    dead.mkdir()
    (dead / "lock").touch()
    shutil.copy(folder / RECORD, dead)
    with own_share() as share:
        assert len(share.others()) == 1


def test_the_others_see_what_a_run_occupies_and_takes(four_gpus: None) -> None:
    with own_share() as first, own_share() as second:
        first.admits(3, cores=8)
        first.take_gpus(1)
        (seen,) = second.others()
        assert (seen.occupied, list(seen.gpus), seen.pid) == (3, ALL, os.getpid())


def test_trials_are_handed_out_while_others_leave_room(tiny_file: Path, tmp_path: Path, other: Start) -> None:
    tiny_file.write_text(tiny_file.read_text().replace("grid:", "grid:\n  training.lr: [1.0e-3, 2.0e-3, 3.0e-3]"))
    searcher = searcher_of(plan_sweep(load_sweep(tiny_file)), Store(tmp_path), cores=4)
    folder = other(4)
    with own_share() as searcher.share:
        configs = [searcher.suggest(trial) for trial in "abc"]
        assert [isinstance(config, dict) for config in configs] == [True, True, False]
        shutil.rmtree(folder)  # the other run has ended
        assert isinstance(searcher.suggest("c"), dict) and isinstance(searcher.suggest("d"), dict)
        other(4)
        for trial, config in zip("ab", configs, strict=False):
            assert isinstance(config, dict) and searcher.suggest("e") is None
            searcher.on_trial_complete(trial, told(config))
        searcher.on_trial_complete("c", error=True)
        assert isinstance(searcher.suggest("e"), dict)  # one less than its part


def test_a_second_run_says_who_shares_the_cores(other: Start) -> None:
    other()
    told_of: list[str] = []
    with sharing_machine(ResourcesConfig(gpus=0), told_of.append, lambda: None):
        pass
    (sentence,) = told_of
    assert sentence.startswith("'edm-sweep run other.yaml' (process ") and "they share its cores" in sentence


# GPUs ---------------------------------------------------------------------------------------------


def take(resources: ResourcesConfig, on_wait: Callable[[], None] = lambda: None) -> tuple[list[str], str | None]:
    """What a run says, and what CUDA_VISIBLE_DEVICES is while it goes on."""
    said: list[str] = []
    with sharing_machine(resources, said.append, on_wait):
        shown = os.environ.get(hardware.VISIBLE)
    return said, shown


def test_alone_a_run_changes_nothing(four_gpus: None) -> None:
    assert take(ResourcesConfig()) == ([], None)


def test_a_run_uses_the_gpus_that_are_free(four_gpus: None, other: Start) -> None:
    other(gpus=ALL[:1])
    other(gpus=ALL[2:3])
    said, shown = take(ResourcesConfig(gpus=2))
    assert shown == "GPU-1111,GPU-3333" and hardware.VISIBLE not in os.environ
    assert "this run uses the other 2" in said[0] and "and 1 more" in said[0]


@pytest.mark.parametrize(("needed", "theirs"), [(None, ALL), (0.5, ALL), ("auto", ALL), (2, ALL[:3])])
def test_it_waits_until_there_are_enough(
    four_gpus: None, other: Start, needed: float | None, theirs: list[str]
) -> None:
    folder = other(gpus=theirs)
    waited: list[None] = []

    def on_wait() -> None:
        waited.append(None)
        if len(waited) == 3:
            shutil.rmtree(folder)

    said, shown = take(ResourcesConfig(gpus=needed), on_wait)  # pyright: ignore[reportArgumentType]
    assert len(waited) == 3 and shown is None and len(said) == 1
    assert "this run starts when" in said[0] and "--gpus 0" in said[0]


def test_what_a_person_names_is_shared(four_gpus: None, other: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    other(gpus=ALL)
    monkeypatch.setenv(hardware.VISIBLE, "1,2")
    said, shown = take(ResourcesConfig())
    assert shown == "1,2" and "they share them" in said[0]


def test_a_run_on_the_cpu_takes_no_gpu(four_gpus: None, other: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    other(gpus=ALL)
    assert "they share its cores" in take(ResourcesConfig(gpus=0))[0][0]
    monkeypatch.setenv(hardware.VISIBLE, "")
    assert "they share its cores" in take(ResourcesConfig())[0][0]


def test_more_than_the_machine_has_is_not_waited_for(four_gpus: None, other: Start) -> None:
    other(gpus=ALL)
    assert take(ResourcesConfig(gpus=8))[1] is None
