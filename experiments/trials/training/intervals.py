"""Decides from its configuration at which steps a training is validated, drawn and saved, so that resuming agrees."""

from __future__ import annotations

from dataclasses import dataclass

from edm.config import SamplingConfig, TrainingConfig
from edm.validation import VALIDATION_IMAGES, VALIDATION_SIGMAS
from experiments.sweep.tasks import FORWARDS_PER_TRAINING_IMAGE

STATISTICS_BATCHES = 8  # for the batch-norm statistics of an averaged model along the way
GRID_IMAGES = 16
GRID_SAMPLING = SamplingConfig(sampler="dpmpp_2m", steps=16)  # close to where Heun gets with twice the evaluations
SHARE = 0.05  # of a training's work that validations may take, and grids as well, if the sweep does not say how often
MOST_VALIDATIONS, MOST_GRIDS = 100, 20
DEFAULT_KEPT = 10  # checkpoints of `keep: all` where checkpoint_kimg does not say

Steps = frozenset[int]


@dataclass(frozen=True)
class Intervals:
    """The steps after which a training does each of these things.

    The last step is only in `snapshot`: everything else is done at the end of every training anyway.
    """

    validate: Steps
    grid: Steps
    save: Steps
    keep: Steps
    snapshot: Steps

    @classmethod
    def of(cls, config: TrainingConfig) -> Intervals:
        """Return the intervals of a training."""
        save = _every(config, config.checkpoint_kimg)
        kept = _kept(config, save)
        validate = _affordable(
            config, config.validate_kimg, VALIDATION_IMAGES * len(VALIDATION_SIGMAS), MOST_VALIDATIONS
        )
        return cls(
            validate=validate | kept if config.keep == "best" else validate,  # or the best would be unknown
            grid=_affordable(config, config.samples_kimg, GRID_IMAGES * GRID_SAMPLING.nfe, MOST_GRIDS),
            save=save,
            keep=kept,
            snapshot=_snapshots(config),
        )


def _every(config: TrainingConfig, kimg: float | None) -> Steps:
    if not kimg:
        return frozenset()
    count = int(config.kimg / kimg)
    return frozenset(config.steps_to(i * kimg) for i in range(1, count + 1)) - {config.num_steps}


def _evenly(config: TrainingConfig, number: int) -> Steps:
    """Return `number` steps that, with the last one, divide the training evenly."""
    return frozenset(config.num_steps * i // (number + 1) for i in range(1, number + 1)) - {0, config.num_steps}


def _affordable(config: TrainingConfig, kimg: float | None, forwards: int, most: int) -> Steps:
    """Return every `kimg`, or else at most `most` steps that together take up to SHARE of the training's work."""
    if kimg is not None:
        return _every(config, kimg)
    training = FORWARDS_PER_TRAINING_IMAGE * config.num_steps * config.batch_size
    cost = forwards + STATISTICS_BATCHES * config.batch_size
    return _evenly(config, min(most, int(SHARE * training / cost)))


def _kept(config: TrainingConfig, save: Steps) -> Steps:
    if config.keep == "last":
        return frozenset()
    if config.keep in ("best", "all"):
        return save or _evenly(config, DEFAULT_KEPT - 1)
    return frozenset(config.steps_to(kimg) for kimg in config.keep) - {config.num_steps}


def _snapshots(config: TrainingConfig) -> Steps:
    if not config.power_ema:
        return frozenset()
    number = config.power_ema_snapshots
    return frozenset(-(-config.num_steps * i // number) for i in range(1, number + 1))
