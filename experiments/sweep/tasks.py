"""The units of work of a sweep: trainings and evaluations, and what they depend on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from edm.config import (
    ClassifierConfig,
    DataConfig,
    EvaluationConfig,
    Features,
    NetworkConfig,
    Resize,
    SamplingConfig,
    Split,
    TrainingConfig,
)
from edm.data.catalogue import facts, source_fingerprint, without_defaults
from experiments.store.layout import FOLDER_OF_TASK, StoreKind
from experiments.sweep.identity import signature
from experiments.sweep.metrics import DIMENSIONS
from experiments.sweep.segments import segment_starts

Kind = Literal["training", "evaluation"]
Subset = Split | Literal["noise"]  # what reference statistics are of
FORWARDS_PER_TRAINING_IMAGE = 3  # a backward pass costs about two forward passes


@dataclass(frozen=True)
class DataSource:
    """A prepared data set, and the shape of what is in it, which its signature decides."""

    signature: str
    config: DataConfig
    channels: int
    resolution: int
    num_classes: int
    splits: tuple[tuple[Split, int], ...] = ()  # how many images each has

    @classmethod
    def of(cls, config: DataConfig) -> DataSource:
        """The prepared form of a data set; its published fingerprint enters its signature."""
        config, known = without_defaults(config), facts(config)
        name = signature("data", config=config, fingerprint=source_fingerprint(config))
        return cls(name, config, known.channels, known.resolution, known.num_classes, tuple(known.splits.items()))

    @property
    def sizes(self) -> dict[Split, int]:
        """How many images each split has."""
        return dict(self.splits)


@lru_cache(maxsize=64)
def classifier_of(data: DataSource) -> str:
    """The signature of the small classifier that is trained on a data set."""
    return signature("classifier", data=data.signature, config=ClassifierConfig())


@dataclass(frozen=True)
class FeatureSpace:
    """The space that distances are measured in; `classifier` is the signature of the one trained for it."""

    name: Features
    dimension: int
    classifier: str | None = None
    resize: Resize = "pytorch-fid"

    @classmethod
    def named(cls, name: Features, data: DataSource, resize: Resize = "pytorch-fid") -> FeatureSpace:
        """The feature space of a name, for a data set."""
        return cls(name, DIMENSIONS[name], classifier_of(data) if name == "classifier" else None, resize)

    @property
    def signature(self) -> str:
        """What it is called in the store."""
        return signature("space", features=self)

    @property
    def label(self) -> str:
        """What to call it beside a number."""
        rule = ", clean-fid's resize" if self.resize == "clean" else ""
        return f"{TITLES[self.name]} features, {self.dimension:,}-d{rule}"

    def reference(self, data: DataSource, subset: Subset) -> str:
        """The signature of what the real images of a split, or images of pure noise, measure in it."""
        return signature("reference", data=data.signature, features=self, subset=subset)


TITLES: dict[Features, str] = {"inception": "Inception", "dinov2": "DINOv2", "classifier": "classifier"}


@dataclass(frozen=True)
class Training:
    """One network to train."""

    signature: str
    seed: int
    data: DataSource
    network: NetworkConfig
    config: TrainingConfig
    flops: float
    kind: Kind = "training"

    @property
    def store_kind(self) -> StoreKind:
        """The folder of the store that holds results of its kind."""
        return FOLDER_OF_TASK[self.kind]


@dataclass(frozen=True)
class Evaluation:
    """Images to draw from a training, guided by another one where there is one, and to score.

    drawing: the signature of the images, whatever their number and however they are scored. spaces: all feature spaces
    that the plan measures them in, and how many of them, so that they are drawn once. scores: what is asked for, such
    as "fid/test". statistics: the SHA-256 of a published file to compare with. notes: what a reader must know of the
    scores. Where it may stop early, rivals: the evaluations of its table; kin: those that differ in seeds of training
    alone, itself among them, which it does not compete with.
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
    spaces: tuple[tuple[FeatureSpace, int], ...] = ()
    statistics: str | None = None
    rivals: tuple[str, ...] = ()
    kin: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    kind: Kind = "evaluation"

    @property
    def store_kind(self) -> StoreKind:
        """The folder of the store that holds results of its kind."""
        return FOLDER_OF_TASK[self.kind]

    @property
    def depends_on(self) -> tuple[Training, ...]:
        """The trainings that must be done before it."""
        return (self.training,) if self.guide is None else (self.training, self.guide)

    @property
    def judge(self) -> FeatureSpace:
        """The feature space whose classifier tells which class an image shows."""
        return FeatureSpace.named("classifier", self.training.data)

    @property
    def solution(self) -> str:
        """The signature of the solution that a sampler's own error is measured against, which all samplers share."""
        content: dict[str, Any] = {"training": self.training.signature, "sampling": self.sampling.exact()}
        if self.guide is not None:
            content["guide"] = self.guide.signature
        return signature("exact", **content)

    @property
    def num_segments(self) -> int:
        """Into how many parts, which anybody may draw, it can be cut."""
        return len(segment_starts(self.config.images))

    def segment_name(self, start: int) -> str:
        """What the part that begins with image `start` is called where somebody claims it."""
        return f"{self.drawing}-{start:08d}"

    def is_covered_by(self, result: dict[str, Any]) -> bool:
        """Whether a finished evaluation's result has every score that is asked for, of all images.

        Of fewer where it was stopped because of a cell that it competes with here, too.
        """
        stopped_by = result["stopped_by"]
        return set(self.scores) <= set(result["scores"]) and (stopped_by is None or stopped_by in self.rivals)


SweepTask = Training | Evaluation
