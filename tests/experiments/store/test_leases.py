"""Leases: one holder at a time, whoever dies, sleeps or has another clock."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

import psutil
import pytest

from experiments.store import lease_watch, leases, processes
from experiments.store.lease_watch import LeaseTiming
from experiments.store.leases import Held, Lease, LeaseLost, acquire, held, holder, own, waited_for

STALE_S = LeaseTiming().stale_s

spawned = multiprocessing.get_context("spawn")


class Clock:
    """A monotonic clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    @property
    def timing(self) -> LeaseTiming:
        return LeaseTiming(clock=self)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on this process looks like one of another machine, which knows nothing of processes here."""
    return lambda: monkeypatch.setattr(processes, "machine", lambda: "f" * 32)


def watch(folder: Path, clock: Clock, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Look once a second."""
    for _ in range(int(seconds)):
        clock.now += 1
        meanwhile()
        holder(folder, clock.timing)


def lease_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_has_one_holder_until_it_is_released(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert holder(folder) is None
    with held(folder) as lease:
        found = holder(folder)
        assert found is not None and found.pid == os.getpid() and found.text.endswith(f", process {os.getpid()}")
        with pytest.raises(Held, match=f"process {os.getpid()}"):
            acquire(folder)
        lease.require()
        assert own(folder) is lease
    assert holder(folder) is None and own(folder) is None
    with held(folder) as again:
        assert again.generation == lease.generation + 1
        assert lease_files(folder) == [".lease-000002"]


def test_a_folder_is_released_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), held(tmp_path):
        raise RuntimeError
    assert holder(tmp_path) is None


def test_who_waits_is_told_and_gets_it_in_the_end(tmp_path: Path) -> None:
    first, told = acquire(tmp_path), []

    def on_wait() -> None:
        told.append(1)
        if len(told) == 2:
            first.release()

    with waited_for(tmp_path, on_wait) as second:
        second.require()
    assert len(told) == 2


# takeover -----------------------------------------------------------------------------------------


def test_a_silent_holder_elsewhere_is_replaced_after_a_minute(
    tmp_path: Path, clock: Clock, elsewhere: Callable[[], None]
) -> None:
    first = acquire(tmp_path, clock.timing)
    elsewhere()
    assert holder(tmp_path, clock.timing) is not None
    watch(tmp_path, clock, STALE_S - 1)
    with pytest.raises(Held):
        acquire(tmp_path, clock.timing)
    clock.now += 1
    second = acquire(tmp_path, clock.timing)
    second.require()
    with pytest.raises(LeaseLost, match="was taken over by another run"):
        first.require()
    first.beat()
    first.release()
    second.require()
    assert first.lost and not second.lost and lease_files(tmp_path) == [".lease-000002"]


def test_a_lease_that_is_listed_and_not_there_is_watched_like_any_other(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / ".lease-000001").symlink_to("nowhere")
    found = holder(tmp_path, clock.timing)
    assert found is not None and (found.host, found.pid) == ("unknown", 0)
    watch(tmp_path, clock, STALE_S)
    acquire(tmp_path, clock.timing).require()
    assert lease_files(tmp_path) == [".lease-000002"]


def test_a_holder_that_beats_is_never_replaced(tmp_path: Path, clock: Clock, elsewhere: Callable[[], None]) -> None:
    first = acquire(tmp_path, clock.timing)
    elsewhere()
    for _ in range(10):
        watch(tmp_path, clock, STALE_S - 1)
        first.beat()
    with pytest.raises(Held):
        acquire(tmp_path, clock.timing)
    first.require()


def test_a_beat_notices_a_takeover(tmp_path: Path, clock: Clock, elsewhere: Callable[[], None]) -> None:
    first = acquire(tmp_path, clock.timing)
    elsewhere()
    holder(tmp_path, clock.timing)
    watch(tmp_path, clock, STALE_S)
    acquire(tmp_path, clock.timing)
    assert not first.lost
    first.beat()
    assert first.lost


@pytest.mark.parametrize("jump", [-1e9, -3600.0, 3600.0, 1e9])
def test_no_wall_clock_decides(
    tmp_path: Path, clock: Clock, elsewhere: Callable[[], None], monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    first = acquire(tmp_path, clock.timing)
    os.utime(first.path, (2e9 + jump, 2e9 + jump))
    now = leases.time.time()
    monkeypatch.setattr(leases.time, "time", lambda: now + jump)
    elsewhere()
    holder(tmp_path, clock.timing)
    watch(tmp_path, clock, STALE_S - 1)
    with pytest.raises(Held):
        acquire(tmp_path, clock.timing)


def test_an_observer_that_was_suspended_has_watched_nothing(
    tmp_path: Path, clock: Clock, elsewhere: Callable[[], None]
) -> None:
    first = acquire(tmp_path, clock.timing)
    elsewhere()
    assert holder(tmp_path, clock.timing) is not None
    clock.now += 10 * STALE_S
    assert holder(tmp_path, clock.timing) is not None
    first.beat()  # it was suspended as well, and goes on
    watch(tmp_path, clock, STALE_S - 1)
    assert holder(tmp_path, clock.timing) is not None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff" * 40])
def test_a_damaged_lease_is_watched_like_a_silent_one(tmp_path: Path, clock: Clock, damage: bytes) -> None:
    acquire(tmp_path, clock.timing).path.write_bytes(damage)
    with pytest.raises(Held):
        acquire(tmp_path, clock.timing)
    watch(tmp_path, clock, STALE_S)
    acquire(tmp_path, clock.timing).require()


def test_a_holder_whose_folder_is_removed_has_lost_it(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    first = acquire(folder)
    first.path.unlink()
    folder.rmdir()
    first.beat()
    assert first.lost and not folder.exists()
    with pytest.raises(LeaseLost):
        first.require()


def test_a_lost_lease_does_not_come_back_in_the_place_of_another(tmp_path: Path) -> None:
    first = acquire(tmp_path)
    first.path.unlink()
    second = acquire(tmp_path)
    assert second.path == first.path
    content = second.path.read_bytes()
    first.beat()
    first.release()
    assert first.lost and second.path.read_bytes() == content
    second.require()


# races --------------------------------------------------------------------------------------------


def test_who_comes_late_with_a_number_that_is_over_gives_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        acquire(tmp_path).release()
    current, look = acquire(tmp_path), leases._look
    looks = iter([lambda *_: (2, None)])  # what was seen before a long pause
    monkeypatch.setattr(leases, "_look", lambda *asked: next(looks, look)(*asked))
    with pytest.raises(Held):
        acquire(tmp_path)
    current.require()
    assert lease_files(tmp_path) == [".lease-000004"]


def test_of_two_who_see_the_same_one_is_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    current, look = acquire(tmp_path), leases._look
    looks = iter([lambda *_: (0, None)])
    monkeypatch.setattr(leases, "_look", lambda *asked: next(looks, look)(*asked))
    with pytest.raises(Held):
        acquire(tmp_path)
    current.require()
    assert lease_files(tmp_path) == [".lease-000001"]


@pytest.mark.parametrize("error", [PermissionError(1, "no links here"), OSError(95, "not supported")])
def test_where_there_are_no_links_it_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def link(source: Path, target: Path) -> None:
        raise error

    monkeypatch.setattr(leases.os, "link", link)
    first = acquire(tmp_path)
    with pytest.raises(Held):
        acquire(tmp_path)
    assert not Lease(tmp_path, 1).create()
    first.release()
    acquire(tmp_path).require()
    assert lease_files(tmp_path) == [".lease-000002"]


def count_up(folder: Path, times: int) -> None:
    for _ in range(times):
        with waited_for(folder / "lease"):
            (folder / "busy").touch(exist_ok=False)
            number = int((folder / "count").read_text())
            (folder / "count").write_text(str(number + 1))
            (folder / "busy").unlink()


def test_processes_take_turns(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    workers = [spawned.Process(target=count_up, args=(tmp_path, 20)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "60"


# holders that end ---------------------------------------------------------------------------------


def hold(folder: Path, holding: Event, how: str) -> None:
    acquire(folder)
    holding.set()
    if how == "exit":
        os._exit(0)
    while True:
        signal.pause()


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_holder_of_this_machine_that_is_gone_is_replaced_at_once(tmp_path: Path, how: str) -> None:
    holding = spawned.Event()
    worker = spawned.Process(target=hold, args=(tmp_path, holding, how))
    worker.start()
    assert holding.wait(60)
    if how == "kill":
        with pytest.raises(Held, match=f"process {worker.pid}"):
            acquire(tmp_path)
        worker.kill()
    worker.join()
    acquire(tmp_path).require()


def test_a_dead_process_that_nobody_has_waited_for_holds_nothing(tmp_path: Path) -> None:
    script = "from pathlib import Path; from experiments.store.leases import acquire; "
    script += f"acquire(Path({str(tmp_path)!r})); print(flush=True); "
    with subprocess.Popen([sys.executable, "-c", script + "input()"], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert holder(tmp_path) is not None
        process.kill()
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        while holder(tmp_path) is not None:  # once its last thread has ended, which is a moment later
            time.sleep(0.01)


def test_another_process_under_the_number_of_a_dead_holder_holds_nothing(tmp_path: Path) -> None:
    path = acquire(tmp_path).path
    path.write_bytes(path.read_bytes().replace(b'"born": ', b'"born": 1'))
    acquire(tmp_path).require()


def wait_and_look(folder: Path, holding: Event, resumed: Event, lost: Event) -> None:
    lease = acquire(folder)
    holding.set()
    resumed.wait()
    try:
        lease.require()
    except LeaseLost:
        lost.set()


def test_a_stopped_holder_that_comes_back_has_lost_it(tmp_path: Path, clock: Clock) -> None:
    holding, resumed, lost = spawned.Event(), spawned.Event(), spawned.Event()
    worker = spawned.Process(target=wait_and_look, args=(tmp_path, holding, resumed, lost))
    worker.start()
    assert holding.wait(60) and worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        watch(tmp_path, clock, STALE_S + 1)
        acquire(tmp_path, clock.timing)
    finally:
        os.kill(worker.pid, signal.SIGCONT)
        resumed.set()
    worker.join()
    assert worker.exitcode == 0 and lost.is_set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_holds_nothing_and_gives_nothing_back(tmp_path: Path) -> None:
    lease = acquire(tmp_path)
    child = os.fork()
    if child == 0:
        lease.release()
        os._exit(0 if own(tmp_path) is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    lease.require()
    assert holder(tmp_path) is not None


def test_a_temporary_name_says_whether_its_writer_lives() -> None:
    mine = processes.temporary_suffix()
    assert processes.temporary_suffix() != mine
    assert processes.writer_is_gone(f".file{mine}") is False
    process = subprocess.run(
        [sys.executable, "-c", "import experiments.store.processes as l; print(l.temporary_suffix())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert processes.writer_is_gone(f".file{process.stdout.strip()}") is True
    assert processes.writer_is_gone(f".file.{'0' * 8}-1-1-1.part") is None
    assert processes.writer_is_gone(".file.123.part") is None


def test_a_process_that_fell_silent_is_watched_for_one_of_its_leases_only(
    tmp_path: Path, clock: Clock, elsewhere: Callable[[], None]
) -> None:
    one, other = (acquire(tmp_path / name, clock.timing) for name in ("one", "other"))
    elsewhere()
    watch(one.folder, clock, STALE_S + 1)
    assert holder(other.folder, clock.timing) is not None  # the disk's clock says that it counted up just now
    age(other.path, STALE_S + 1)
    assert holder(other.folder, clock.timing) is None
    told = lease_watch.silent_processes()
    lease_watch._silent.clear()
    lease_watch.forget(other.path)
    assert holder(other.folder, clock.timing) is not None
    lease_watch.note_silent(told)  # by another process, which has watched
    assert holder(other.folder, clock.timing) is None
    other.beat()
    assert holder(other.folder, clock.timing) is not None  # it was suspended, and goes on


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)
