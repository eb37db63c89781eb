"""A sweep becomes a plan: the trainings and evaluations that fill it, each once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from edm.config import DataConfig, EvaluationConfig, Extension, Pretraining, extensions_in
from experiments.inputs import Inputs
from experiments.sweep.aliases import Holdings
from experiments.sweep.by_identity import by_identity
from experiments.sweep.equivalence import Outcome, SameValues, repeated_cells, repeated_sentence, same_values
from experiments.sweep.forms import guide_cell, lineage
from experiments.sweep.linking import link_evaluations
from experiments.sweep.metrics import declare_metrics, fid_remedy
from experiments.sweep.names import CellNames
from experiments.sweep.planner import Planner
from experiments.sweep.preparations import Preparation, names_of, names_of_networks, preparations_by_signature
from experiments.sweep.remarks import fields_without_effect, metrics_without_scores
from experiments.sweep.shorter import Shorter, shorter_trainings
from experiments.sweep.spec import SECTIONS, Cell, Sweep
from experiments.sweep.stored_configs import StoredForms
from experiments.sweep.tasks import FORMER_CLASSIFIER, DataSource, Evaluation, SweepTask, Training

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

    @property
    def trainings(self) -> Iterator[tuple[Cell, Training]]:
        """Yield all trainings that it needs, each with a cell whose own it is: its own first, then what that needs."""
        yield from lineage(self.cell, self.training)
        guide = self.evaluation.guide
        cell = guide_cell(self.cell) if guide is not None else None
        if guide is not None and cell is not None:
            yield from lineage(cell, guide)


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
            if guide is None and planned.training.start is None:
                continue
            own = self._cell_names.within(TRAINING_SECTIONS, planned.cell)
            if guide is not None:
                names.setdefault(guide.signature, f"{own}/guide {planned.cell.sampling.guide}")
            for depth, before in enumerate(reversed(planned.training.lineage[:-1]), 1):
                if before.pretrained is None:
                    names.setdefault(before.signature, f"{own}{'/pretraining' * depth}")
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
    read = [config for config in _data_sets(sweep.cells) if config not in (sources or {})]
    remarks = dict.fromkeys(remark for config in read for remark in inputs.facts(config).remarks)
    shorter = shorter_trainings(planner.trainings, holdings, planner.stored)
    return Plan(sweep, cells, planner.trainings, evaluations, tuple(remarks), shorter)


def _data_sets(cells: Iterable[Cell]) -> dict[DataConfig, None]:
    """The data sets of cells, and of the trainings with whose networks theirs begin."""
    found = dict.fromkeys(cell.data for cell in cells)
    for training in {id(cell.training): cell.training for cell in cells}.values():  # of which thousands have few
        source = training.source
        while isinstance(source, Pretraining):
            found[source.data] = None
            source = source.training.source
    return found


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
