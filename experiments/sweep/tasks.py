"""The tasks that a plan consists of, trainings and evaluations, and the data sets and feature spaces they refer to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from edm.config import (
    AnyClassifierConfig,
    ClassifierConfig,
    DataConfig,
    EvaluationConfig,
    Extension,
    Features,
    FormerClassifierConfig,
    NetworkConfig,
    Pretrained,
    Resize,
    SamplingConfig,
    Split,
    TrainingConfig,
    added_field,
)
from edm.data.catalogue import without_defaults
from experiments.inputs import Inputs
from experiments.store.layout import StoreKind
from experiments.store.results import DatasetRecord, EvaluationResult, Result, TrainingResult
from experiments.sweep.by_identity import by_identity
from experiments.sweep.identity import REVISIONS, VERSIONS, revisions, signature
from experiments.sweep.metrics import dimension_of
from experiments.sweep.segments import segment_starts

Kind = Literal["training", "evaluation"]
Subset = Split | Literal["noise"]  # the images that reference statistics describe
FORMER_CLASSIFIER = 1  # the version whose classifiers are read, but not trained any more
FORWARDS_PER_TRAINING_IMAGE = 3  # a backward pass costs about two forward passes


class HasResult:
    """What all tasks have: the class of their result, which says in which folder of a store it is."""

    @property
    def result_type(self) -> type[Result]:
        """The class of its result."""
        raise NotImplementedError

    @property
    def store_kind(self) -> StoreKind:
        """The folder of the store that holds results of this kind."""
        return self.result_type.kind


@dataclass(frozen=True)
class DataSource(HasResult):
    """A data set to prepare.

    The signature decides all of it but classifier_version, the version of the data set's small classifier. splits: how
    many images each split has.
    """

    signature: str
    config: DataConfig
    channels: int
    resolution: int
    num_classes: int
    splits: tuple[tuple[Split, int], ...] = ()
    classifier_version: int = FORMER_CLASSIFIER  # of records from before there were two

    @classmethod
    def of(cls, config: DataConfig, inputs: Inputs) -> DataSource:
        """Return the data set of a configuration; raises DataError where its folder cannot be used."""
        if inputs.facts(config).has_splits:
            config = replace(config, split_seed=DataConfig().split_seed)
        return cls.as_written(config, inputs)

    @classmethod
    def as_written(cls, config: DataConfig, inputs: Inputs) -> DataSource:
        """Return the data set as earlier releases identified it: by `split_seed` even where nothing is split by it."""
        config, facts = without_defaults(config), inputs.facts(config)
        identity = signature("data", config=config, fingerprint=inputs.fingerprint(config))
        splits = tuple(facts.splits.items())
        shape = facts.channels, facts.resolution, facts.num_classes
        return cls(identity, config, *shape, splits, VERSIONS["classifier"])

    @property
    def kind(self) -> Literal["data"]:
        """The kind of task that prepares it."""
        return "data"

    @property
    def result_type(self) -> type[DatasetRecord]:
        """The class of its result."""
        return DatasetRecord

    @property
    def sizes(self) -> dict[Split, int]:
        """How many images each split has."""
        return dict(self.splits)

    @property
    def images(self) -> int:
        """How many images it has."""
        return sum(self.sizes.values())

    @property
    def flops(self) -> float:
        """The floating-point operations that preparing it takes: none."""
        return 0.0


@lru_cache(maxsize=64)
def classifier_of(data: DataSource) -> str:
    """Return the signature of the small classifier of a data set."""
    version = data.classifier_version
    return signature("classifier", version=version, data=data.signature, config=classifier_config(version))


def classifier_config(version: int) -> AnyClassifierConfig:
    """Return the configuration of the small classifiers of a version."""
    return FormerClassifierConfig() if version == FORMER_CLASSIFIER else ClassifierConfig()


@dataclass(frozen=True)
class FeatureSpace:
    """The features in which images are compared.

    classifier: the signature of the classifier that computes them. revision: of the preprocessing, or the version of
    the classifier.
    """

    name: Features | Extension
    dimension: int
    classifier: str | None = None
    resize: Resize = "pytorch-fid"
    revision: int = added_field(1)

    @classmethod
    def named(cls, name: Features | Extension, data: DataSource, resize: Resize = "pytorch-fid") -> FeatureSpace:
        """Return the feature space called `name` for a data set."""
        if name == "classifier":
            return cls(name, dimension_of(name), classifier_of(data), resize, data.classifier_version)
        return cls(name, dimension_of(name), None, resize, REVISIONS.get(resize, 1))

    @property
    def signature(self) -> str:
        """Identifies the feature space in the store."""
        return signature("space", features=self)

    @property
    def label(self) -> str:
        """A description to show beside a number."""
        version = f" (version {self.revision})" if self.classifier and self.revision != FORMER_CLASSIFIER else ""
        title = self.name.name if isinstance(self.name, Extension) else TITLES[self.name]
        return f"{title} features{version}, {self.dimension:,}-d{RULES[self.resize]}"

    def reference(self, data: DataSource, subset: Subset) -> str:
        """Return the signature of the reference statistics of a split's real images, or of images of pure noise."""
        return signature("reference", data=data.signature, features=self, subset=subset)


@by_identity
def judge_of(data: DataSource) -> FeatureSpace:
    """Return the feature space of the classifier that decides which class an image of a data set shows."""
    return FeatureSpace.named("classifier", data)


TITLES: dict[Features, str] = {"inception": "Inception", "dinov2": "DINOv2", "classifier": "classifier"}
RULES: dict[Resize, str] = {"pytorch-fid": "", "clean": ", clean-fid's resize", "tensorflow": ", TensorFlow's resize"}


Spaces = tuple[tuple[FeatureSpace, int], ...]  # in which images are measured, and how many of them


@dataclass(frozen=True)
class Training(HasResult):
    """A network to train. flops: the floating-point operations that it takes.

    pretrained: a trained network that is taken into the store in its place; nothing is trained then, and `config` is
    the default. start: the network with whose weights the training begins (fine-tuning): that of a file, or of another
    training.
    """

    signature: str
    seed: int
    data: DataSource
    network: NetworkConfig
    config: TrainingConfig
    flops: float
    pretrained: Pretrained | None = None
    kind: Kind = "training"
    start: Pretrained | Training | None = None

    @property
    def result_type(self) -> type[TrainingResult]:
        """The class of its result."""
        return TrainingResult

    @property
    def begins_with(self) -> Training | None:
        """The task whose network it begins with: another training, or one that takes a file into the store."""
        return beginning(self.data, self.start)

    @property
    def depends_on(self) -> tuple[Training, ...]:
        """What must be done first."""
        return () if self.begins_with is None else (self.begins_with,)

    @property
    def lineage(self) -> tuple[Training, ...]:
        """Itself, and before it what it begins with, and so on."""
        before = self.begins_with
        return (self,) if before is None else (*before.lineage, self)


def called(network: Pretrained | Training) -> str:
    """Return how people are told of a network: the end of its path and which weights it has, or its training."""
    if isinstance(network, Training):
        return f"a training of {network.config.total_kimg:,g} kimg on {network.data.config.title}"
    return f"{Path(network.path).name or network.path} (weights {network.digest[:12]})"


def beginning(data: DataSource, start: Pretrained | Training | None) -> Training | None:
    """Return the task whose network a training on `data` begins with; None where its weights are random."""
    return pretrained_training(data, start) if isinstance(start, Pretrained) else start


@by_identity
def pretrained_training(data: DataSource, pretrained: Pretrained) -> Training:
    """Return the task that takes a trained network into the store; its seed is 0, as nothing is drawn at random."""
    content = {"weights": pretrained.digest, "network": pretrained.network, "sigma_data": pretrained.sigma_data}
    identity = signature("pretrained", data=data.signature, **content)
    return Training(identity, 0, data, pretrained.network, TrainingConfig(), 0.0, pretrained)


@dataclass(frozen=True)
class Evaluation(HasResult):
    """Images to draw from a training and to score.

    flops: the floating-point operations that drawing takes. drawing: the signature of the images, whatever their number
    and however they are scored. scores: the scores to compute, such as "fid/test". guide: the training that guides this
    one, if any. spaces: every feature space in which the plan measures these images, and how many of them, so that they
    are drawn once for all. statistics: the SHA-256 of a published file of statistics to compare with. notes: what a
    reader must know about the scores. rivals and kin are for evaluations that may stop early (evaluation.stop_when).
    rivals: the signatures of all evaluations in the same table, which it competes with; kin: those among them that
    differ from it in their training seeds alone, itself included, which it does not compete with.
    """

    signature: str
    training: Training
    sampling: SamplingConfig
    config: EvaluationConfig
    features: FeatureSpace
    flops: float
    drawing: str
    scores: tuple[str, ...]
    guide: Training | None = None
    spaces: Spaces = ()
    statistics: str | None = None
    rivals: tuple[str, ...] = ()
    kin: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    kind: Kind = "evaluation"

    @property
    def result_type(self) -> type[EvaluationResult]:
        """The class of its result."""
        return EvaluationResult

    def scored_as(self, other: Evaluation) -> Evaluation:
        """Return this form of an evaluation with the scores that another form of it asks for."""
        if self.config is other.config:
            return self
        return replace(self, config=other.config, scores=other.scores, notes=other.notes)

    @property
    def depends_on(self) -> tuple[Training, ...]:
        """The trainings that must be done first: its own, and that of its guide."""
        return (self.training,) if self.guide is None else (self.training, self.guide)

    @property
    def trainings(self) -> tuple[Training, ...]:
        """These with what they depend on in turn, which comes first."""
        return tuple(each for training in self.depends_on for each in training.lineage)

    @property
    def judge(self) -> FeatureSpace:
        """The feature space of the classifier that decides which class an image shows (class accuracy)."""
        return judge_of(self.training.data)

    @property
    def num_segments(self) -> int:
        """How many segments of images it consists of."""
        return len(segment_starts(self.config.images))

    def segment_name(self, start: int) -> str:
        """Return the name under which the store holds the segment that begins with image `start`."""
        return f"{self.drawing}-{start:08d}"

    def is_covered_by(self, result: EvaluationResult) -> bool:
        """Return whether a stored result has every requested score.

        A result that was stopped early counts only where the evaluation that stopped it is a rival here, too.
        """
        stopped_by = result.stopped_by
        return set(self.scores) <= set(result.scores) and (stopped_by is None or stopped_by in self.rivals)


def drawing_signature(
    stage: Literal["drawing", "exact"], training: Training, sampling: SamplingConfig, guide: Training | None
) -> str:
    """Return the signature of the images that are drawn from a training, however many and however they are scored."""
    content: dict[str, Any] = {"training": training.signature, "sampling": sampling}
    if guide is not None:
        content["guide"] = guide.signature
    return signature(stage, **content, **_revisions(sampling))


@by_identity
def _revisions(sampling: SamplingConfig) -> dict[str, Any]:
    return revisions(_revised_parts(sampling))


def averages_weights(sampling: SamplingConfig) -> bool:
    """Return whether images are drawn with an average of weights that is made after the training."""
    return sampling.ema is not None or (sampling.guide is not None and sampling.guide.ema is not None)


def _revised_parts(sampling: SamplingConfig) -> Iterator[str]:
    """Yield the parts of drawing that `sampling` uses and that have been revised."""
    if averages_weights(sampling):
        yield "posthoc"
    if sampling.sampler == "unipc" and sampling.steps > 3:  # with fewer, the order is as low for want of points
        yield "unipc"


SweepTask = Training | Evaluation


def own_training(task: SweepTask) -> Training:
    """Return the training that an evaluation draws from; of a training itself."""
    return task.training if isinstance(task, Evaluation) else task
