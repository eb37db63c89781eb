"""Finds the trainings and evaluations that cells need, in the forms that a store holds them in."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from edm.config import DataConfig, Pretrained
from experiments.errors import UserError
from experiments.inputs import Inputs
from experiments.sweep.aliases import Aliases, Holdings
from experiments.sweep.forms import computation_of, evaluation_forms, guide_cell, start_cell, training_forms
from experiments.sweep.identity import VERSIONS
from experiments.sweep.linking import merge_evaluations
from experiments.sweep.spec import Cell
from experiments.sweep.stored_configs import StoredForms
from experiments.sweep.tasks import (
    FORMER_CLASSIFIER,
    DataSource,
    Evaluation,
    Training,
    classifier_of,
    pretrained_training,
)

Pair = tuple[Training, Training | None]  # one form of a training, and one of its guide


class _Request(NamedTuple):
    """The evaluation that a cell asks for.

    canonical: its canonical form. computation: as of a PlannedCell. pairs: forms of its trainings that could be in the
    store. forms: those of the evaluation that are. otherwise: the one to run if none is, which has the form of the
    training that the store has.
    """

    canonical: Evaluation
    computation: str
    pairs: tuple[Pair, ...]
    forms: tuple[Evaluation, ...]
    otherwise: Evaluation


class Planner:
    """Collects the trainings and evaluations that cells need, by signature, each once.

    stored: what other sweeps have computed in `holdings`. classifier_version: the version of the small classifiers of
    which the store holds none.
    """

    def __init__(
        self,
        inputs: Inputs,
        sources: Mapping[DataConfig, DataSource],
        holdings: Holdings | None = None,
        stored: StoredForms | None = None,
        classifier_version: int = VERSIONS["classifier"],
    ) -> None:
        self.trainings: dict[str, Training] = {}
        self.evaluations: dict[str, Evaluation] = {}
        self._inputs = inputs
        self._holdings, self._classifier_version = holdings, classifier_version
        self._without_classifier: set[str] = set()
        self._sources = {config: self._with_classifier(source) for config, source in sources.items()}
        self._forms_of: dict[Any, tuple[tuple[Training, ...], tuple[Training, ...]]] = {}
        self._pairs_of: dict[tuple[int, int], tuple[Pair, ...]] = {}  # by the identity of forms in _forms_of
        self.stored = stored
        self._begun = frozenset(holdings.signatures("evaluations") if holdings is not None else ())
        self._training_aliases = Aliases[Training](self._rank_of_training)
        self._evaluation_aliases = Aliases[Evaluation](self._rank_of_evaluation)

    def plan(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, Evaluation, str]]:
        """Add what cells need; yield each cell, its evaluation, and what is equal where that comes to the same."""
        trained = [self._forms(cell) for cell in cells]
        for forms in {id(forms): forms for both in trained for forms in both if forms}.values():
            self._note_forms(forms)
        requests = [self._request(cell, *both) for cell, both in zip(cells, trained, strict=True)]
        to_run: dict[str, Evaluation] = {}  # one for all cells that come to the same, in canonical form if there is one
        for request in requests:  # all of them first, as the store may have the form of another cell
            self._evaluation_aliases.add(request.computation, request.forms)
            if request.canonical.signature == request.computation:
                to_run.setdefault(request.computation, request.otherwise)
        for cell, request in zip(cells, requests, strict=True):
            if self.stored and self._training_aliases.held(request.canonical.training.signature):
                forms = self.stored.evaluations(cell, request.canonical, request.pairs)
                self._evaluation_aliases.add_if_none(request.computation, forms)
            otherwise = to_run.setdefault(request.computation, request.otherwise)
            chosen = self._evaluation_aliases.chosen(request.computation, request.forms, otherwise)
            evaluation = chosen.scored_as(request.canonical)
            self._add(evaluation)
            yield cell, evaluation, request.computation

    def _add(self, evaluation: Evaluation) -> None:
        for training in evaluation.trainings:
            self.trainings.setdefault(training.signature, training)
        known = self.evaluations.get(evaluation.signature)
        self.evaluations[evaluation.signature] = evaluation if known is None else merge_evaluations(known, evaluation)

    def _request(self, cell: Cell, trainings: tuple[Training, ...], guides: tuple[Training, ...]) -> _Request:
        statistics, pairs = self._statistics(cell.evaluation.statistics), self._pairs(trainings, guides)
        first, *others = [evaluation_forms(cell, *pair, statistics) for pair in pairs]
        canonical = otherwise = first[-1].task()
        last = trainings[-1], guides[-1] if guides else None
        if pairs[0] != last:
            canonical = evaluation_forms(cell, *last, statistics)[-1].task()
        computation = computation_of(cell, *last, statistics, canonical)
        stored = (form.task() for form in itertools.chain(first, *others) if form.signature in self._begun)
        return _Request(canonical, computation, pairs, tuple(stored), otherwise)

    def _pairs(self, trainings: tuple[Training, ...], guides: tuple[Training, ...]) -> tuple[Pair, ...]:
        """The forms of a training and of its guide that could be in the store, those to use first."""
        key = id(trainings), id(guides)
        if key not in self._pairs_of:
            of_guide = self._by_choice(guides) if guides else (None,)
            self._pairs_of[key] = tuple(itertools.product(self._by_choice(trainings), of_guide))
        return self._pairs_of[key]

    def _by_choice(self, forms: tuple[Training, ...]) -> tuple[Training, ...]:
        """All forms of a training that could be in the store, the one to use first."""
        if self._holdings is None:
            return forms[-1:]
        chosen = self._training_aliases.chosen(forms[-1].signature, forms, forms[-1])
        return tuple(dict.fromkeys((chosen, *forms, *self._training_aliases.held(forms[-1].signature))))

    def _forms(self, cell: Cell) -> tuple[tuple[Training, ...], tuple[Training, ...]]:
        """The forms of a cell's training and of its guide's; worked out once for all cells that share them."""
        sections = map(id, (cell.data, cell.model, cell.training))  # kept by the cells, so that their ids stay theirs
        guide = cell.sampling.guide
        key = (*sections, cell.seed, guide, guide is not None and cell.sampling.guidance == 1)
        if key not in self._forms_of:
            guide = guide_cell(cell)
            guides = () if guide is None else self._training_forms(guide)
            self._forms_of[key] = self._training_forms(cell), guides
        return self._forms_of[key]

    def _training_forms(self, cell: Cell) -> tuple[Training, ...]:
        """The forms of the training of a cell; a trained network has one."""
        source = self._source(cell.data)
        if cell.model.source is not None:
            return (pretrained_training(source, self._inputs.model(cell.model.source)),)
        return training_forms(cell, source, self._start(cell))

    def _start(self, cell: Cell) -> Pretrained | Training | None:
        """The network that the training of a cell begins with; of another training, the form to use."""
        if cell.start is not None:
            return self._inputs.model(cell.start)
        before = start_cell(cell)
        if before is None:
            return None
        forms = self._training_forms(before)
        self._note_forms(forms)
        return self._training_aliases.chosen(forms[-1].signature, forms, forms[-1])

    def _note_forms(self, forms: tuple[Training, ...]) -> None:
        """Note the forms of a training that could be in the store, those that other sweeps wrote included."""
        self._training_aliases.add(forms[-1].signature, forms)
        if self.stored:
            self._training_aliases.add_if_none(forms[-1].signature, self.stored.trainings(forms[-1]))

    def _rank_of_training(self, training: Training) -> int:
        if self._holdings is None:
            return 0
        done = self._holdings.has_result("trainings", training.signature)
        return 2 if done else int(self._holdings.has_begun("trainings", training.signature))

    def _rank_of_evaluation(self, evaluation: Evaluation) -> int:
        if evaluation.signature not in self._begun:  # as thousands are: the disk is asked for the others alone
            return 0
        return int(self._holdings is not None and self._holdings.has_result("evaluations", evaluation.signature))

    def _source(self, config: DataConfig) -> DataSource:
        if config not in self._sources:
            self._sources[config] = self._with_classifier(self._held_source(config))
        return self._sources[config]

    def _held_source(self, config: DataConfig) -> DataSource:
        """Return the form of a data set that the store has, the canonical one where it has both or none."""
        canonical, former = DataSource.of(config, self._inputs), DataSource.as_written(config, self._inputs)
        if self._holdings is None or self._holdings.has_result("data", canonical.signature):
            return canonical
        return former if self._holdings.has_result("data", former.signature) else canonical

    def _with_classifier(self, source: DataSource) -> DataSource:
        """Return a data set with the version of the classifier that the store holds, an earlier one if it has both."""
        for version in range(FORMER_CLASSIFIER, VERSIONS["classifier"] + 1):
            known = dataclasses.replace(source, classifier_version=version)
            if self._holdings is not None and self._holdings.has_result("classifiers", classifier_of(known)):
                return known
        self._without_classifier.add(source.signature)
        return dataclasses.replace(source, classifier_version=self._classifier_version)

    @property
    def lacks_classifiers(self) -> bool:
        """Whether evaluations use features of a classifier that the store does not hold, and none of them is done."""
        used = {evaluation.training.data.signature for evaluation in self._classified()}
        return not self._without_classifier.isdisjoint(used) and not self.has_classified

    @property
    def has_classified(self) -> bool:
        """Whether the store has results in features of a classifier."""
        return any(map(self._rank_of_evaluation, self._classified()))

    def _classified(self) -> Iterator[Evaluation]:
        return (evaluation for evaluation in self.evaluations.values() if evaluation.features.classifier)

    def _statistics(self, path: str | None) -> str | None:
        if path is None:
            return None
        sha256 = self._inputs.statistics_sha256(path)
        if sha256 is None:
            raise UserError(f"evaluation.statistics: {path!r} does not exist; give the path of an .npz file")
        return sha256
