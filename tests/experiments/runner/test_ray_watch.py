"""Tune in a thread of its own: whatever Ray waits for, its loss and Ctrl-C are answered."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.errors import RayLost, UserError
from experiments.runner import ray_private, ray_watch
from experiments.runner.cluster import LocalRay
from experiments.runner.dispatch import Dispatcher
from experiments.runner.options import Options
from experiments.runner.ray_watch import FirstWorkers, run_watched
from experiments.runner.schedule import Schedule
from experiments.runner.timing import Timing
from experiments.store.active_runs import announced
from experiments.store.store import Store
from experiments.sweep.plan import Plan

IMPATIENT = Timing(look_s=0.0, ray_look_s=0.05, ray_silence_s=0.3, slow_worker_s=0.2, stillborn_s=0.1)


@pytest.fixture
def dispatcher(tiny_plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dispatcher:
    monkeypatch.setattr(ray_watch, "ANSWER_S", 0.02)
    monkeypatch.setattr(ray_watch.RayWatch, "_remember", lambda _: None)  # this process has children of its own
    store = Store(tmp_path / "store")
    store.create()
    return Dispatcher(Schedule(tiny_plan, frozenset()), store, options=Options(timing=IMPATIENT))


class RayHere(LocalRay):
    """A Ray that is not started."""

    def __init__(self) -> None:
        self.is_forsaken = False

    def forsake(self) -> None:
        self.is_forsaken = True


@pytest.fixture
def ray_here() -> RayHere:
    return RayHere()


def endlessly() -> None:
    while True:
        time.sleep(0.01)


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_what_ends_tune_is_raised_here(dispatcher: Dispatcher, ray_here: RayHere) -> None:
    run_watched(dispatcher, lambda: None, ray_here)
    with pytest.raises(UserError, match="no such sweep"):
        run_watched(dispatcher, raising(UserError("no such sweep")), ray_here)
    assert not ray_here.is_forsaken


@pytest.mark.parametrize("dead", [["gcs_server", "raylet"], ["raylet"]], ids=["all", "the raylet, and no sign of life"])
def test_a_ray_that_has_ended_is_noticed(
    dead: list[str], dispatcher: Dispatcher, ray_here: RayHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_private, "dead_processes", lambda: dead)
    dispatcher.spent_s = 60.0
    with pytest.raises(RayLost) as lost:
        run_watched(dispatcher, endlessly, ray_here)
    assert ray_here.is_forsaken and lost.value.spent_s == 60.0


def test_a_tune_that_has_ended_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tune, raised, ending = ray_watch._TuneThread(lambda: None), list[BaseException](), threading.Event()
    assert tune.ended_within(60.0)

    def work() -> None:
        try:
            while not ending.wait(0.01):
                pass
        except BaseException as error:
            raised.append(error)

    other = threading.Thread(target=work)
    other.start()
    monkeypatch.setattr(tune._thread, "_ident", other.ident)  # as systems give a thread the number of an ended one
    tune.tell_to_leave()
    other.join(0.2)
    ending.set()
    other.join()
    assert not raised


def waits_for_ray(ending: threading.Event) -> Callable[[], None]:
    """A Tune that hangs in a lock, as a call into Ray's core does: no exception reaches it there."""
    return lambda: (ending.wait(60), None)[1]


def test_a_tune_that_waits_for_a_lost_ray_is_not_waited_for(
    dispatcher: Dispatcher, ray_here: RayHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_private, "dead_processes", lambda: ["gcs_server"])
    ending = threading.Event()
    with pytest.raises(RayLost):
        run_watched(dispatcher, waits_for_ray(ending), ray_here)
    assert "edm-sweep-tune" in {thread.name for thread in threading.enumerate()}
    ending.set()


@pytest.mark.parametrize("leaves", [True, False])
def test_a_store_that_is_gone_ends_it_with_a_sentence(
    leaves: bool, dispatcher: Dispatcher, ray_here: RayHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_watch, "LEAVE_S", 60.0 if leaves else 0.1)
    ending = threading.Event()
    dispatcher.run_id = "run"
    with announced(dispatcher.store, "run", "tiny_digits"):
        dispatcher.store.root.rename(tmp_path / "moved")
        with pytest.raises(UserError, match="was moved or removed while a run worked with it"):
            run_watched(dispatcher, endlessly if leaves else waits_for_ray(ending), ray_here)
    ending.set()
    assert ray_here.is_forsaken is not leaves


def test_running_jobs_count_for_the_budget_of_the_next_process(dispatcher: Dispatcher) -> None:
    dispatcher.spent_s = 60.0
    assert dispatcher.next("a", lambda _: 2.0) is not None
    dispatcher.running["a"].last_report -= 100.0
    assert 260.0 <= dispatcher.spent_until_now_s() < 320.0


# the first worker ---------------------------------------------------------------------------------

TRACEBACK = """\
Traceback (most recent call last):
  File "default_worker.py", line 7, in <module>
ImportError: libcrypt.so.2: cannot open shared object file
[2026-11-27 18:49:40,329 E 16386 16386] (raylet) worker_pool.cc:660: Some workers have not registered
"""


@pytest.fixture
def logs(tmp_path: Path, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the logs of a Ray, which has been given a job and has started no worker yet."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "raylet.err").touch()
    monkeypatch.setattr(ray_private.ray_worker, "_global_node", SimpleNamespace(get_logs_dir_path=lambda: str(folder)))
    dispatcher.next("a")
    return folder


def look_for(seconds: float, dispatcher: Dispatcher) -> list[str]:
    """Look for workers for a while; what people are told."""
    told: list[str] = []
    dispatcher.notify = told.append
    workers = FirstWorkers(dispatcher)
    workers.look()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)
        workers.look()  # at the end in any case, however long a busy machine has kept this process from looking
    return told


def test_what_workers_say_that_end_as_they_start_ends_the_run(dispatcher: Dispatcher, logs: Path) -> None:
    (logs / "raylet.err").write_text(TRACEBACK)
    with pytest.raises(
        UserError, match=r"end as soon as they start: .*ImportError: libcrypt.so.2: cannot open"
    ) as told:
        look_for(2.0, dispatcher)
    assert "worker_pool" not in str(told.value)


def test_a_worker_that_still_starts_is_waited_for(
    dispatcher: Dispatcher, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (logs / "raylet.err").write_text(TRACEBACK)
    monkeypatch.setattr(ray_watch, "_are_workers_starting", lambda: True)
    (sentence,) = look_for(0.5, dispatcher)
    assert "Waiting for Ray's first worker" in sentence


def test_what_the_raylet_says_itself_is_no_workers_end(dispatcher: Dispatcher, logs: Path) -> None:
    (logs / "raylet.err").write_text(TRACEBACK.splitlines()[-1])
    assert len(look_for(0.5, dispatcher)) == 1


def test_once_a_worker_has_started_others_may_end(dispatcher: Dispatcher, logs: Path) -> None:
    (logs / "raylet.err").write_text(TRACEBACK)
    (logs / "worker-c-03.err").touch()
    assert look_for(0.5, dispatcher) == []


def test_a_process_of_a_worker_is_known_by_its_program() -> None:
    assert not ray_watch._are_workers_starting()
    command = [sys.executable, "-c", "input()", "/site-packages/ray/_private/workers/default_worker.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert ray_watch._are_workers_starting()
        process.kill()
