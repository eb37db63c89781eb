"""A sweep becomes a plan: the trainings and evaluations that fill it, each once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from edm.config import DataConfig, EvaluationConfig, NetworkConfig, SamplingConfig
from edm.cost import forward_flops
from experiments.errors import UserError
from experiments.inputs import Inputs
from experiments.sweep.identity import signature
from experiments.sweep.metrics import fid_remedy, requested_scores
from experiments.sweep.names import short_name
from experiments.sweep.preparations import Preparation, names_of, preparations_by_signature
from experiments.sweep.spec import SECTIONS, Cell, Sweep
from experiments.sweep.tasks import FORWARDS_PER_TRAINING_IMAGE, DataSource, Evaluation, FeatureSpace, Training

TRAINING_SECTIONS = ("data", "model", "training")  # of the sweep file: these decide a training

Value = TypeVar("Value")


@dataclass(frozen=True)
class PlannedCell:
    """A cell and the tasks that fill it."""

    cell: Cell
    training: Training
    evaluation: Evaluation


@dataclass(frozen=True)
class Plan:
    """Everything that a sweep needs: its cells in the order of the file; trainings and evaluations by signature.

    remarks: what a person should know about its folders of images.
    """

    sweep: Sweep
    cells: tuple[PlannedCell, ...]
    trainings: dict[str, Training]
    evaluations: dict[str, Evaluation]
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Show its size; the whole would be pages."""
        sizes = f"{len(self.cells)} cells, {len(self.trainings)} trainings, {len(self.evaluations)} evaluations"
        return f"<Plan of {self.sweep.name}: {sizes}>"

    @cached_property
    def names(self) -> dict[str, str]:
        """A readable name for each task, by signature: the axis values that identify it, such as nano/attention."""
        names: dict[str, str] = {}
        for planned in self.cells:
            names.setdefault(planned.training.signature, self._name(planned, TRAINING_SECTIONS))
            names.setdefault(planned.evaluation.signature, self._name(planned, tuple(SECTIONS)))
        for planned in self.cells:  # last, as a guide may be the training of another cell
            guide = planned.evaluation.guide
            if guide is not None:
                own = self._name(planned, TRAINING_SECTIONS)
                names.setdefault(guide.signature, f"{own}/guide {planned.cell.sampling.guide}")
        return names | names_of(self.preparations.values())

    def cell_name(self, planned: PlannedCell) -> str:
        """Return the readable name of a cell: the value of every axis, and the seed where there are several."""
        return self._name(planned, tuple(SECTIONS))

    def _name(self, planned: PlannedCell, sections: tuple[str, ...]) -> str:
        values = {axis: planned.cell.value(axis) for axis in self.sweep.axes if axis.split(".")[0] in sections}
        if self._has_several_seeds:
            values["seed.seed"] = planned.cell.seed
        return short_name(values) or self.sweep.name

    @cached_property
    def _has_several_seeds(self) -> bool:
        return len({planned.cell.seed for planned in self.cells}) > 1

    @cached_property
    def preparations(self) -> dict[str, Preparation]:
        """What evaluations share and depend on besides trainings, by signature; what others depend on comes first."""
        return preparations_by_signature(self.evaluations.values())

    @property
    def sources(self) -> dict[str, DataSource]:
        """The data sets that the sweep needs, by signature."""
        return {training.data.signature: training.data for training in self.trainings.values()}

    @property
    def warnings(self) -> list[str]:
        """What a person should know before the sweep runs: scores that are left out, fields that have no effect."""
        evaluations = self.evaluations.values()
        notes = {note for evaluation in evaluations for note in evaluation.notes}
        remedies = {fid_remedy(evaluation.config, evaluation.training.data.sizes) for evaluation in evaluations}
        return [
            *self.remarks,
            *sorted(notes),
            *sorted(remedy for remedy in remedies if remedy is not None),
            *self._fields_without_effect(),
        ]

    def _fields_without_effect(self) -> Iterator[str]:
        samplings = [planned.cell.sampling for planned in self.cells]
        for name in ("guidance_interval", "guide"):
            given = [sampling for sampling in samplings if getattr(sampling, name) is not None]
            if given and all(sampling.guidance == 1 for sampling in given):
                yield f"sampling.{name} has no effect at sampling.guidance 1; set another guidance scale"
        unused = {s.guidance_interval for s in samplings if s.guidance != 1 and not any(map(s.guides, s.sigmas[:-1]))}
        for low, high in sorted(interval for interval in unused if interval is not None):
            yield (
                f"sampling.guidance_interval [{low:g}, {high:g}] contains none of the sampler's noise levels, "
                "so that no step is guided; widen it"
            )
        if any(training.config.warmup_kimg > training.config.kimg for training in self.trainings.values()):
            yield "training.warmup_kimg exceeds training.kimg, so that the learning rate never reaches training.lr"


def plan_sweep(sweep: Sweep, inputs: Inputs, sources: Mapping[DataConfig, DataSource] | None = None) -> Plan:
    """Return the least work that fills a sweep: every training and every evaluation once, however many cells need it.

    sources: data sets as an earlier plan recorded them, whose files are not read again. Raises DataError or UserError
    where a file that the sweep names cannot be used.
    """
    planner = Planner(inputs, sources or {})
    requested = [(cell, *planner.add(cell)) for cell in sweep.cells]
    evaluations = link_evaluations(planner.evaluations)
    cells = tuple(PlannedCell(cell, training, evaluations[signature]) for cell, training, signature in requested)
    read = dict.fromkeys(cell.data for cell in sweep.cells if cell.data not in (sources or {}))
    remarks = dict.fromkeys(remark for config in read for remark in inputs.facts(config).remarks)
    return Plan(sweep, cells, planner.trainings, evaluations, tuple(remarks))


class Planner:
    """Collects the trainings and evaluations that cells need, by signature, each once."""

    def __init__(self, inputs: Inputs, sources: Mapping[DataConfig, DataSource]) -> None:
        self.trainings: dict[str, Training] = {}
        self.evaluations: dict[str, Evaluation] = {}
        self._inputs = inputs
        self._sources = dict(sources)
        self._trainings_of: dict[Any, tuple[Training, Training | None]] = {}

    def add(self, cell: Cell) -> tuple[Training, str]:
        """Add what a cell needs; return its training and the signature of its evaluation."""
        training, guide = self._trainings(cell)
        evaluation = plan_evaluation(cell, training, guide, self._statistics(cell.evaluation.statistics))
        known = self.evaluations.get(evaluation.signature)
        self.evaluations[evaluation.signature] = evaluation if known is None else _merge(known, evaluation)
        return training, evaluation.signature

    def _trainings(self, cell: Cell) -> tuple[Training, Training | None]:
        """The training of a cell and the one that guides it; worked out once for all cells that share them."""
        key = (cell.data, cell.model, cell.training, cell.seed, cell.sampling.guide)
        if key not in self._trainings_of:
            guide = guide_cell(cell)
            self._trainings_of[key] = self._training(cell), None if guide is None else self._training(guide)
        return self._trainings_of[key]

    def _training(self, cell: Cell) -> Training:
        training = plan_training(cell, self._source(cell.data))
        return self.trainings.setdefault(training.signature, training)

    def _source(self, config: DataConfig) -> DataSource:
        if config not in self._sources:
            self._sources[config] = DataSource.of(config, self._inputs)
        return self._sources[config]

    def _statistics(self, path: str | None) -> str | None:
        if path is None:
            return None
        sha256 = self._inputs.statistics_sha256(path)
        if sha256 is None:
            raise UserError(f"evaluation.statistics: {path!r} does not exist; give the path of an .npz file")
        return sha256


def plan_training(cell: Cell, data: DataSource) -> Training:
    """Return the training that a cell needs."""
    config = cell.training.canonical()
    network = config.prepared(cell.model.network(data.channels, data.resolution, data.num_classes))
    flops = FORWARDS_PER_TRAINING_IMAGE * config.num_steps * config.batch_size * forward_flops(network)
    identity = signature("training", data=data.signature, network=network, training=config, seed=cell.seed)
    return Training(identity, cell.seed, data, network, config, flops)


def guide_cell(cell: Cell) -> Cell | None:
    """Return the cell whose training guides that of `cell` (autoguidance); None where there is no guide."""
    guide = cell.sampling.canonical().guide
    if guide is None:
        return None
    return dataclasses.replace(cell, model=guide.model(cell.model), training=guide.training(cell.training))


def plan_evaluation(cell: Cell, training: Training, guide: Training | None, statistics: str | None) -> Evaluation:
    """Return the evaluation that fills a cell. statistics: the SHA-256 of the published file to compare with."""
    config, sampling = cell.evaluation, _sampling(cell, training, guide)
    features = FeatureSpace.named(config.features, training.data, config.resize)
    images: dict[str, Any] = {"training": training.signature, "sampling": sampling}
    if guide is not None:
        images["guide"] = guide.signature
    drawing = signature("drawing", **images)
    scored: dict[str, Any] = {"drawing": drawing, "evaluation": config, "features": features}
    if statistics is not None:
        scored["statistics"] = statistics
    request = requested_scores(config, training.data.sizes, sampling.is_deterministic)
    return Evaluation(
        signature("evaluation", **scored),
        training,
        sampling,
        config,
        features,
        config.images * flops_per_image(sampling, training, guide),
        drawing,
        request.scores,
        guide,
        statistics=statistics,
        notes=request.notes,
    )


def _sampling(cell: Cell, training: Training, guide: Training | None) -> SamplingConfig:
    """How a cell's images are drawn; two ways to write the same are one."""
    sampling = _canonical_sampling(cell.sampling)
    if not training.network.num_classes and guide is None:  # without classes there is no second branch to guide with
        return dataclasses.replace(sampling, guidance=1.0).canonical()
    return sampling


@lru_cache(maxsize=4096)
def _canonical_sampling(sampling: SamplingConfig) -> SamplingConfig:
    return sampling.canonical()


@lru_cache(maxsize=4096)
def flops_per_image(sampling: SamplingConfig, training: Training, guide: Training | None) -> int:
    """Return the floating-point operations that drawing one image takes, at the resolution of sampling."""

    def forward(network: NetworkConfig) -> int:
        return forward_flops(dataclasses.replace(network, resolution=sampling.resolution or network.resolution))

    counts = sampling.evaluations
    other = training.network if guide is None else guide.network
    return counts["main"] * forward(training.network) + counts["other"] * forward(other)


# evaluations of several cells ---------------------------------------------------------------------


def _merge(first: Evaluation, second: Evaluation) -> Evaluation:
    """One evaluation with the scores of both: two cells may ask for different scores of the same images."""
    return dataclasses.replace(
        first,
        scores=_union(first.scores, second.scores),
        notes=_union(first.notes, second.notes),
        config=_merge_configs(first.config, second.config),
    )


def _merge_configs(first: EvaluationConfig, second: EvaluationConfig) -> EvaluationConfig:
    return dataclasses.replace(
        first,
        splits=_union(first.splits, second.splits),
        metrics=_union(first.metrics, second.metrics),
        truncation=first.truncation or second.truncation,
    )


def _union(first: tuple[Value, ...], second: tuple[Value, ...]) -> tuple[Value, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def link_evaluations(evaluations: dict[str, Evaluation]) -> dict[str, Evaluation]:
    """Fill in what an evaluation knows of the others: the feature spaces of its images, its rivals and its kin."""
    spaces = _spaces_by_drawing(evaluations.values())
    rivals, kin = _group(evaluations, _table), _group(evaluations, _table_and_sampling)
    linked = {}
    for identity, evaluation in evaluations.items():
        stops = evaluation.config.stop_when is not None
        linked[identity] = dataclasses.replace(
            evaluation,
            spaces=tuple(spaces[evaluation.drawing].items()),
            rivals=rivals[_table(evaluation)] if stops else (),
            kin=kin[_table_and_sampling(evaluation)] if stops else (),
        )
    return linked


def _spaces_by_drawing(evaluations: Iterable[Evaluation]) -> dict[str, dict[FeatureSpace, int]]:
    """The feature spaces in which the images of each drawing are measured, with the largest number of images."""
    spaces: dict[str, dict[FeatureSpace, int]] = {}
    for evaluation in evaluations:
        needed = (evaluation.features, evaluation.judge) if "accuracy" in evaluation.scores else (evaluation.features,)
        counts = spaces.setdefault(evaluation.drawing, {})
        for space in needed:
            counts[space] = max(counts.get(space, 0), evaluation.config.images)
    return spaces


def _group(evaluations: dict[str, Evaluation], key: Callable[[Evaluation], Any]) -> dict[Any, tuple[str, ...]]:
    """The signatures of the evaluations that may stop early, by `key`; one tuple for a group, which may be long."""
    groups: dict[Any, list[str]] = {}
    for identity, evaluation in evaluations.items():
        if evaluation.config.stop_when is not None:
            groups.setdefault(key(evaluation), []).append(identity)
    return {value: tuple(identities) for value, identities in groups.items()}


def _table(evaluation: Evaluation) -> Any:
    """What the evaluations of one table have in common: their scores can be compared."""
    images = (evaluation.config.images, evaluation.training.data.signature, evaluation.sampling.resolution)
    return evaluation.features, evaluation.config.reference, evaluation.statistics, *images


def _table_and_sampling(evaluation: Evaluation) -> Any:
    """What the evaluations of one table have in common that differ in their training seeds alone."""
    trainings = tuple((training.network, training.config) for training in evaluation.depends_on)
    return _table(evaluation), evaluation.sampling, trainings
