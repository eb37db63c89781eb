"""The training images nearest to a drawn one, in pixels and in the features of the data set's classifier."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from edm.data.dataset import Dataset
from edm.metrics.features import Classifier, extract
from edm.metrics.memorisation import PixelPieces, pixel_rows
from edm.metrics.neighbours import nearest
from experiments.errors import UserError
from experiments.store.results import ClassifierRecord
from experiments.store.store import Store
from experiments.sweep.preparations import classifier_for
from experiments.sweep.tasks import Training
from experiments.trials.assets import ensure_data
from experiments.trials.classifier import ensure_classifier

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Neighbour:
    """A training image, how far it is away, and in what: "pixels" (grey levels) or "features"."""

    image: UInt8[Tensor, "c h w"]
    distance: float
    space: str


class TrainingImages:
    """The train split of a network's data set, ready to be searched; features only if the store has the classifier.

    Raises UserError if the data set cannot be had.
    """

    def __init__(self, training: Training, store: Store) -> None:
        self._data: Dataset = ensure_data(store, training.data)
        self._rows = self._data.indices("train")
        self._lock = threading.Lock()  # two tabs may click at once
        self._features: Tensor | None = None
        self._classifier: Classifier | None = None
        if training.data.num_classes:
            task = classifier_for(training.data)
            if store.result(ClassifierRecord, task.signature) is not None:  # training it could take an hour
                self._classifier = ensure_classifier(store, task, CPU, lambda _: None)

    def nearest_to(self, image: UInt8[Tensor, "c h w"]) -> list[Neighbour]:
        """Find the nearest training image in each space; raises UserError for an image of another size."""
        if image.shape != self._data.images.shape[1:]:
            raise UserError("nearest training images: the drawn image has another size than the training images")
        found = nearest(pixel_rows(image[None]), PixelPieces(self._data.images, self._rows))
        neighbours = [self._neighbour(found.indices, found.distances, "pixels")]
        if self._classifier is not None:
            features = extract(self._classifier, image[None], CPU)[0]
            found = nearest(features, [self._all_features(self._classifier)])
            neighbours.append(self._neighbour(found.indices, found.distances, "features"))
        return neighbours

    def _neighbour(self, indices: Tensor, distances: Tensor, space: str) -> Neighbour:
        return Neighbour(self._data.images[self._rows[indices[0, 0]]], float(distances[0, 0]), space)

    def _all_features(self, classifier: Classifier) -> Tensor:
        with self._lock:
            if self._features is None:
                self._features = extract(classifier, self._data.images[self._rows], CPU)[0]
            return self._features
