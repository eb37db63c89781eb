"""Tasks that a plan's evaluations share: feature classifiers, downloads of weights, statistics of real images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from edm.config import (
    EXACT_IMAGES,
    SPLITS,
    AnyClassifierConfig,
    EvaluationConfig,
    Extension,
    Features,
    FormerClassifierConfig,
    Pretrained,
    SamplingConfig,
    Split,
)
from edm.cost import classifier_flops
from edm.metrics.weights import PUBLISHED, Weights
from experiments.store.results import ClassifierRecord, MeasuredReferences, SolutionRecord, WeightsRecord
from experiments.sweep.by_identity import by_identity
from experiments.sweep.drawing_costs import flops_per_image
from experiments.sweep.identity import signature
from experiments.sweep.metrics import FILE, TRUNCATION, is_own_score, reference_sizes, split_score
from experiments.sweep.segments import segment_stop
from experiments.sweep.tasks import (
    FORWARDS_PER_TRAINING_IMAGE,
    DataSource,
    Evaluation,
    FeatureSpace,
    HasResult,
    Spaces,
    Subset,
    Training,
    classifier_config,
    classifier_of,
    drawing_signature,
)
from experiments.wording import shortest_ends

LEAST_NOISE_IMAGES = 1000
# operations on one image at the resolution that the extractor takes; of the small classifier next to nothing
EXTRACTOR_FLOPS: dict[Features, float] = {"inception": 1.1e10, "dinov2": 1.6e11, "classifier": 0.0}
MEMORISATION = "memorisation"  # a score that looks for the nearest real images
REFERRING = ("fid", "fid_infinity", "kid", "prdc")  # metrics that compare with real images of a split


@dataclass(frozen=True)
class FeatureClassifier(HasResult):
    """The small classifier to train on a data set, once for all evaluations that use its features."""

    signature: str
    data: DataSource
    config: AnyClassifierConfig
    kind: Literal["classifier"] = "classifier"

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
    def description(self) -> str:
        """What it is, in a few words."""
        return f"feature classifier of {self.data.config.title}"

    @property
    def name(self) -> str:
        """What people call it."""
        return f"feature-classifier/{self.data.config.title}"


@dataclass(frozen=True)
class WeightsDownload(HasResult):
    """The published weights of a feature extractor, to download to this machine, once for all that use them."""

    signature: str
    features: Features
    kind: Literal["download"] = "download"

    @classmethod
    def of(cls, features: Features) -> WeightsDownload:
        """Return the download that a feature space needs."""
        return _download_of(features)

    @property
    def file(self) -> Weights:
        """The file, where it is published, and its size."""
        return PUBLISHED[self.features]

    @property
    def result_type(self) -> type[WeightsRecord]:
        """The class of its result."""
        return WeightsRecord

    @property
    def flops(self) -> float:
        """The floating-point operations that it takes: none."""
        return 0.0

    @property
    def images(self) -> int:
        """How many images it works on: none."""
        return 0

    @property
    def depends_on(self) -> tuple[FeatureClassifier, ...]:
        """The preparations that must be done first."""
        return ()

    @property
    def description(self) -> str:
        """What it is, in a few words."""
        return f"weights of {self.features}"

    @property
    def name(self) -> str:
        """What people call it."""
        return f"weights/{self.features}"


@dataclass(frozen=True)
class ExactSolution(HasResult):
    """The nearly exact images of a training, against which the truncation errors of all samplers are measured.

    sampling: how they are drawn, whatever the sampler.
    """

    signature: str
    training: Training
    sampling: SamplingConfig
    guide: Training | None
    flops: float
    kind: Literal["solution"] = "solution"

    @classmethod
    def of(cls, evaluation: Evaluation) -> ExactSolution | None:
        """Return what an evaluation needs; None where it measures no truncation error."""
        if TRUNCATION not in evaluation.scores:
            return None
        return _solution(evaluation.training, evaluation.sampling.exact(), evaluation.guide)

    @property
    def result_type(self) -> type[SolutionRecord]:
        """The class of its result."""
        return SolutionRecord

    @property
    def images(self) -> int:
        """How many images are drawn."""
        return EXACT_IMAGES

    @property
    def depends_on(self) -> tuple[Training, ...]:
        """The trainings that must be done first."""
        return (self.training,) if self.guide is None else (self.training, self.guide)

    @property
    def description(self) -> str:
        """What it is, in a few words."""
        return "exact solution"


@lru_cache(maxsize=4096)
def _solution(training: Training, sampling: SamplingConfig, guide: Training | None) -> ExactSolution:
    flops = EXACT_IMAGES * flops_per_image(sampling, training.network, (guide or training).network)
    return ExactSolution(drawing_signature("exact", training, sampling, guide), training, sampling, guide, flops)


@dataclass(frozen=True)
class ReferenceStatistics(HasResult):
    """Real images and noise to measure in a feature space, with the statistics that evaluations compare with.

    config: of these evaluations, as far as it matters here. scores: that they compute against real images, sorted.
    """

    signature: str
    data: DataSource
    features: FeatureSpace
    config: EvaluationConfig
    scores: tuple[str, ...]
    kind: Literal["references"] = "references"

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
    def depends_on(self) -> tuple[FeatureClassifier | WeightsDownload, ...]:
        """The preparations that must be done first."""
        return extracting(self.data, self.features)

    @property
    def description(self) -> str:
        """What it is, in a few words."""
        return f"reference statistics, {self.features.label}"

    @property
    def name(self) -> str:
        """What people call it."""
        return f"reference-statistics/{self.data.config.title}"


def extractor_flops(features: Features | Extension) -> float:
    """Return the operations on one image; of an extension's features, which nobody has counted, none."""
    return 0.0 if isinstance(features, Extension) else EXTRACTOR_FLOPS[features]


@lru_cache(maxsize=8)
def _download_of(features: Features) -> WeightsDownload:
    return WeightsDownload(signature("weights", sha256=PUBLISHED[features].sha256), features)


Preparation = FeatureClassifier | WeightsDownload | ReferenceStatistics | ExactSolution


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


def _compared_with(
    data: DataSource, features: FeatureSpace, config: EvaluationConfig, scores: tuple[str, ...]
) -> ReferenceStatistics | None:
    """Return what an evaluation compares its images with; None where that is a published file alone."""
    referring = _referring(scores)
    if not referring:
        return None
    # of the configuration, only what matters here
    own = EvaluationConfig(config.images, config.features, resize=config.resize, reference=config.reference)
    return _references(data, features, own, referring)


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


def extracting(data: DataSource, space: FeatureSpace) -> tuple[FeatureClassifier | WeightsDownload, ...]:
    """Return what gets the extractor of a feature space ready; nothing for an extension, which has its own."""
    if isinstance(space.name, Extension):
        return ()
    return (classifier_for(data),) if space.name == "classifier" else (WeightsDownload.of(space.name),)


def preparations_of(evaluation: Evaluation) -> tuple[Preparation, ...]:
    """Return the preparations that must be done before an evaluation; what depends on others comes first."""
    own, solution = evaluation, ExactSolution.of(evaluation)
    of_scores = _of_scores(own.training.data, own.features, own.config, own.scores, own.spaces)
    return of_scores if solution is None else (solution, *of_scores)


@by_identity
def _of_scores(
    data: DataSource,
    features: FeatureSpace,
    config: EvaluationConfig,
    scores: tuple[str, ...],
    spaces: Spaces,
) -> tuple[Preparation, ...]:
    """What evaluations on a data set need for their scores, worked out once for all that ask for the same."""
    references = _compared_with(data, features, config, scores)
    extractors = dict.fromkeys(task for space, _ in spaces for task in extracting(data, space))
    return (*extractors,) if references is None else (references, *extractors)


def preparations_by_signature(evaluations: Iterable[Evaluation]) -> dict[str, Preparation]:
    """Return the preparations of evaluations, each once; what others depend on comes first."""
    groups = {id(group): group for group in map(preparations_of, evaluations)}
    return {each.signature: each for group in groups.values() for each in reversed(group)}


def names_of(preparations: Iterable[Preparation | DataSource], trainings: Mapping[str, str]) -> dict[str, str]:
    """Return a readable name for each preparation, by signature, such as data/digits or feature-classifier/digits.

    trainings: the names of trainings, after which exact solutions are called.
    """
    return _distinct((each.signature, _name_of(each, trainings)) for each in preparations)


def names_of_networks(networks: Mapping[str, Pretrained]) -> dict[str, str]:
    """Return a readable name for each network that trainings begin with, by signature, such as network/birds."""
    ends = shortest_ends(network.path for network in networks.values())
    return _distinct((identity, f"network/{ends[network.path]}") for identity, network in networks.items())


def _distinct(names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return names by signature, in which those that are there already are followed by some of their signature."""
    by_name: dict[str, str] = {}
    for identity, name in names:
        by_name[name if name not in by_name else f"{name}/{identity[:6]}"] = identity
    return {identity: name for name, identity in by_name.items()}


def _name_of(task: Preparation | DataSource, trainings: Mapping[str, str]) -> str:
    if isinstance(task, DataSource):
        return f"data/{task.config.title}"
    return f"exact-solution/{trainings[task.training.signature]}" if isinstance(task, ExactSolution) else task.name
