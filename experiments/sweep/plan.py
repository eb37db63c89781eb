"""A sweep becomes the least work that fills it: trainings and evaluations, each once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import Any

from edm.config import DataConfig, EvaluationConfig, NetworkConfig, SamplingConfig
from edm.cost import forward_flops
from experiments.sweep.identity import signature
from experiments.sweep.metrics import requested_scores
from experiments.sweep.spec import SECTIONS, Cell, Sweep
from experiments.sweep.tasks import FORWARDS_PER_TRAINING_IMAGE, DataSource, Evaluation, FeatureSpace, Training

TRAINING_SECTIONS = ("data", "model", "training")  # of the sweep file: what decides a training


@dataclass(frozen=True)
class PlannedCell:
    """A cell and the tasks that fill it."""

    cell: Cell
    training: Training
    evaluation: Evaluation


@dataclass(frozen=True)
class Plan:
    """All of a sweep: its cells in the file's order, each task once."""

    sweep: Sweep
    cells: tuple[PlannedCell, ...]
    trainings: dict[str, Training]
    evaluations: dict[str, Evaluation]

    def __repr__(self) -> str:
        """In a line: all of it is pages."""
        sizes = f"{len(self.cells)} cells, {len(self.trainings)} trainings, {len(self.evaluations)} evaluations"
        return f"<Plan of {self.sweep.name}: {sizes}>"

    @cached_property
    def names(self) -> dict[str, str]:
        """What to call each task: the axis values that distinguish it, such as nano/no-attention/heun."""
        names: dict[str, str] = {}
        for planned in self.cells:
            names.setdefault(planned.training.signature, self._name(planned, TRAINING_SECTIONS))
            names.setdefault(planned.evaluation.signature, self._name(planned, tuple(SECTIONS)))
        for planned in self.cells:  # last, as a guide may be another cell's network
            guide = planned.evaluation.guide
            if guide is not None:
                own = self._name(planned, TRAINING_SECTIONS)
                names.setdefault(guide.signature, f"{own}/guide {planned.cell.sampling.guide}")
        return names

    def cell_name(self, planned: PlannedCell) -> str:
        """What to call a cell: the value of every axis, and the seed where there are several."""
        return self._name(planned, tuple(SECTIONS))

    def _name(self, planned: PlannedCell, sections: tuple[str, ...]) -> str:
        values = {axis: planned.cell.value(axis) for axis in self.sweep.axes if axis.split(".")[0] in sections}
        if self._several_seeds:
            values["seed.seed"] = planned.cell.seed
        return short_name(values) or self.sweep.name

    @cached_property
    def _several_seeds(self) -> bool:
        return len({planned.cell.seed for planned in self.cells}) > 1

    @property
    def sources(self) -> dict[str, DataSource]:
        """The data sets it stands on, by signature."""
        return {training.data.signature: training.data for training in self.trainings.values()}

    @property
    def warnings(self) -> list[str]:
        """What a person should know before they believe the numbers."""
        notes = {note for evaluation in self.evaluations.values() for note in evaluation.notes}
        return sorted(notes) + list(self._idle_fields())

    def _idle_fields(self) -> Iterator[str]:
        """Fields that were set and do nothing."""
        asked = [planned.cell.sampling for planned in self.cells]
        for name in ("guidance_interval", "guide"):
            having = [sampling for sampling in asked if getattr(sampling, name) is not None]
            if having and all(sampling.guidance == 1 for sampling in having):
                yield f"sampling.{name} does nothing at sampling.guidance 1; give another scale"
        never = {s.guidance_interval for s in asked if s.guidance != 1 and not any(map(s.guides, s.sigmas[:-1]))}
        for low, high in sorted(interval for interval in never if interval is not None):
            yield f"sampling.guidance_interval [{low:g}, {high:g}] holds none of the noise levels: no step is guided"
        if any(t.config.warmup_kimg > t.config.kimg for t in self.trainings.values()):
            yield "training.warmup_kimg is longer than the training: the learning rate never gets to its value"


def short_name(values: dict[str, Any]) -> str:
    """Axis values in one word, such as tiny/no-attention/guidance=2.5/heun."""
    return "/".join(_part(axis.split(".")[1], value) for axis, value in values.items())


def _part(field: str, value: Any) -> str:
    """Text stands for itself, a switch is its field's name, anything else is told with it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return field if value else f"no-{field}"
    return f"{field}={_plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, tuple):
        return ",".join(_plain(entry) for entry in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class KnownInputs:
    """What a plan needs to know of files: by default it looks at them. statistics: the SHA-256 of each, by its path."""

    sources: Mapping[DataConfig, DataSource] = field(default_factory=dict)
    statistics: Mapping[str, str] = field(default_factory=dict)

    def source(self, config: DataConfig) -> DataSource:
        """The prepared form of a data set."""
        return self.sources.get(config) or DataSource.of(config)

    def statistics_of(self, path: str | None) -> str | None:
        """The SHA-256 of a statistics file, where there is one."""
        return self.statistics.get(path) or sha256_of(path) if path else None


def plan_sweep(sweep: Sweep, known: KnownInputs = KnownInputs()) -> Plan:
    """Work out the least work that fills a sweep."""
    cells, trainings, evaluations = [], {}, {}
    by_cell: dict[Any, tuple[Training, Training | None]] = {}
    for cell in sweep.cells:
        needs = (cell.data, cell.model, cell.training, cell.seed, cell.sampling.guide)
        if needs not in by_cell:
            by_cell[needs] = plan_training(cell, known), plan_guide(cell, known)
        training, guide = by_cell[needs]
        training = trainings.setdefault(training.signature, training)
        if guide is not None:
            guide = trainings.setdefault(guide.signature, guide)
        evaluation = plan_evaluation(cell, training, guide, known)
        evaluation = _united(evaluations.get(evaluation.signature), evaluation)
        evaluations[evaluation.signature] = evaluation
        cells.append((cell, training, evaluation.signature))
    evaluations = _acquainted(evaluations)
    planned = tuple(PlannedCell(cell, training, evaluations[sig]) for cell, training, sig in cells)
    return Plan(sweep, planned, trainings, evaluations)


def _united(known: Evaluation | None, new: Evaluation) -> Evaluation:
    """Two cells may want other scores of the same images: one evaluation has them all."""
    if known is None:
        return new
    scores, notes = (tuple(dict.fromkeys((*a, *b))) for a, b in ((known.scores, new.scores), (known.notes, new.notes)))
    return dataclasses.replace(known, scores=scores, notes=notes, config=_united_configs(known.config, new.config))


def _united_configs(a: EvaluationConfig, b: EvaluationConfig) -> EvaluationConfig:
    return dataclasses.replace(
        a,
        splits=tuple(dict.fromkeys((*a.splits, *b.splits))),
        metrics=tuple(dict.fromkeys((*a.metrics, *b.metrics))),
        truncation=a.truncation or b.truncation,
    )


def _acquainted(evaluations: dict[str, Evaluation]) -> dict[str, Evaluation]:
    """The same evaluations, that know which others are measured on their images and which compete with them."""
    spaces: dict[str, dict[FeatureSpace, int]] = {}
    tables: dict[Any, list[str]] = {}
    families: dict[Any, list[str]] = {}
    for name, e in evaluations.items():
        wanted = spaces.setdefault(e.drawing, {})
        for space in (e.features, e.judge) if "accuracy" in e.scores else (e.features,):
            wanted[space] = max(wanted.get(space, 0), e.config.images)
        if e.config.stop_when is not None:
            tables.setdefault(_table(e), []).append(name)
            families.setdefault((_table(e), _but_for_seeds(e)), []).append(name)
    rivals = {table: tuple(names) for table, names in tables.items()}  # one for all of a table, which may be long
    return {
        name: dataclasses.replace(
            e,
            spaces=tuple(spaces[e.drawing].items()),
            rivals=rivals.get(_table(e), ()) if e.config.stop_when is not None else (),
            kin=tuple(families.get((_table(e), _but_for_seeds(e)), ())),
        )
        for name, e in evaluations.items()
    }


def _table(e: Evaluation) -> Any:
    """What evaluations share whose scores stand in one table."""
    of_images = (e.config.images, e.training.data.signature, e.sampling.resolution)
    return e.features, e.config.reference, e.statistics, *of_images


def _but_for_seeds(e: Evaluation) -> Any:
    """What evaluations share that differ in seeds of training alone."""
    return e.sampling, tuple((training.network, training.config) for training in e.depends_on)


def plan_training(cell: Cell, known: KnownInputs = KnownInputs()) -> Training:
    """The training that a cell stands on."""
    data = known.source(cell.data)
    config = cell.training.canonical()
    network = config.prepared(cell.model.network(data.channels, data.resolution, data.num_classes))
    flops = FORWARDS_PER_TRAINING_IMAGE * config.num_steps * config.batch_size * forward_flops(network)
    name = signature("training", data=data.signature, network=network, training=config, seed=cell.seed)
    return Training(name, cell.seed, data, network, config, flops)


def guide_cell(cell: Cell) -> Cell | None:
    """The cell whose training guides this one's (autoguidance)."""
    guide = cell.sampling.canonical().guide
    if guide is None:
        return None
    return dataclasses.replace(cell, model=guide.model(cell.model), training=guide.training(cell.training))


def plan_guide(cell: Cell, known: KnownInputs = KnownInputs()) -> Training | None:
    """The training that guides a cell's."""
    guide = guide_cell(cell)
    return plan_training(guide, known) if guide is not None else None


def plan_evaluation(
    cell: Cell, training: Training, guide: Training | None, known: KnownInputs = KnownInputs()
) -> Evaluation:
    """The evaluation that fills a cell."""
    config, features = (
        cell.evaluation,
        FeatureSpace.named(cell.evaluation.features, training.data, cell.evaluation.resize),
    )
    sampling = _canonical_sampling(cell.sampling)
    if not training.network.num_classes and guide is None:  # one branch only: there is nothing to guide
        sampling = dataclasses.replace(sampling, guidance=1.0).canonical()
    images: dict[str, Any] = {"training": training.signature, "sampling": sampling}
    if guide is not None:
        images["guide"] = guide.signature
    drawing = signature("drawing", **images)
    scored: dict[str, Any] = {"drawing": drawing, "evaluation": config, "features": features}
    statistics = known.statistics_of(config.statistics)
    if statistics is not None:
        scored["statistics"] = statistics
    wanted = requested_scores(config, training.data.sizes, sampling.is_deterministic)
    return Evaluation(
        signature("evaluation", **scored),
        training,
        sampling,
        config,
        features,
        config.images * flops_per_image(sampling, training, guide),
        drawing,
        wanted.scores,
        guide,
        statistics=statistics,
        notes=wanted.notes,
    )


@cache
def sha256_of(path: str) -> str:
    """The SHA-256 of a statistics file, in hex; raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=4096)
def _canonical_sampling(sampling: SamplingConfig) -> SamplingConfig:
    return sampling.canonical()


@lru_cache(maxsize=4096)
def flops_per_image(sampling: SamplingConfig, training: Training, guide: Training | None) -> int:
    """What drawing one image takes, at the resolution it is drawn at."""

    def forward(network: NetworkConfig) -> int:
        return forward_flops(dataclasses.replace(network, resolution=sampling.resolution or network.resolution))

    counts = sampling.evaluations
    other = training.network if guide is None else guide.network
    return counts["main"] * forward(training.network) + counts["other"] * forward(other)
