"""Tasks that a plan's evaluations share: feature classifiers, and the statistics of real images to compare with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from edm.config import (
    SPLITS,
    AnyClassifierConfig,
    EvaluationConfig,
    Extension,
    Features,
    FormerClassifierConfig,
    Resize,
    Split,
)
from edm.cost import classifier_flops
from experiments.store.layout import FOLDER_OF_TASK, StoreKind
from experiments.store.results import ClassifierRecord, MeasuredReferences
from experiments.sweep.identity import signature
from experiments.sweep.metrics import FILE, is_own_score, reference_sizes, split_score
from experiments.sweep.segments import segment_stop
from experiments.sweep.tasks import (
    FORWARDS_PER_TRAINING_IMAGE,
    DataSource,
    Evaluation,
    FeatureSpace,
    Subset,
    classifier_config,
    classifier_of,
)

LEAST_NOISE_IMAGES = 1000
# operations on one image at the resolution that the extractor takes; of the small classifier next to nothing
EXTRACTOR_FLOPS: dict[Features, float] = {"inception": 1.1e10, "dinov2": 1.6e11, "classifier": 0.0}
MEMORISATION = "memorisation"  # a score that looks for the nearest real images
REFERRING = ("fid", "fid_infinity", "kid", "prdc")  # metrics that compare with real images of a split


@dataclass(frozen=True)
class FeatureClassifier:
    """The small classifier to train on a data set, once for all evaluations that use its features."""

    signature: str
    data: DataSource
    config: AnyClassifierConfig
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
        """The floating-point operations that training it is likely to take; it ends when it gets no better."""
        return self.flops_of(_expected_images(self.config, self.images))

    def flops_of(self, images_seen: int) -> float:
        """Return the floating-point operations of a training that sees so many images."""
        data = self.data
        forward = classifier_flops(self.config, data.channels, data.resolution, data.num_classes)
        return FORWARDS_PER_TRAINING_IMAGE * forward * images_seen

    @property
    def images(self) -> int:
        """How many images it is trained on."""
        return self.data.sizes.get("train", 0)

    @property
    def depends_on(self) -> tuple[FeatureClassifier, ...]:
        """The preparations that must be done first."""
        return ()

    @property
    def title(self) -> str:
        """What people call it."""
        return "feature classifier"

    @property
    def description(self) -> str:
        """What it is, in a few words."""
        return f"{self.title} of {self.data.config.name}"


@dataclass(frozen=True)
class ReferenceStatistics:
    """Real images and noise to measure in a feature space, with the statistics that evaluations compare with.

    config: of these evaluations, as far as it matters here. scores: that they compute against real images, sorted.
    """

    signature: str
    data: DataSource
    features: FeatureSpace
    config: EvaluationConfig
    scores: tuple[str, ...]
    kind: Literal["references"] = "references"

    @classmethod
    def of(cls, evaluation: Evaluation) -> ReferenceStatistics | None:
        """Return what an evaluation compares its images with; None where that is a published file alone."""
        scores = _referring(evaluation.scores)
        if not scores:
            return None
        own = evaluation.config
        config = _as_far_as_it_matters(own.images, own.features, own.resize, own.reference)
        return _references(evaluation.training.data, evaluation.features, config, scores)

    @property
    def store_kind(self) -> StoreKind:
        """The folder of the store that holds results of this kind."""
        return FOLDER_OF_TASK[self.kind]

    @property
    def result_type(self) -> type[MeasuredReferences]:
        """The class of its result."""
        return MeasuredReferences

    @property
    def counts(self) -> dict[Subset, int]:
        """How many images of each split, and of noise, are measured."""
        sizes, baseline = reference_sizes(self.config, self.data.sizes), baseline_span(self.config, self.data)
        named = {score.partition("/")[2] for score in self.scores}
        counts: dict[Subset, int] = {split: sizes[split] for split in SPLITS if split in named}
        counts["train"] = max(counts.get("train", 0), baseline.stop)
        if MEMORISATION in self.scores:
            counts |= {split: max(counts.get(split, 0), count) for split, count in compared_images(self.data).items()}
        counts["noise"] = noise_images(self.features)
        return counts

    @property
    def images(self) -> int:
        """How many images are measured in all."""
        return sum(self.counts.values())

    @property
    def flops(self) -> float:
        """The floating-point operations that measuring takes."""
        data = self.data
        config = classifier_config(data.classifier_version)
        own = classifier_flops(config, data.channels, data.resolution, data.num_classes)
        return self.images * (own if self.features.classifier else extractor_flops(self.features.name))

    @property
    def depends_on(self) -> tuple[FeatureClassifier, ...]:
        """The preparations that must be done first."""
        return (classifier_for(self.data),) if self.features.classifier else ()

    @property
    def title(self) -> str:
        """What people call it."""
        return "reference statistics"

    @property
    def description(self) -> str:
        """What it is, in a few words."""
        return f"{self.title}, {self.features.label}"


def extractor_flops(features: Features | Extension) -> float:
    """Return the operations on one image; of an extension's features, which nobody has counted, none."""
    return 0.0 if isinstance(features, Extension) else EXTRACTOR_FLOPS[features]


Preparation = FeatureClassifier | ReferenceStatistics


def _expected_images(config: AnyClassifierConfig, num_images: int) -> int:
    if isinstance(config, FormerClassifierConfig):
        return config.epochs * num_images
    steps = config.expected_checks * config.steps_per_check(num_images)
    return steps * config.batch_of(num_images)


# thousands of evaluations share few of these


@lru_cache(maxsize=1024)
def _referring(scores: tuple[str, ...]) -> tuple[str, ...]:
    """Return those scores that compare with real images, sorted.

    What metrics of extensions compare with is prepared as for the KID.
    """
    names = map(split_score, (f"kid/{split_score(score)[1]}" if is_own_score(score) else score for score in scores))
    of_splits = {f"{metric}/{name}" for metric, name in names if metric in REFERRING and name != FILE}
    return (*sorted(of_splits), *(score for score in scores if score == MEMORISATION))


@lru_cache(maxsize=1024)
def _as_far_as_it_matters(
    images: int, features: Features | Extension, resize: Resize, reference: Literal["equal", "all"]
) -> EvaluationConfig:
    return EvaluationConfig(images, features, resize=resize, reference=reference)


@lru_cache(maxsize=4096)
def _references(
    data: DataSource, features: FeatureSpace, config: EvaluationConfig, scores: tuple[str, ...]
) -> ReferenceStatistics:
    content = {"data": data.signature, "features": features, "reference": config.reference}
    identity = signature("reference", **content, images=config.images, scores=scores)
    return ReferenceStatistics(identity, data, features, config, scores)


def noise_images(features: FeatureSpace) -> int:
    """Return how many images of pure noise are measured in a feature space: enough for a covariance."""
    return max(LEAST_NOISE_IMAGES, 2 * features.dimension)


def compared_images(data: DataSource) -> dict[Split, int]:
    """Return how many images of each split memorisation looks at: all it searches, and as many others as are drawn."""
    sizes = data.sizes
    return {"train": sizes["train"], "val": segment_stop(0, sizes["val"]), "test": sizes["test"]}


def baseline_span(config: EvaluationConfig, data: DataSource) -> range:
    """Return which train images are the baseline: as many as are drawn, held out from the reference if they can be."""
    start = reference_sizes(config, data.sizes)["train"] if config.reference == "equal" else 0
    return range(start, max(start, min(start + config.images, data.sizes["train"])))


def classifier_for(data: DataSource) -> FeatureClassifier:
    """Return the task that trains the classifier of a data set."""
    return FeatureClassifier(classifier_of(data), data, classifier_config(data.classifier_version))


def preparations_of(evaluation: Evaluation) -> tuple[Preparation, ...]:
    """Return the preparations that must be done before an evaluation; what depends on others comes first."""
    references = ReferenceStatistics.of(evaluation)
    needs_classifier = any(space.classifier for space, _ in evaluation.spaces)
    classifier = (classifier_for(evaluation.training.data),) if needs_classifier else ()
    return classifier if references is None else (references, *classifier)


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
