"""Loads feature extractors: published networks, and the small classifier of a data set."""

from __future__ import annotations

import functools

import torch

from edm.config import Extension, Features, Resize
from edm.metrics.features import Extractor, load_dinov2, load_inception, required_weights
from edm.metrics.own import OwnFeatures
from edm.metrics.weights import WeightsError, require_weights
from experiments.environment import given_weights
from experiments.errors import UserError
from experiments.store.store import Store
from experiments.sweep.preparations import classifier_for
from experiments.sweep.tasks import DataSource, FeatureSpace
from experiments.trials.assets import OnPhase
from experiments.trials.classifier import ensure_classifier
from experiments.trials.remedies import explain


def require_obtainable(name: Features) -> None:
    """Raise UserError where the weights of a feature space are wrong, or absent and their server does not answer.

    So no run starts that would lack them in the end.
    """
    try:
        weights = required_weights(name)
        if weights is not None:
            require_weights(weights, given_weights())
    except WeightsError as error:
        raise UserError(explain(error)) from None


def ensure_extractor(
    store: Store,
    source: DataSource,
    space: FeatureSpace,
    device: torch.device,
    on_phase: OnPhase = lambda _: None,
) -> Extractor:
    """Return the feature extractor of a space, on `device`; a classifier is trained first if it is not there.

    on_phase: called while another process trains it, or this one.
    """
    if space.name == "classifier":
        return ensure_classifier(store, classifier_for(source), device, on_phase)
    if isinstance(space.name, Extension):
        return OwnFeatures(space.name, device)
    return _load_published_extractor(space.name, space.resize, device)


@functools.lru_cache(maxsize=2)
def _load_published_extractor(name: Features, resize: Resize, device: torch.device) -> Extractor:
    """Load a published extractor; a worker keeps it from one evaluation to the next."""
    try:
        folder = given_weights()
        return load_inception(device, resize, folder) if name == "inception" else load_dinov2(device, folder)
    except WeightsError as error:
        raise UserError(explain(error)) from None


def forget_extractors() -> None:
    """Free the published extractors that this worker has kept."""
    _load_published_extractor.cache_clear()
