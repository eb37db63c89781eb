"""A training that runs out of memory continues with fewer images at a time, and similar ones start with those."""

import dataclasses
from pathlib import Path

import pytest
import torch

from edm import train as edm_train
from edm.config import TrainingConfig
from edm.train import Computing
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.trials.context import TrialContext
from experiments.trials.perform import perform
from experiments.trials.training.micro_batch import LIMITS, MicroBatchLimit, smaller_micro_batch
from tests.trainings import (
    CONTEXT,
    WATCHFUL,
    StopAfter,
    copy_of,
    log_of,
    losses,
    small_training,
    weights,
)

pytestmark = pytest.mark.usefixtures("few_statistics")


@pytest.fixture
def store(digits: Store, tmp_path: Path) -> Store:
    return copy_of(digits, tmp_path / "store")


class Memory:
    """Room for the gradients of so many images, from one call on; it is found out at the end of the forward pass."""

    def __init__(self, room: int, since: int = 0, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        self.room, self.since, self.error = room, since, error
        self.calls = self.refused = 0
        self.enough = edm_train.denoising_loss

    def __call__(self, denoiser, images, *arguments, **options):
        losses = self.enough(denoiser, images, *arguments, **options)
        self.calls += 1
        if len(images) > self.room and self.calls > self.since:
            self.refused += 1
            raise self.error("CUDA out of memory (a test says so)")
        return losses


def with_room_for(monkeypatch: pytest.MonkeyPatch, room: int, **more) -> Memory:
    memory = Memory(room, **more)
    monkeypatch.setattr(edm_train, "denoising_loss", memory)
    return memory


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_what_does_not_fit_is_trained_in_parts_that_do(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[RuntimeError]
) -> None:
    by_eight = small_training(tmp_path, "training.micro_batch=8")
    assert perform(store, by_eight, CONTEXT).state == "done"
    memory = with_room_for(monkeypatch, 8, error=error)
    whole = small_training(tmp_path)
    assert perform(store, whole, CONTEXT).state == "done"
    assert memory.refused == 2
    result, expected = (store.finished(TrainingResult, t.signature) for t in (whole, by_eight))
    assert result.computing == expected.computing and result.computing and result.computing.micro_batch == 8
    assert "out of memory: from now on, 8 of the 32 images" in log_of(store, whole)
    assert losses(store, whole) == losses(store, by_eight)
    assert result.val_loss == expected.val_loss
    mine, others = weights(store, whole), weights(store, by_eight)
    assert all(torch.equal(mine[name], others[name]) for name in others)


def test_siblings_and_resumed_trainings_begin_with_what_fitted(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = with_room_for(monkeypatch, 8)
    first, sibling = small_training(tmp_path), small_training(tmp_path, "seeds=[1]")
    stopping = StopAfter(store.root)
    stopping.looks = 5
    assert perform(stopping, first, WATCHFUL).state == "interrupted"
    assert memory.refused == 2
    for training in (first, sibling):
        assert perform(store, training, CONTEXT).state == "done"
        computing = store.finished(TrainingResult, training.signature).computing
        assert memory.refused == 2 and computing and computing.micro_batch == 8
        assert "training with 8 images at a time, as more did not fit into memory before" in log_of(store, training)


def test_a_step_is_tried_again_from_the_same_state(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before it are those of the whole batch, and nothing of the failed step is left, batch norm's least."""
    training = small_training(tmp_path)
    undisturbed = copy_of(store, tmp_path / "undisturbed")
    assert perform(undisturbed, training, CONTEXT).state == "done"
    memory = with_room_for(monkeypatch, 16, since=10)
    assert perform(store, training, CONTEXT).state == "done"
    assert memory.refused == 1 and memory.calls > 11
    assert losses(store, training)[:10] == losses(undisturbed, training)[:10]
    assert losses(store, training)[10:] == pytest.approx(losses(undisturbed, training)[10:], rel=0.3)
    assert losses(store, training)[10:] != losses(undisturbed, training)[10:]


@pytest.mark.parametrize("fitting", [1, 3])
def test_a_failed_gradient_leaves_the_state_as_it_was(monkeypatch: pytest.MonkeyPatch, fitting: int) -> None:
    from tests.edm.test_train import assert_same_tensors, new_state, tiny_data

    with_room_for(monkeypatch, 0, since=5 + fitting)  # five calls are the first step
    state, data = new_state(dataclasses.replace(TrainingConfig(kimg=0.1, batch_size=10), micro_batch=2)), tiny_data()
    next(edm_train.train(state, data))
    before = {name: value.clone() for name, value in state.tensors().items()}
    with pytest.raises(torch.OutOfMemoryError):
        next(edm_train.train(state, data))
    assert_same_tensors(state.tensors(), before)


def test_where_not_even_one_image_fits_it_fails_for_memory(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = with_room_for(monkeypatch, 0)
    outcome = perform(store, small_training(tmp_path), CONTEXT)
    assert outcome.failure is not None and outcome.failure.kind == "memory"
    assert memory.refused == 6  # 32, 16, 8, 4, 2, 1
    assert not list((store.root / LIMITS).iterdir())


def test_other_errors_are_not_taken_for_it(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_arguments, **_options):
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(edm_train, "denoising_loss", failing)
    failure = perform(store, small_training(tmp_path), CONTEXT).failure
    assert failure is not None and failure.kind == "unknown"
    assert not (store.root / LIMITS).exists()


@pytest.mark.parametrize(
    ("batch_size", "num_gpus", "expected"),
    [
        (32, 1, [16, 8, 4, 2, 1]),
        (15, 1, [5, 3, 1]),
        (12, 1, [6, 3, 2, 1]),
        (7, 1, [1]),
        (32, 4, [16, 8, 4]),
        (24, 2, [12, 6, 4, 2]),
        (18, 2, [6, 2]),
        (1, 1, []),
    ],
)
def test_micro_batches_halve_or_are_the_next_that_divide(batch_size: int, num_gpus: int, expected: list[int]) -> None:
    found, current = [], batch_size
    while (smaller := smaller_micro_batch(batch_size, current, num_gpus)) is not None:
        found.append(current := smaller)
    assert found == expected


def test_a_limit_holds_for_the_same_network_batch_precision_and_device(tmp_path: Path) -> None:
    store, training = Store(tmp_path / "store").create(), small_training(tmp_path)
    store.create()
    computing = Computing("fp32", False)
    limit = MicroBatchLimit.of(store, training, CONTEXT, computing)
    assert limit.apply(computing) == computing
    assert limit.lower(computing, MemoryError()).micro_batch == 16
    assert limit.apply(computing).micro_batch == 16
    assert limit.apply(dataclasses.replace(computing, micro_batch=4)).micro_batch == 4  # never more than asked for
    others = [
        (small_training(tmp_path, "model.channels=16"), CONTEXT, computing),
        (small_training(tmp_path, "training.batch_size=64"), CONTEXT, computing),
        (training, TrialContext(run_id="test", gpus=0.5), computing),
        (training, CONTEXT, Computing("bf16", False)),
    ]
    assert len({limit.path, *(MicroBatchLimit.of(store, *other).path for other in others)}) == 5
    sibling = small_training(tmp_path, "seeds=[3]", "training.lr=0.1")
    assert MicroBatchLimit.of(store, sibling, CONTEXT, computing).apply(computing).micro_batch == 16
