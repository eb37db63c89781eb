"""The tasks that a cell asks for: in the form of earlier releases, where it was another one, and in canonical form."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from edm.config import (
    EvaluationConfig,
    Extension,
    ModelConfig,
    NetworkConfig,
    Pretrained,
    SamplingConfig,
    TrainingConfig,
    canonical_but_for_kimg,
    canonical_sampling,
    canonical_training,
    guiding_the_same_steps,
)
from edm.cost import forward_flops
from experiments.sweep.by_identity import by_identity
from experiments.sweep.drawing_costs import flops_per_image
from experiments.sweep.identity import signature
from experiments.sweep.metrics import TRUNCATION, MetricRequest, requested_scores
from experiments.sweep.spec import Cell
from experiments.sweep.tasks import (
    FORWARDS_PER_TRAINING_IMAGE,
    DataSource,
    Evaluation,
    FeatureSpace,
    Spaces,
    Training,
    beginning,
    drawing_signature,
    judge_of,
)

Value = TypeVar("Value")
Start = Pretrained | Training  # the network that a training begins with


def training_forms(cell: Cell, data: DataSource, start: Start | None = None) -> tuple[Training, ...]:
    """Return the training that a cell needs, in each of its forms, the canonical one last.

    start: the network with whose weights it begins, for which the cell has a path or another training.
    """
    config = dataclasses.replace(cell.training, source=None)
    former = config.without_unread()
    network = _shared(former.prepared(_network(cell, data, start)))
    canonical = canonical_but_for_kimg(config, network), canonical_training(config, network)
    configs = dict.fromkeys((former, *canonical))
    return tuple(training_of(cell.seed, data, network, config, start) for config in configs)


def _network(cell: Cell, data: DataSource, start: Start | None) -> NetworkConfig:
    """Return the network that a cell trains, but for what the training itself needs."""
    of_ones_own = isinstance(start, Training) and isinstance(cell.model.architecture, Extension)  # its facts differ
    if start is None or of_ones_own:
        return cell.model.network(data.channels, data.resolution, data.num_classes)
    return start.network.to_train(data.resolution, data.num_classes, cell.model.dropout)


@lru_cache(maxsize=4096)
def _shared(network: NetworkConfig) -> NetworkConfig:
    """Return the same object for equal networks, of which thousands of trainings have few."""
    return network


def training_of(
    seed: int, data: DataSource, network: NetworkConfig, config: TrainingConfig, start: Start | None = None
) -> Training:
    """Return the training of a network by a configuration, whatever its form; `start` as in a Training."""
    flops = FORWARDS_PER_TRAINING_IMAGE * config.num_steps * config.batch_size * forward_flops(network)
    before = beginning(data, start)
    begins: dict[str, Any] = {} if before is None else {"start": before.signature}
    identity = signature("training", data=data.signature, network=network, training=config, seed=seed, **begins)
    return Training(identity, seed, data, network, config, flops, start=start)


def guide_cell(cell: Cell) -> Cell | None:
    """Return the cell whose training guides that of `cell` (autoguidance); None where there is no guide."""
    guide = cell.sampling.without_unread().guide
    if guide is None:
        return None
    return dataclasses.replace(cell, model=guide.model(cell.model), training=guide.training(cell.training))


def start_cell(cell: Cell) -> Cell | None:
    """Return the cell whose training is the network with which that of `cell` begins (fine-tuning), if there is one."""
    before = cell.pretraining
    if before is not None:
        seed = cell.seed if before.seed is None else before.seed
        return dataclasses.replace(cell, seed=seed, data=before.data, model=before.model, training=before.training)
    if cell.start is not None:
        return dataclasses.replace(cell, model=ModelConfig(source=cell.start), training=TrainingConfig())
    return None


def lineage(cell: Cell, training: Training) -> Iterator[tuple[Cell, Training]]:
    """Yield a cell with its training, and then the same of the network that this begins with, and so on."""
    yield cell, training
    if training.start is None:
        return
    before, start = start_cell(cell), training.begins_with
    if before is not None and start is not None:
        yield from lineage(before, start)


class EvaluationForm(NamedTuple):
    """One form of the evaluation that fills a cell: enough to look for it in a store, and to make the task of it.

    guide: the training that guides, where `sampling` has a guide. statistics: the SHA-256 of the published file to
    compare with. drawing, signature: as of the task.
    """

    cell: Cell
    sampling: SamplingConfig
    training: Training
    guide: Training | None
    statistics: str | None
    drawing: str
    signature: str

    @classmethod
    def of(
        cls, cell: Cell, sampling: SamplingConfig, training: Training, guide: Training | None, statistics: str | None
    ) -> EvaluationForm:
        """Return the form that draws by `sampling` from a form of the training."""
        guide = guide if sampling.guide is not None else None
        drawing = drawing_signature("drawing", training, sampling, guide)
        features = _feature_space(cell.evaluation, training.data)
        scored: dict[str, Any] = {"drawing": drawing, "evaluation": cell.evaluation, "features": features}
        if statistics is not None:
            scored["statistics"] = statistics
        return cls(cell, sampling, training, guide, statistics, drawing, signature("evaluation", **scored))

    def task(self) -> Evaluation:
        """Return the evaluation itself."""
        config, sampling, training = self.cell.evaluation, self.sampling, self.training
        features = _feature_space(config, training.data)
        request = scores_to_compute(config, training.data, sampling.is_deterministic)
        return Evaluation(
            self.signature,
            training,
            sampling,
            config,
            features,
            config.images * flops_per_image(sampling, training.network, (self.guide or training).network),
            self.drawing,
            request.scores,
            self.guide,
            _spaces(config, features, training.data, request.scores),
            self.statistics,
            notes=request.notes,
        )


def evaluation_forms(
    cell: Cell, training: Training, guide: Training | None, statistics: str | None
) -> list[EvaluationForm]:
    """Return the forms of the evaluation that fills a cell, the canonical one last.

    They are those of one form of its training and of its guide.
    """
    samplings = _sampling_forms(cell.sampling, training.network)
    return [EvaluationForm.of(cell, sampling, training, guide, statistics) for sampling in samplings]


def computation_of(
    cell: Cell, training: Training, guide: Training | None, statistics: str | None, canonical: Evaluation
) -> str:
    """Return what is equal for all evaluations that come to the same, given one in canonical form: its signature.

    Or else the signature of one whose guidance interval ends at noise levels of the schedule. One that measures
    truncation error depends on the interval itself.
    """
    sampling = _guiding_the_same_steps(canonical.sampling)
    if sampling is canonical.sampling or TRUNCATION in canonical.scores:
        return canonical.signature
    return EvaluationForm.of(cell, sampling, training, guide, statistics).signature


@by_identity
def _guiding_the_same_steps(config: SamplingConfig) -> SamplingConfig:
    form = guiding_the_same_steps(config)
    return config if form == config else form


def _distinct(former: Value, canonical: Value) -> tuple[Value, ...]:
    return (canonical,) if former == canonical else (former, canonical)


@by_identity
def _sampling_forms(config: SamplingConfig, network: NetworkConfig) -> tuple[SamplingConfig, ...]:
    return _distinct(_former_sampling(config, network), canonical_sampling(config, network))


def _former_sampling(config: SamplingConfig, network: NetworkConfig) -> SamplingConfig:
    sampling = config.without_unread()
    if not network.num_classes and sampling.guide is None:
        return dataclasses.replace(sampling, guidance=1.0).without_unread()
    return sampling


@by_identity
def _feature_space(config: EvaluationConfig, data: DataSource) -> FeatureSpace:
    return FeatureSpace.named(config.features, data, config.resize)


@by_identity
def _spaces(config: EvaluationConfig, features: FeatureSpace, data: DataSource, scores: tuple[str, ...]) -> Spaces:
    needed = (features, judge_of(data)) if "accuracy" in scores else (features,)
    return tuple(dict.fromkeys(needed, config.images).items())


@by_identity
def scores_to_compute(config: EvaluationConfig, data: DataSource, deterministic: bool) -> MetricRequest:
    """Return the scores that an evaluation on a data set computes. deterministic: whether the sampler adds no noise."""
    return requested_scores(config, data.sizes, deterministic)
