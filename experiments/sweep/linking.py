"""What evaluations of one plan know of each other: images that they share, and rivals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from edm.config import EvaluationConfig
from experiments.sweep.by_identity import by_identity
from experiments.sweep.tasks import Evaluation, Spaces

Value = TypeVar("Value")


def merge_evaluations(first: Evaluation, second: Evaluation) -> Evaluation:
    """Return one evaluation with the scores of both: two cells may ask for different scores of the same images."""
    return dataclasses.replace(
        first,
        scores=_union(first.scores, second.scores),
        notes=_union(first.notes, second.notes),
        config=_merge_configs(first.config, second.config),
    )


@by_identity
def _merge_configs(first: EvaluationConfig, second: EvaluationConfig) -> EvaluationConfig:
    return dataclasses.replace(
        first,
        splits=_union(first.splits, second.splits),
        metrics=_union(first.metrics, second.metrics),
        truncation=first.truncation or second.truncation,
    )


@by_identity
def _union(first: tuple[Value, ...], second: tuple[Value, ...]) -> tuple[Value, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def link_evaluations(evaluations: dict[str, Evaluation]) -> dict[str, Evaluation]:
    """Fill in what an evaluation knows of the others: the feature spaces of its images, its rivals and its kin."""
    spaces = _spaces_by_drawing(evaluations.values())
    rivals, kin = _group(evaluations, _table), _group(evaluations, _table_and_sampling)
    linked = {}
    for identity, evaluation in evaluations.items():
        needed, stops = spaces[evaluation.drawing], evaluation.config.stop_when is not None
        if stops:
            others = {"rivals": rivals[_table(evaluation)], "kin": kin[_table_and_sampling(evaluation)]}
            linked[identity] = dataclasses.replace(evaluation, spaces=needed, **others)
        elif evaluation.spaces is not needed:
            linked[identity] = dataclasses.replace(evaluation, spaces=needed)
        else:  # as most are, of thousands
            linked[identity] = evaluation
    return linked


def _spaces_by_drawing(evaluations: Iterable[Evaluation]) -> dict[str, Spaces]:
    """The feature spaces in which the images of each drawing are measured, with the largest number of images."""
    spaces: dict[str, Spaces] = {}
    for evaluation in evaluations:
        known = spaces.setdefault(evaluation.drawing, evaluation.spaces)
        if known is not evaluation.spaces:
            spaces[evaluation.drawing] = _all_spaces(known, evaluation.spaces)
    return spaces


@by_identity
def _all_spaces(first: Spaces, second: Spaces) -> Spaces:
    counts = dict(first)
    for space, images in second:
        counts[space] = max(counts.get(space, 0), images)
    return tuple(counts.items())


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
    trainings = ((each.data, each.network, each.config, each.pretrained) for each in evaluation.trainings)
    return _table(evaluation), evaluation.sampling, tuple(trainings)
