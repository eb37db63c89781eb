"""The configurations that a store's tasks were computed with, whichever sweep asked for them.

They lead to results under signatures that no cell of a plan has: those of another value that comes to the same. They
are read from the tasks' own config.yaml, when a plan first lacks something. Thousands of tasks have few of them, and
each is parsed once.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

from edm.config import (
    NetworkConfig,
    SamplingConfig,
    TrainingConfig,
    canonical_sampling,
    canonical_training,
    guiding_the_same_steps,
)
from experiments.store.layout import StoreKind
from experiments.sweep.aliases import Holdings
from experiments.sweep.by_identity import by_identity
from experiments.sweep.forms import EvaluationForm, training_of
from experiments.sweep.metrics import TRUNCATION
from experiments.sweep.schemas import validator
from experiments.sweep.spec import Cell
from experiments.sweep.tasks import Evaluation, Training

ConfigT = TypeVar("ConfigT", TrainingConfig, SamplingConfig)


@dataclass(frozen=True)
class ByForm(Generic[ConfigT]):
    """Configurations, by network and canonical form, worked out for each network once."""

    configs: tuple[ConfigT, ...]
    known: dict[NetworkConfig, dict[ConfigT, list[ConfigT]]]

    def of(self, network: NetworkConfig, config: ConfigT) -> list[ConfigT]:
        """Return those that come to the same as `config` with a network."""
        if not self.configs:
            return []
        if network not in self.known:
            forms: defaultdict[ConfigT, list[ConfigT]] = defaultdict(list)
            for each in self.configs:
                forms[_form(each, network)].append(each)
            self.known[network] = forms
        return self.known[network].get(_form(config, network), [])


@by_identity
def _form(config: ConfigT, network: NetworkConfig) -> ConfigT:
    if isinstance(config, TrainingConfig):
        return canonical_training(config, network)
    return guiding_the_same_steps(canonical_sampling(config, network))


class StoredConfigs:
    """The distinct configurations of the trainings and of the drawings of a store."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings

    @cached_property
    def trainings(self) -> ByForm[TrainingConfig]:
        """How networks were trained."""
        return ByForm(tuple(self._distinct("trainings", "config", TrainingConfig)), {})

    @cached_property
    def samplings(self) -> ByForm[SamplingConfig]:
        """How images were drawn."""
        return ByForm(tuple(self._distinct("evaluations", "sampling", SamplingConfig)), {})

    def _distinct(self, kind: StoreKind, section: str, config: type[ConfigT]) -> Iterator[ConfigT]:
        """Yield the distinct values of a section of tasks' configurations; what cannot be read is passed over."""
        from experiments.store.yaml_text import parse_yaml  # only where a plan lacks something

        block, schema = re.compile(rf"^{section}:\n((?: .*\n)+)", re.MULTILINE), validator(config)
        found = (block.search(text) for text in self._holdings.configs(kind))
        for text in dict.fromkeys(match.group() for match in found if match):
            with suppress(ValueError):  # of another version, or of an extension that is not here
                yield schema.validate_json(json.dumps(parse_yaml(text)[section]))


class StoredForms:
    """Finds forms of tasks that a store may hold and that no cell of a plan is written in."""

    def __init__(self, holdings: Holdings) -> None:
        self._configs = StoredConfigs(holdings)

    @property
    def kimg(self) -> set[float]:
        """The lengths of the trainings of the store."""
        return {config.kimg for config in self._configs.trainings.configs}

    def trainings(self, training: Training) -> Iterator[Training]:
        """Yield the forms of a training in configurations that other trainings of the store have."""
        if training.pretrained is None:
            for config in self._configs.trainings.of(training.network, training.config):
                yield training_of(training.seed, training.data, training.network, config, training.start)

    def evaluations(
        self, cell: Cell, canonical: Evaluation, pairs: Iterable[tuple[Training, Training | None]]
    ) -> Iterator[Evaluation]:
        """Yield the forms of a cell's evaluation in configurations that other drawings of the store have.

        canonical: its canonical form. pairs: forms of its training, each with one of its guide.
        """
        network = canonical.training.network
        samplings = self._configs.samplings.of(network, canonical.sampling)
        if TRUNCATION in canonical.scores:
            samplings = [each for each in samplings if canonical_sampling(each, network) == canonical.sampling]
        for sampling, pair in itertools.product(samplings, pairs if samplings else ()):
            yield EvaluationForm.of(cell, sampling, *pair, canonical.statistics).task()
