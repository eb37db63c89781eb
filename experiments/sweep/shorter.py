"""Trainings that pass the end of a shorter one: where its state is kept, they begin there and not at the start."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from edm.config import Extension, NetworkConfig, TrainingConfig, canonical_training
from experiments.sweep.aliases import Holdings
from experiments.sweep.forms import training_of
from experiments.sweep.stored_configs import StoredForms
from experiments.sweep.tasks import Training

JOURNAL_LINES = 200  # for a whole training


@dataclass(frozen=True)
class Shorter:
    """A training that takes the first steps of a longer one, and no others. steps: how many."""

    signature: str
    steps: int


def longest_planned(shorter: Iterable[Shorter], planned: Container[str]) -> str | None:
    """Return the longest of shorter trainings that is planned, for whose end a run waits."""
    return next((other.signature for other in shorter if other.signature in planned), None)


def journal_interval(config: TrainingConfig) -> int:
    """Return after how many steps each a training records its loss: the mean over these steps."""
    return math.ceil(config.num_steps / JOURNAL_LINES)


def shorter_trainings(
    trainings: Mapping[str, Training], holdings: Holdings | None, stored: StoredForms | None
) -> dict[str, tuple[Shorter, ...]]:
    """Return the shorter trainings that each training of a plan passes, the longest first.

    These are others of the plan, or done in `holdings`, whose configurations are in `stored`.
    """
    own = [training for training in trainings.values() if training.pretrained is None]
    left = [t for t in own if holdings is None or not holdings.has_result("trainings", t.signature)]
    of_store = stored.kimg if left and stored is not None else ()
    lengths = sorted({training.config.kimg for training in own}.union(of_store), reverse=True)
    if len(lengths) < 2:
        return {}
    planned = {_signature_at(training, training.config.kimg): training for training in own}
    passing = [training for training in own if _may_pass(training.config)]
    found = {each.signature: dict.fromkeys(_passed(each, lengths, planned, holdings)) for each in passing}
    return {signature: tuple(shorter) for signature, shorter in found.items() if shorter}


def _may_pass(config: TrainingConfig) -> bool:
    """Return whether a training may begin at the end of a shorter one.

    One that keeps checkpoints or power-function averages along the way needs its own. A learning rate of an extension
    may depend on the length of the training.
    """
    keeps = config.keep != "last" or config.power_ema
    return config.keep_state and not keeps and not isinstance(config.lr_schedule, Extension)


def _passed(
    training: Training, lengths: Iterable[float], planned: Mapping[str, Training], holdings: Holdings | None
) -> Iterator[Shorter]:
    """Yield the trainings that this one passes, of those of these lengths."""
    interval = journal_interval(training.config)
    last_line = (training.config.num_steps - 1) // interval * interval  # its result has the mean loss since then
    for kimg in lengths:
        steps = training.config.steps_to(kimg)
        if steps > last_line:
            continue
        signature = _signature_at(training, kimg)
        if signature in planned:
            if planned[signature].config.keep_state:
                yield Shorter(planned[signature].signature, steps)
        elif holdings is not None and holdings.has_result("trainings", signature):
            yield Shorter(signature, steps)


def _signature_at(training: Training, kimg: float) -> str:
    """Return the signature of the training of another length that is otherwise the same, in canonical form."""
    config = _canonical_at(training.config, training.network, kimg)
    return training_of(training.seed, training.data, training.network, config, training.start).signature


@lru_cache(maxsize=4096)
def _canonical_at(config: TrainingConfig, network: NetworkConfig, kimg: float) -> TrainingConfig:
    """Return the canonical form of a configuration with another length, worked out once for all seeds."""
    return canonical_training(replace(config, kimg=kimg), network)
