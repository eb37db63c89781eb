"""Several processes train one network together, and all of them exit whatever happens to one."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from edm import train as edm_train
from edm.parallel import ProcessLostError
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.trials.context import TrialContext
from experiments.trials.perform import perform
from experiments.trials.training import distributed
from experiments.trials.training.checkpoints import CheckpointManager
from tests.trainings import (
    CONTEXT,
    StopAfter,
    at_step,
    copy_of,
    log_of,
    losses,
    small_training,
    weights,
)
from tests.waiting import until

ON_TWO = TrialContext(run_id="test", gpus=2.0)


@pytest.fixture
def store(digits: Store, tmp_path: Path) -> Store:
    return copy_of(digits, tmp_path / "store")


def others(process: psutil.Process | None = None) -> list[psutil.Process]:
    """The processes that train with this one, or with another."""
    children = (process or psutil.Process()).children(recursive=True)
    return [
        child
        for child in children
        if child.is_running() and "experiments.trials.training.distributed" in _arguments(child)
    ]


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.slow
def test_two_processes_train_what_one_does_and_a_stopped_team_goes_on(store: Store, tmp_path: Path) -> None:
    # at four times this rate a change of the last bit of the initial weights alone moves the curve by 1e-4
    overrides = ("training.stratified=true", "training.micro_batch=16", "training.lr=5e-4")
    training = small_training(tmp_path, *overrides)
    alone, resumed = copy_of(store, tmp_path / "alone"), StopAfter(tmp_path / "resumed")
    copy_of(store, resumed.root)
    assert perform(alone, training, CONTEXT).state == "done"
    assert perform(store, training, ON_TWO).state == "done"
    resumed.looks = 8
    assert perform(resumed, training, dataclasses.replace(ON_TWO, report_s=0.0)).state == "interrupted"
    assert not others()
    assert perform(Store(resumed.root), training, ON_TWO).state == "done"
    assert not others()

    assert losses(store, training) == pytest.approx(losses(alone, training), rel=1e-5)
    result = store.finished(TrainingResult, training.signature)
    assert result.gpus == 2 and "Traceback" not in log_of(store, training)
    assert losses(Store(resumed.root), training) == losses(store, training)
    found, expected = weights(Store(resumed.root), training), weights(store, training)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_every_process_of_a_team_begins_with_the_trained_network(store: Store, tmp_path: Path) -> None:
    first = small_training(tmp_path)
    assert perform(store, first, CONTEXT).state == "done"
    overrides = ("training.stratified=true", "training.micro_batch=16", "training.lr=5e-4", "training.kimg=0.32")
    tuned = small_training(tmp_path, f"training.from={store.folder_of(first)}", *overrides)
    assert tuned.begins_with is not None
    assert perform(store, tuned.begins_with, CONTEXT).state == "done"
    alone = copy_of(store, tmp_path / "alone")
    assert perform(alone, tuned, CONTEXT).state == perform(store, tuned, ON_TWO).state == "done"
    assert losses(store, tuned) == pytest.approx(losses(alone, tuned), rel=1e-5)
    assert losses(store, tuned)[0] < losses(store, first)[0]


@pytest.mark.slow
def test_a_team_ends_cleanly_when_one_of_it_is_killed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = small_training(tmp_path)

    def kill() -> None:
        (other,) = others()
        other.kill()

    monkeypatch.setattr(CheckpointManager, "record_loss", at_step(5, kill, CheckpointManager.record_loss))
    outcome = perform(store, training, ON_TWO)
    assert outcome.state == "failed"
    assert outcome.message == ("ProcessLostError: process 2 of the 2 that train one network was killed (signal 9)")
    assert not others()


@pytest.mark.slow
def test_a_process_that_fails_fails_its_team_and_says_where(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, original = small_training(tmp_path), distributed._spec

    def of_nothing(*arguments):
        return dataclasses.replace(original(*arguments), signature="0" * 20)

    monkeypatch.setattr(distributed, "_spec", of_nothing)
    outcome = perform(store, training, ON_TWO)
    assert outcome.message.startswith("RuntimeError: process 2 of the 2 that train one network failed")
    assert "FileNotFoundError" in log_of(store, training) and not others()


@pytest.mark.slow
def test_a_team_that_runs_out_of_memory_begins_again_with_less_at_a_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough, training = edm_train.denoising_loss, small_training(tmp_path)

    def scarce(denoiser, images, *arguments, **options):
        if len(images) > 8:  # of the 16 that are this process's part
            raise torch.OutOfMemoryError("CUDA out of memory (a test says so)")
        return enough(denoiser, images, *arguments, **options)

    monkeypatch.setattr(edm_train, "denoising_loss", scarce)
    assert perform(store, training, ON_TWO).state == "done"
    computing = store.finished(TrainingResult, training.signature).computing
    assert computing is not None and computing.micro_batch == 16
    assert not others()


SCRIPT = """
from pathlib import Path
from experiments.store.store import Store
from experiments.trials.context import TrialContext
from experiments.trials.perform import perform
from tests.trainings import small_training
perform(Store(Path({store!r})), small_training(Path({folder!r}), "training.kimg=2000"), TrialContext("test", gpus=2.0))
"""


@pytest.mark.slow
def test_the_others_die_with_the_first(store: Store, tmp_path: Path) -> None:
    script = SCRIPT.format(store=str(store.root), folder=str(tmp_path))
    first = subprocess.Popen([sys.executable, "-c", script])
    try:
        progress = f"trainings/{small_training(tmp_path, 'training.kimg=2000').signature}/journal.jsonl"
        until((store.root / progress).exists)
        followers = others(psutil.Process(first.pid))
        assert len(followers) == 1
        for process in followers:
            os.kill(process.pid, signal.SIGTERM)  # sent to all of a job: not theirs to answer
    finally:
        first.kill()
        first.wait()
    until(lambda: not any(process.is_running() for process in followers), seconds=30)


@pytest.mark.parametrize(
    ("overrides", "gpus", "message"),
    [
        (["training.batch_size=30"], 4.0, "resources.gpus: 4 GPUs cannot share training.batch_size 30 evenly"),
        (["training.micro_batch=1"], 2.0, "resources.gpus: 2 GPUs cannot share training.micro_batch 1 evenly"),
    ],
)
def test_batches_that_gpus_cannot_share_are_refused_at_the_start(
    store: Store, tmp_path: Path, overrides: list[str], gpus: float, message: str
) -> None:
    training = small_training(tmp_path, *overrides)
    outcome = perform(store, training, TrialContext(run_id="test", gpus=gpus))
    assert outcome.failure is not None and outcome.failure.kind == "input"
    assert outcome.message.startswith(message) and "make it a multiple of" in outcome.message


def test_a_share_of_a_gpu_is_trained_on_alone(tmp_path: Path) -> None:
    training = small_training(tmp_path, "training.batch_size=7")
    assert [distributed.team_size(training, TrialContext("test", gpus=gpus)) for gpus in (0.0, 0.25, 1.0)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("codes", "kind", "number"),
    [
        ([None, -9], ProcessLostError, 3),
        ([1, -9], ProcessLostError, 3),
        ([1, distributed.OUT_OF_MEMORY], torch.OutOfMemoryError, 3),
        ([-6, 1], ProcessLostError, 2),
        ([0, 1], RuntimeError, 3),
    ],
)
def test_who_began_it_is_told_of_those_that_ended(
    codes: list[int | None], kind: type[RuntimeError], number: int
) -> None:
    error = distributed._reason(codes)
    assert type(error) is kind and f"process {number} of the 3 that" in str(error)
