"""Steps at which a training is validated, drawn and saved."""

import itertools

import pytest

from edm.config import TrainingConfig
from edm.validation import VALIDATION_IMAGES, VALIDATION_SIGMAS
from experiments.trials.training.intervals import (
    GRID_IMAGES,
    GRID_SAMPLING,
    MOST_GRIDS,
    MOST_VALIDATIONS,
    STATISTICS_BATCHES,
    Intervals,
)


def milestones(**fields):
    return Intervals.of(TrainingConfig(**{"kimg": 10.0, "batch_size": 100, **fields}))


def test_looks_cost_under_a_twentieth_of_the_training_each():
    for kimg in (1.0, 10.0, 100.0, 1000.0):
        config = TrainingConfig(kimg=kimg, batch_size=64)
        found = Intervals.of(config)
        training = 3 * config.num_steps * config.batch_size
        statistics = STATISTICS_BATCHES * config.batch_size
        assert len(found.validate) * (VALIDATION_IMAGES * len(VALIDATION_SIGMAS) + statistics) <= 0.05 * training
        assert len(found.grid) * (GRID_IMAGES * GRID_SAMPLING.nfe + statistics) <= 0.05 * training


def test_long_trainings_are_looked_at_often_enough_and_no_more():
    found = milestones(kimg=100_000.0)
    assert len(found.validate) == MOST_VALIDATIONS and len(found.grid) == MOST_GRIDS
    gaps = [after - before for before, after in itertools.pairwise(sorted(found.validate))]
    assert max(gaps) <= min(gaps) + 1


@pytest.mark.parametrize("field", ["validate_kimg", "samples_kimg", "checkpoint_kimg"])
def test_what_is_asked_for_is_done_just_that_often(field):
    found = milestones(**{field: 2.5})
    steps = {"validate_kimg": found.validate, "samples_kimg": found.grid, "checkpoint_kimg": found.save}[field]
    assert steps == {25, 50, 75}  # the end, at 100, has its own
    assert milestones(**{field: 0.0}) == Intervals.of(TrainingConfig(kimg=10.0, batch_size=100, **{field: 1e9}))


def test_keep_last_some_or_all():
    assert milestones().keep == frozenset()
    assert milestones(keep=(1.0, 2.55, 10.0)).keep == {10, 26}
    assert milestones(keep="all").keep == {10, 20, 30, 40, 50, 60, 70, 80, 90}
    assert milestones(keep="all", checkpoint_kimg=4.0).keep == {40, 80}


def test_snapshots_are_evenly_spaced_and_the_last_is_of_the_end():
    assert milestones().snapshot == frozenset()
    assert milestones(power_ema=(0.05, 0.1), power_ema_snapshots=4).snapshot == {25, 50, 75, 100}
    assert milestones(power_ema=(0.05, 0.1), power_ema_snapshots=3).snapshot == {34, 67, 100}
