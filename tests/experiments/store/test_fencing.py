"""A process that slept while another took its task over writes nothing into that, wherever it was stopped."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from experiments.store import files, processes
from experiments.store.checksummed import write_checksummed
from experiments.store.files import temporary_beside, write_json, write_soon
from experiments.store.journal import Journal
from experiments.store.layout import JOURNAL, LOG, PROGRESS, RESULT
from experiments.store.leases import LeaseLost, acquire, holder
from experiments.store.results import SolutionRecord
from experiments.store.store import Store
from tests.experiments.store.test_leases import STALE_S, Clock, watch

TENSORS = {"a": torch.arange(3.0)}


class TwoRuns:
    """A task of this process, and another process, played by this one, that takes it over meanwhile."""

    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.store = Store(root, lease_timing=self.clock.timing)
        self.folder = self.store.folder("trainings", "task")
        self.first = acquire(self.folder, self.clock.timing)
        self.second: object = None

    def take_over(self) -> None:
        """Sleep for longer than the lease, while the other process takes over, and tidies up as it begins."""
        watch(self.folder, self.clock, STALE_S + 1)
        self.second = acquire(self.folder, self.clock.timing)
        files.remove_abandoned(self.second)

    def contents(self) -> dict[str, bytes]:
        found = [path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith(".lease")]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoRuns]:
    monkeypatch.setattr(processes, "has_ended", lambda *_: False)
    runs = TwoRuns(tmp_path)
    yield runs
    runs.first.release()


WRITES: dict[str, Callable[[TwoRuns], object]] = {
    "journal": lambda runs: Journal(runs.folder / JOURNAL).append({"step": 1}),
    "checkpoint": lambda runs: write_checksummed(runs.folder / "checkpoints", "0000000001", TENSORS),
    "record": lambda runs: write_json(runs.folder / "pruned.json", {"a": 1}),
    "progress": lambda runs: write_soon(runs.folder / PROGRESS, {"a": 1}),
    "repair": lambda runs: Journal(runs.folder / JOURNAL).keep_rising(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_is_written_after_a_takeover_is_refused(runs: TwoRuns, write: Callable[[TwoRuns], object]) -> None:
    write(runs)  # while it holds the task
    runs.take_over()
    before = runs.contents()
    with pytest.raises(LeaseLost, match="was taken over by another run"):
        write(runs)
    assert runs.contents() == before


def test_a_process_stopped_just_before_it_publishes_publishes_nothing(
    runs: TwoRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = files.fencing.require_held

    def look_and_sleep(path: Path) -> None:
        look(path)
        if runs.second is None:  # it still held the task when it looked
            runs.take_over()

    monkeypatch.setattr(files.fencing, "require_held", look_and_sleep)
    with pytest.raises(LeaseLost):
        write_json(runs.folder / RESULT, {"whose": "the first"})
    assert runs.contents() == {}


def test_a_line_that_was_about_to_be_written_misses_the_new_journal(
    runs: TwoRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, write = Journal(runs.folder / JOURNAL), os.write
    journal.append({"step": 1})

    def sleep_and_write(descriptor: int, content: bytes) -> int:
        if runs.second is None:  # the process has looked, and is stopped before it writes
            runs.take_over()
            monkeypatch.setattr(os, "write", write)
            runs.first.lost = runs.first.released = True
            with pytest.MonkeyPatch.context() as patch:  # the other process goes on from its checkpoint
                patch.setattr(files.fencing, "require_held", lambda _: None)
                journal.keep_rising()
                journal.append({"step": 2})
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", sleep_and_write)
    journal.append({"step": 2})
    assert [line["step"] for line in journal.read()] == [1, 2]


def test_files_of_helpers_that_still_run_survive_a_takeover(runs: TwoRuns) -> None:
    helper = runs.folder / f".00000000{processes.temporary_suffix()}"  # not written under the lease of the task
    helper.touch()
    own = temporary_beside(runs.folder / "model")
    own.touch()
    runs.take_over()
    assert helper.exists() and not own.exists()


def test_a_segment_is_written_under_its_own_lease_in_its_drawings_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    drawing = store.folder("drawings", "one")
    with pytest.raises(LeaseLost), store.try_lock("segments", "one-00000000", also=drawing) as folder:
        write_checksummed(drawing / "space", "00000000", TENSORS)
        next(folder.glob(".lease-*")).rename(folder / ".lease-000009")
        write_checksummed(drawing / "space", "00001000", TENSORS)
    assert [path.name[:8] for path in (drawing / "space").iterdir()] == ["00000000"]


def test_a_build_that_lost_its_task_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def build(folder: Path) -> SolutionRecord:
        (folder / "images").write_text("a late writer's")
        next(store.folder("exact", "one").glob(".lease-*")).rename(store.folder("exact", "one") / ".lease-000009")
        return SolutionRecord()

    with pytest.raises(LeaseLost):
        store.ensure(SolutionRecord, "one", build, ["images"])
    assert [path.name for path in store.folder("exact", "one").iterdir()] == [".lease-000009"]


def test_a_repair_keeps_each_step_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / JOURNAL)
    for step, loss in ((1, 0.5), (2, 0.4), (3, 0.3), (2, 0.9), (3, 0.9), (4, 0.2)):
        journal.append({"step": step, "loss": loss})
    journal.keep_rising()
    assert [(line["step"], line["loss"]) for line in journal.read()] == [(1, 0.5), (2, 0.4), (3, 0.3), (4, 0.2)]


def test_a_log_takes_nothing_from_a_task_that_was_lost(runs: TwoRuns) -> None:
    from experiments.trials.logs import TaskLog

    with TaskLog(runs.folder / LOG) as log:
        print("mine", file=log)
        runs.take_over()
        print("late", file=log)
    assert (runs.folder / LOG).read_text() == "mine\n" and holder(runs.folder, runs.clock.timing) is not None
