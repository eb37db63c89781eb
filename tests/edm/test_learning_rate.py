"""The learning rate over a training, against its definition."""

import math

import pytest

from edm.config import NetworkConfig, TrainingConfig, canonical_training
from edm.learning_rate import learning_rate

NETWORK = NetworkConfig(1, 8, 3, 8, (1,), (0,), 0)


def test_it_warms_up_and_stays() -> None:
    config = TrainingConfig(lr=0.01, warmup_kimg=10.0)
    assert [learning_rate(config, kimg) for kimg in (0.0, 5.0, 10.0, 1000.0)] == [0, 0.005, 0.01, 0.01]


def test_by_the_inverse_square_root_it_halves_when_the_images_quadruple() -> None:
    """EDM2, eq. 67."""
    config = TrainingConfig(lr=0.01, lr_schedule="inverse_sqrt", lr_decay_kimg=100.0)
    assert [learning_rate(config, kimg) for kimg in (0.0, 100.0, 400.0, 1600.0)] == [0.01, 0.01, 0.005, 0.0025]
    assert learning_rate(config, 200.0) == pytest.approx(0.01 / math.sqrt(2))


def test_both_may_come_together() -> None:
    config = TrainingConfig(lr=0.01, warmup_kimg=400.0, lr_schedule="inverse_sqrt", lr_decay_kimg=100.0)
    assert learning_rate(config, 400.0) == 0.005
    assert learning_rate(config, 200.0) == pytest.approx(0.005 / math.sqrt(2))


def test_a_decay_that_never_comes_is_a_constant_rate() -> None:
    def canonical(**config: object) -> TrainingConfig:
        return canonical_training(TrainingConfig(kimg=100.0, batch_size=50, **config), NETWORK)  # pyright: ignore[reportArgumentType]

    constant = canonical()
    assert canonical(lr_schedule="inverse_sqrt", lr_decay_kimg=99.95) == constant
    assert canonical(lr_schedule="inverse_sqrt", lr_decay_kimg=99.9) != constant
    assert canonical(lr_decay_kimg=7.0) == constant
