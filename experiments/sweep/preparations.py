"""Tasks that a plan's evaluations share: the classifiers whose features compare images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from edm.config import ClassifierConfig
from edm.cost import classifier_flops
from experiments.store.layout import FOLDER_OF_TASK, StoreKind
from experiments.store.results import ClassifierRecord
from experiments.sweep.tasks import FORWARDS_PER_TRAINING_IMAGE, DataSource, Evaluation, classifier_of


@dataclass(frozen=True)
class FeatureClassifier:
    """The small classifier to train on a data set, once for all evaluations that use its features."""

    signature: str
    data: DataSource
    config: ClassifierConfig
    kind: Literal["classifier"] = "classifier"

    @property
    def store_kind(self) -> StoreKind:
        """The folder of the store that holds results of this kind."""
        return FOLDER_OF_TASK[self.kind]

    @property
    def result_type(self) -> type[ClassifierRecord]:
        """The class of its result."""
        return ClassifierRecord

    @property
    def flops(self) -> float:
        """The floating-point operations that training it takes."""
        data = self.data
        forward = classifier_flops(self.config, data.channels, data.resolution, data.num_classes)
        return FORWARDS_PER_TRAINING_IMAGE * forward * self.config.epochs * self.images

    @property
    def images(self) -> int:
        """How many images it is trained on."""
        return self.data.sizes.get("train", 0)

    @property
    def title(self) -> str:
        """What people call it."""
        return "feature classifier"


Preparation = FeatureClassifier


def classifier_for(data: DataSource) -> FeatureClassifier:
    """Return the task that trains the classifier of a data set."""
    return FeatureClassifier(classifier_of(data), data, ClassifierConfig())


def preparations_of(evaluation: Evaluation) -> tuple[Preparation, ...]:
    """Return the preparations that must be done before an evaluation; what depends on others comes first."""
    return _preparations(evaluation.training.data, tuple(space.classifier for space, _ in evaluation.spaces))


@lru_cache(maxsize=4096)  # thousands of evaluations share few of them
def _preparations(data: DataSource, classifiers: tuple[str | None, ...]) -> tuple[Preparation, ...]:
    return (classifier_for(data),) if any(classifiers) else ()


def preparations_by_signature(evaluations: Iterable[Evaluation]) -> dict[str, Preparation]:
    """Return the preparations of evaluations, each once; what others depend on comes first."""
    groups = dict.fromkeys(map(preparations_of, evaluations))
    return {each.signature: each for group in groups for each in reversed(group)}


def names_of(preparations: Iterable[Preparation]) -> dict[str, str]:
    """Return a readable name for each preparation, by signature, such as feature-classifier/digits."""
    names: dict[str, str] = {}
    for each in preparations:
        name = f"{each.title.replace(' ', '-')}/{each.data.config.name}"
        names[each.signature] = name if name not in names.values() else f"{name}/{each.signature[:6]}"
    return names
