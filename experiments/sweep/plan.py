"""A sweep becomes a plan: the trainings and evaluations that fill it, each once."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from edm.config import DataConfig, EvaluationConfig, Extension, extensions_in
from experiments.errors import UserError
from experiments.inputs import Inputs
from experiments.sweep.aliases import Aliases, Holdings
from experiments.sweep.by_identity import by_identity
from experiments.sweep.equivalence import Outcome, SameValues, repeated_cells, repeated_sentence, same_values
from experiments.sweep.forms import computation_of, evaluation_forms, guide_cell, training_forms
from experiments.sweep.identity import VERSIONS
from experiments.sweep.linking import link_evaluations, merge_evaluations
from experiments.sweep.metrics import declare_metrics, fid_remedy
from experiments.sweep.names import CellNames
from experiments.sweep.preparations import Preparation, names_of, names_of_networks, preparations_by_signature
from experiments.sweep.remarks import fields_without_effect, metrics_without_scores
from experiments.sweep.shorter import Shorter, shorter_trainings
from experiments.sweep.spec import SECTIONS, Cell, Sweep
from experiments.sweep.stored_configs import StoredForms
from experiments.sweep.tasks import (
    FORMER_CLASSIFIER,
    DataSource,
    Evaluation,
    SweepTask,
    Training,
    classifier_of,
    pretrained_training,
)

TRAINING_SECTIONS = ("data", "model", "training")  # of the sweep file: these decide a training


@dataclass(frozen=True)
class PlannedCell:
    """A cell and the tasks that fill it.

    computation: the signature of the evaluation in canonical form, which is its own unless the store has another form
    of it, or another cell guides the same steps. Cells in which it is equal come to the same.
    """

    cell: Cell
    training: Training
    evaluation: Evaluation
    computation: str


@dataclass(frozen=True)
class Plan:
    """Everything that a sweep needs: its cells in the order of the file; trainings and evaluations by signature.

    remarks: what a person should know about its folders of images. shorter: by signature, the trainings at whose ends
    others may begin, the longest first.
    """

    sweep: Sweep
    cells: tuple[PlannedCell, ...]
    trainings: dict[str, Training]
    evaluations: dict[str, Evaluation]
    remarks: tuple[str, ...] = ()
    shorter: Mapping[str, tuple[Shorter, ...]] = field(default_factory=dict[str, tuple[Shorter, ...]])

    def __repr__(self) -> str:
        """Show its size; the whole would be pages."""
        sizes = f"{len(self.cells)} cells, {len(self.trainings)} trainings, {len(self.evaluations)} evaluations"
        return f"<Plan of {self.sweep.name}: {sizes}>"

    @cached_property
    def names(self) -> dict[str, str]:
        """A readable name for each task, by signature: the axis values that identify it, such as nano/attention."""
        names: dict[str, str] = {}
        for planned in self.cells:
            if planned.training.signature not in names:
                names[planned.training.signature] = self._cell_names.within(TRAINING_SECTIONS, planned.cell)
            names.setdefault(planned.evaluation.signature, self.cell_name(planned))
        for planned in self.cells:  # last, as a guide may be the training of another cell
            guide = planned.evaluation.guide
            if guide is not None:
                own = self._cell_names.within(TRAINING_SECTIONS, planned.cell)
                names.setdefault(guide.signature, f"{own}/guide {planned.cell.sampling.guide}")
        rest = {name: each.pretrained for name, each in self.trainings.items() if name not in names}
        networks = names_of_networks({name: network for name, network in rest.items() if network is not None})
        return names | networks | names_of(self.prepared.values(), names)

    def cell_name(self, planned: PlannedCell) -> str:
        """Return the readable name of a cell: the value of every axis, and the seed where there are several."""
        return self._cell_names.of(planned.cell)

    @cached_property
    def _cell_names(self) -> CellNames:
        return CellNames(self.sweep, (planned.cell for planned in self.cells))

    @cached_property
    def trained(self) -> dict[str, Training]:
        """The trainings that take gradient steps, by signature: all but those of pretrained networks."""
        return {name: training for name, training in self.trainings.items() if training.pretrained is None}

    @cached_property
    def preparations(self) -> dict[str, Preparation]:
        """What evaluations share and depend on besides trainings, by signature; what others depend on comes first."""
        return preparations_by_signature(self.evaluations.values())

    @cached_property
    def prepared(self) -> dict[str, DataSource | Preparation]:
        """The data sets and all other preparations, by signature; what others depend on comes first."""
        return {**self.sources, **self.preparations}

    @property
    def tasks(self) -> list[DataSource | Preparation | SweepTask]:
        """All tasks; what others are made from comes first."""
        return [*self.prepared.values(), *self.trainings.values(), *self.evaluations.values()]

    @cached_property
    def extensions(self) -> dict[str, Extension]:
        """The extensions that cells have, by the digests of their code."""
        found = [getattr(cell, name) for name in SECTIONS for cell in self.sweep.cells]
        distinct = {id(section): section for section in found}  # of which thousands of cells have few
        return {extension.code: extension for section in distinct.values() for extension in extensions_in(section)}

    @property
    def sources(self) -> dict[str, DataSource]:
        """The data sets that the sweep needs, by signature."""
        return {training.data.signature: training.data for training in self.trainings.values()}

    @property
    def warnings(self) -> list[str]:
        """What a person should know before the sweep runs: scores that are left out, fields that have no effect."""
        evaluations = self.evaluations.values()
        notes = {note for evaluation in evaluations for note in evaluation.notes}
        remedies = {_fid_remedy(evaluation.config, evaluation.training.data) for evaluation in evaluations}
        return [
            *self.remarks,
            *sorted(notes),
            *sorted(remedy for remedy in remedies if remedy is not None),
            *self.idle_axes,
            *fields_without_effect((planned.cell.sampling for planned in self.cells), self.trainings.values()),
            *metrics_without_scores(self.sweep.report, evaluations),
        ]

    @cached_property
    def equivalences(self) -> list[str]:
        """Sentences on the values and cells that come to the same computation, besides axes that change nothing."""
        partial = [str(same) for same in self._same_values if not same.all]
        groups = repeated_cells(self._outcomes, self.sweep.axes, self._same_values)
        names = [[self.cell_name(self.cells[number]) for number in group] for group in groups]
        return [*partial, *([repeated_sentence(names)] if names else [])]

    @cached_property
    def idle_axes(self) -> list[str]:
        """Sentences on axes whose values all come to the same computation."""
        return [str(same) for same in self._same_values if same.all]

    @cached_property
    def _same_values(self) -> list[SameValues]:
        return same_values(self._outcomes, self.sweep.axes)

    @property
    def _outcomes(self) -> list[Outcome]:
        return [(planned.cell, planned.computation) for planned in self.cells]


@by_identity
def _fid_remedy(config: EvaluationConfig, data: DataSource) -> str | None:
    return fid_remedy(config, data.sizes)


def plan_sweep(
    sweep: Sweep,
    inputs: Inputs,
    sources: Mapping[DataConfig, DataSource] | None = None,
    holdings: Holdings | None = None,
) -> Plan:
    """Return the least work that fills a sweep: every training and every evaluation once, however many cells need it.

    sources: data sets as an earlier plan recorded them, whose files are not read again. holdings: the store that the
    plan is for, whose results are found under signatures of earlier releases, too, and whose feature classifiers are
    used whatever their version. Raises DataError or UserError where
    a file that the sweep names cannot be used.
    """
    planner, requested = _planned(sweep, inputs, sources or {}, holdings)
    evaluations = link_evaluations(planner.evaluations)
    cells = tuple(
        PlannedCell(cell, evaluation.training, evaluations[evaluation.signature], computation)
        for cell, evaluation, computation in requested
    )
    read = dict.fromkeys(cell.data for cell in sweep.cells if cell.data not in (sources or {}))
    remarks = dict.fromkeys(remark for config in read for remark in inputs.facts(config).remarks)
    shorter = shorter_trainings(planner.trainings, holdings, planner.stored)
    return Plan(sweep, cells, planner.trainings, evaluations, tuple(remarks), shorter)


def _planned(
    sweep: Sweep, inputs: Inputs, sources: Mapping[DataConfig, DataSource], holdings: Holdings | None
) -> tuple[Planner, list[tuple[Cell, Evaluation, str]]]:
    """Return the planner that has planned a sweep's cells, and what it made of each cell."""
    declare_metrics(cell.evaluation for cell in sweep.cells)
    stored = StoredForms(holdings) if holdings is not None else None
    planner = Planner(inputs, sources, holdings, stored)
    requested = list(planner.plan(sweep.cells))
    if holdings is None or not holdings.signatures("evaluations") or not planner.lacks_classifiers:
        return planner, requested
    # a bundle has results without their classifier
    former = Planner(inputs, sources, holdings, stored, FORMER_CLASSIFIER)
    as_before = list(former.plan(sweep.cells))
    return (former, as_before) if former.has_classified else (planner, requested)


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
            self._training_aliases.add(forms[-1].signature, forms)
            if self.stored:
                self._training_aliases.add_if_none(forms[-1].signature, self.stored.trainings(forms[-1]))
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
        return training_forms(cell, source, None if cell.start is None else self._inputs.model(cell.start))

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


def plan_of_cells(plan: Plan, name: str, cells: Sequence[PlannedCell]) -> Plan:
    """Return the plan of some cells of a sweep, under a name of its own; their tasks are the same."""
    needed = {planned.evaluation.signature for planned in cells}
    evaluations = {signature: task for signature, task in plan.evaluations.items() if signature in needed}
    trained = {training.signature for task in evaluations.values() for training in task.trainings}
    return dataclasses.replace(
        plan,
        sweep=dataclasses.replace(plan.sweep, name=name, cells=tuple(planned.cell for planned in cells)),
        cells=tuple(cells),
        trainings={signature: task for signature, task in plan.trainings.items() if signature in trained},
        evaluations=evaluations,
    )
