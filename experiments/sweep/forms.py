"""The tasks that a cell asks for: in the form of earlier releases, where it was another one, and in canonical form."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeVar

from edm.config import (
    EvaluationConfig,
    NetworkConfig,
    Pretrained,
    SamplingConfig,
    TrainingConfig,
    canonical_but_for_kimg,
    canonical_sampling,
    canonical_training,
)
from edm.cost import forward_flops
from experiments.sweep.drawing_costs import flops_per_image
from experiments.sweep.identity import signature
from experiments.sweep.metrics import MetricRequest, requested_scores
from experiments.sweep.spec import Cell
from experiments.sweep.tasks import (
    FORWARDS_PER_TRAINING_IMAGE,
    DataSource,
    Evaluation,
    FeatureSpace,
    Training,
    drawing_signature,
)

Value = TypeVar("Value")


def pretrained_training(data: DataSource, pretrained: Pretrained) -> Training:
    """Return the task that takes a trained network into the store; its seed is 0, as nothing is drawn at random."""
    content = {"weights": pretrained.digest, "network": pretrained.network, "sigma_data": pretrained.sigma_data}
    identity = signature("pretrained", data=data.signature, **content)
    return Training(identity, 0, data, pretrained.network, TrainingConfig(), 0.0, pretrained)


def training_forms(cell: Cell, data: DataSource) -> tuple[Training, ...]:
    """Return the training that a cell needs, in each of its forms, the canonical one last."""
    former = cell.training.without_unread()
    network = former.prepared(cell.model.network(data.channels, data.resolution, data.num_classes))
    canonical = canonical_but_for_kimg(cell.training, network), canonical_training(cell.training, network)
    configs = dict.fromkeys((former, *canonical))
    return tuple(_training(cell.seed, data, network, config) for config in configs)


def _training(seed: int, data: DataSource, network: NetworkConfig, config: TrainingConfig) -> Training:
    flops = FORWARDS_PER_TRAINING_IMAGE * config.num_steps * config.batch_size * forward_flops(network)
    identity = signature("training", data=data.signature, network=network, training=config, seed=seed)
    return Training(identity, seed, data, network, config, flops)


def guide_cell(cell: Cell) -> Cell | None:
    """Return the cell whose training guides that of `cell` (autoguidance); None where there is no guide."""
    guide = cell.sampling.without_unread().guide
    if guide is None:
        return None
    return dataclasses.replace(cell, model=guide.model(cell.model), training=guide.training(cell.training))


def evaluation_forms(
    cell: Cell, training: Training, guide: Training | None, statistics: str | None
) -> Iterator[Evaluation]:
    """Yield the evaluation that fills a cell, in each of its forms, the canonical one last.

    They are those of one form of its training and of its guide.

    statistics: the SHA-256 of the published file to compare with.
    """
    canonical = _canonical_sampling(cell.sampling, training.network)
    for sampling in _distinct(_former_sampling(cell, training), canonical):
        yield _evaluation(cell, sampling, training, None if sampling.guide is None else guide, statistics)


def _distinct(former: Value, canonical: Value) -> tuple[Value, ...]:
    return (canonical,) if former == canonical else (former, canonical)


@lru_cache(maxsize=4096)
def _canonical_sampling(sampling: SamplingConfig, network: NetworkConfig) -> SamplingConfig:
    return canonical_sampling(sampling, network)


def _former_sampling(cell: Cell, training: Training) -> SamplingConfig:
    sampling = _without_unread(cell.sampling)
    if not training.network.num_classes and sampling.guide is None:
        return _without_unread(dataclasses.replace(sampling, guidance=1.0))
    return sampling


@lru_cache(maxsize=4096)
def _without_unread(sampling: SamplingConfig) -> SamplingConfig:
    return sampling.without_unread()


def _evaluation(
    cell: Cell, sampling: SamplingConfig, training: Training, guide: Training | None, statistics: str | None
) -> Evaluation:
    config = cell.evaluation
    features = FeatureSpace.named(config.features, training.data, config.resize)
    drawing = drawing_signature("drawing", training, sampling, guide)
    scored: dict[str, Any] = {"drawing": drawing, "evaluation": config, "features": features}
    if statistics is not None:
        scored["statistics"] = statistics
    request = scores_to_compute(config, training.data, sampling.is_deterministic)
    return Evaluation(
        signature("evaluation", **scored),
        training,
        sampling,
        config,
        features,
        config.images * flops_per_image(sampling, training.network, (guide or training).network),
        drawing,
        request.scores,
        guide,
        statistics=statistics,
        notes=request.notes,
    )


@lru_cache(maxsize=1024)
def scores_to_compute(config: EvaluationConfig, data: DataSource, deterministic: bool) -> MetricRequest:
    """Return the scores that an evaluation on a data set computes. deterministic: whether the sampler adds no noise."""
    return requested_scores(config, data.sizes, deterministic)
