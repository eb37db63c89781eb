"""Tune in a thread of its own: whatever Ray waits for, its loss and Ctrl-C are answered."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.runner import ray_private, ray_watch
from experiments.runner.dispatch import Dispatcher
from experiments.runner.ray_watch import RayLost, run_watched
from experiments.runner.schedule import Schedule
from experiments.runner.timing import Timing
from experiments.store.active_runs import announced
from experiments.store.store import Store
from experiments.sweep.plan import Plan

IMPATIENT = Timing(look_s=0.0, ray_look_s=0.05, ray_silence_s=0.3)


@pytest.fixture
def dispatcher(tiny_plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dispatcher:
    monkeypatch.setattr(ray_watch, "ANSWER_S", 0.02)
    monkeypatch.setattr(ray_watch.RayWatch, "_remember", lambda _: None)  # this process has children of its own
    store = Store(tmp_path / "store")
    store.create()
    return Dispatcher(Schedule(tiny_plan, frozenset()), store, timing=IMPATIENT)


def endlessly() -> None:
    while True:
        time.sleep(0.01)


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_what_ends_tune_is_raised_here(dispatcher: Dispatcher) -> None:
    run_watched(dispatcher, lambda: None)
    with pytest.raises(UserError, match="no such sweep"):
        run_watched(dispatcher, raising(UserError("no such sweep")))


@pytest.mark.parametrize("dead", [["gcs_server", "raylet"], ["raylet"]], ids=["all", "the raylet, and no sign of life"])
def test_a_ray_that_has_ended_is_noticed(
    dead: list[str], dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_private, "dead_processes", lambda: dead)
    with pytest.raises(RayLost) as lost:
        run_watched(dispatcher, endlessly)
    assert not lost.value.stuck
    assert "edm-sweep-tune" not in {thread.name for thread in threading.enumerate()}


def test_a_tune_that_waits_for_a_lost_ray_is_left_behind(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_private, "dead_processes", lambda: ["gcs_server"])
    monkeypatch.setattr(ray_watch, "LEAVE_S", 0.1)
    ending = threading.Event()
    with pytest.raises(RayLost) as lost:
        run_watched(dispatcher, lambda: (ending.wait(60), None)[1])  # a lock, as a call into Ray's core is
    ending.set()
    assert lost.value.stuck


def test_a_store_that_is_gone_ends_it_with_a_sentence(dispatcher: Dispatcher, tmp_path: Path) -> None:
    dispatcher.run_id = "run"
    with announced(dispatcher.store, "run", "tiny_digits"):
        dispatcher.store.root.rename(tmp_path / "moved")
        with pytest.raises(UserError, match="was moved or removed while a run worked with it"):
            run_watched(dispatcher, endlessly)


def test_jobs_of_a_lost_ray_are_started_again_and_no_failure(dispatcher: Dispatcher) -> None:
    job = dispatcher.next("a")
    assert job is not None
    dispatcher.requeue()
    again = dispatcher.next("b")
    assert again is not None and again.tasks == job.tasks
    assert not dispatcher.schedule.failures and list(dispatcher.running) == ["b"]
