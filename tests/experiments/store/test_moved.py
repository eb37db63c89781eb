"""A store that is renamed while something works with it does not grow anew at its old path."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from experiments.errors import UserError
from experiments.runner.tune import perform_job
from experiments.store.active_runs import announced
from experiments.store.checksummed import write_checksummed
from experiments.store.code_files import keep_definitions
from experiments.store.leases import LeaseLost
from experiments.store.store import Store
from experiments.store.sweep_records import write_record
from experiments.sweep.jobs import Job
from experiments.sweep.plan import Plan
from experiments.tracking.background import MirrorThread
from experiments.trials.perform import perform
from tests.inprocess import CONTEXT


def test_what_is_written_under_a_lease_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store").create()
    with store.try_lock("trainings", "one") as folder:
        store.root.rename(tmp_path / "moved")
        with pytest.raises(LeaseLost):
            write_checksummed(folder / "checkpoints", "0000000001", {"a": torch.zeros(1)})
    assert not store.root.exists()


WRITERS: dict[str, Callable[[Store], object]] = {
    "lease": lambda store: store.try_lock("trainings", "one").__enter__(),
    "code": lambda store: keep_definitions(store, "training", "0" * 20, {}),
    "sweep": lambda store: write_record("digits", {"cells": []}, store),
    "request": lambda store: store.request_stop("run"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_that_is_written_beside_tasks_makes_it_anew(name: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "store").create()
    store.root.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError):
        WRITERS[name](store)
    assert not store.root.exists()


def test_a_task_that_begins_then_is_left_to_others(tiny_plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path / "moved away")
    outcome = perform(store, next(iter(tiny_plan.trainings.values())), CONTEXT)
    assert outcome.state == "elsewhere" and "was moved or removed" in outcome.reason
    assert not store.root.exists()


def test_no_task_begins_and_the_run_is_told_to_stop(tiny_plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.create()
    with announced(store, "run", "tiny_digits"):
        store.require_run("run")
        store.root.rename(tmp_path / "moved")
        with pytest.raises(UserError, match=r"was moved or removed while a run worked.*the new place"):
            store.require_run("run")
        ((_, outcome),) = perform_job(store, Job((next(iter(tiny_plan.trainings.values())),)), CONTEXT)
        assert outcome.state == "elsewhere" and "was moved or removed" in outcome.reason
        with pytest.raises(FileNotFoundError):
            store.request_stop("run")
    assert not store.root.exists()


def test_the_mirror_makes_nothing_there(tiny_plan: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    mirror = MirrorThread(store, tiny_plan, None)
    mirror.start()
    problem = mirror.finish(timeout_s=30.0)
    assert problem is not None and "was moved or removed" in problem
    assert not store.root.exists()
