"""The learning rate over a training, against its definition."""

import math

import pytest
import torch

from edm.batches import TrainingSet
from edm.config import NetworkConfig, TrainingConfig, canonical_training
from edm.learning_rate import inverse_sqrt
from edm.train import TrainState, train

NETWORK = NetworkConfig(1, 8, 3, 8, (1,), (0,), 0)


def test_by_the_inverse_square_root_it_halves_when_the_images_quadruple() -> None:
    """EDM2, eq. 67."""
    assert [inverse_sqrt(kimg, 100.0) for kimg in (0.0, 100.0, 400.0, 1600.0)] == [1, 1, 0.5, 0.25]
    assert inverse_sqrt(200.0, 100.0) == pytest.approx(1 / math.sqrt(2))


def test_a_training_warms_up_and_decays() -> None:
    schedule = {"warmup_kimg": 0.016, "lr_schedule": "inverse_sqrt", "lr_decay_kimg": 0.008}
    config = TrainingConfig(kimg=0.04, batch_size=8, lr=0.01, **schedule)  # pyright: ignore[reportArgumentType]
    state = TrainState(NETWORK, config, 0.5, 0, torch.device("cpu"))
    data = TrainingSet(torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.arange(8) % 3)
    rates = [state.optimizer.param_groups[0]["lr"] for _ in train(state, data)]
    seen = [0.0, 1.0, 2.0, 3.0, 4.0]  # batches before each step: the warm-up takes two, the decay begins after one
    assert rates == pytest.approx([0.01 * min(1, b / 2) / math.sqrt(max(b, 1)) for b in seen])


def test_a_decay_that_never_comes_is_a_constant_rate() -> None:
    def canonical(**config: object) -> TrainingConfig:
        return canonical_training(TrainingConfig(kimg=100.0, batch_size=50, **config), NETWORK)  # pyright: ignore[reportArgumentType]

    constant = canonical()
    assert canonical(lr_schedule="inverse_sqrt", lr_decay_kimg=99.95) == constant
    assert canonical(lr_schedule="inverse_sqrt", lr_decay_kimg=99.9) != constant
    assert canonical(lr_decay_kimg=7.0) == constant
