"""Configuration of scores: which images, features and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edm.config.data import SPLITS, Split
from edm.config.fields import added_field, display_field, require
from edm.extension import Extension

Features = Literal["inception", "dinov2", "classifier"]
Resize = Literal["pytorch-fid", "clean", "tensorflow"]
LARGEST_PLAIN_SIDE = 16  # pixels: the small classifier halves larger images in its first layer

EXPECTED_CHECKS = 10  # of the small classifier, for forecasts: digits takes 6, FashionMNIST 12

Metric = Literal["fid", "fid_infinity", "kid", "prdc", "accuracy", "memorisation"]


@dataclass(frozen=True)
class EvaluationConfig:
    """How many images are drawn from a network, and how they are scored.

    images: Number of images to draw.
    features: The features in which images are compared: those of pytorch-fid's Inception, of DINOv2, or of a small
        classifier trained on the data set itself. Scores can only be compared within one of these.
    splits: The splits whose real images the drawn ones are compared with.
    resize: How images are resized to 299 pixels for Inception. `pytorch-fid`: bilinear. `clean`: bicubic with
        antialiasing, as in clean-fid and the 2023 study. `tensorflow`: as in TensorFlow 1, by which NVlabs' published
        statistics and EDM's FIDs were made.
    reference: `equal`: compare with equally many real images of every split, as many as the smallest split has. `all`:
        compare with all images of each split.
    statistics: A published file of reference statistics (`.npz`, as NVlabs and pytorch-fid publish them) to compare
        with as well, made with the same `resize`. The file's content is part of the signature, the path is not.
    metrics: Which metrics to compute. `prdc`: precision, recall, density and coverage.
    truncation: Also measure the sampler's own error, against 512 steps of Heun's method. Only for samplers that add no
        noise.
    stop_when: Stop drawing a cell once its FID is clearly worse than another cell's, with this confidence, such as
        0.999. `None`: never.
    """

    images: int = 50_000
    features: Features | Extension = "inception"
    splits: tuple[Split, ...] = display_field(SPLITS)
    resize: Resize = added_field("pytorch-fid")
    reference: Literal["equal", "all"] = added_field("equal")
    statistics: str | None = display_field(None)
    metrics: tuple[Metric | Extension, ...] = display_field(("fid", "kid", "prdc"))
    truncation: bool = display_field(False)
    stop_when: float | None = added_field(None)

    def __post_init__(self) -> None:
        few = f"{self.images} is too few for a covariance; give 2 or more, 10,000 for a usable number"
        require(self.images >= 2, "images", few)
        require(bool(self.splits), "splits", f"is empty; give one or more of {', '.join(SPLITS)}")
        require(len(set(self.splits)) == len(self.splits), "splits", "has a split twice; remove one")
        require(bool(self.metrics), "metrics", f"is empty; give one or more of {', '.join(get_args(Metric))}")
        require(len(set(self.metrics)) == len(self.metrics), "metrics", "has a metric twice; remove one")
        resizable = self.resize == "pytorch-fid" or self.features == "inception"
        require(resizable, "resize", f"{self.features} features have a fixed rule; remove it")
        if self.stop_when is not None:
            confident = 0.5 < self.stop_when < 1
            require(confident, "stop_when", f"{self.stop_when!r} is not a confidence; give for example 0.999")
            require("fid" in self.metrics, "stop_when", "needs the FID; add fid to metrics")

    @property
    def prefixes(self) -> tuple[int, ...]:
        """Numbers of images at which to take the FID: 1,000, 2,000, 5,000, 10,000 and so on, and all."""
        rounds = (digit * 10**power for power in range(3, 10) for digit in (1, 2, 5))
        return (*(count for count in rounds if count < self.images), self.images)


@dataclass(frozen=True)
class ClassifierConfig:
    """The small classifier whose last hidden layer is the `classifier` feature space.
    It trains until its accuracy on the val split has not risen for `patience` checks in a row.

    channels: Channels of the first convolutions; the last ones have twice as many.
    feature_channels: Dimensions of the feature space.
    batch_size: Images per gradient step.
    lr: Learning rate, reached after a short warm-up.
    check_steps: Least number of steps between checks of the accuracy. There is one after every pass over the train
        split, unless that takes fewer steps.
    patience: Checks in a row without a higher accuracy, which end the training.
    most_checks: Checks after which it ends in any case.
    seed: Seed of the initial weights and of the order of images.
    """

    channels: int = 32
    feature_channels: int = 64
    batch_size: int = 128
    lr: float = 2e-3
    check_steps: int = 50
    patience: int = 3
    most_checks: int = 40
    seed: int = 0

    @property
    def expected_checks(self) -> int:
        """How many checks a training is likely to have, for forecasts."""
        return min(EXPECTED_CHECKS, self.most_checks)

    def steps_per_check(self, num_images: int) -> int:
        """Return the number of steps from one check of the accuracy to the next, on so many images."""
        return max(num_images // max(self.batch_of(num_images), 1), self.check_steps)

    def batch_of(self, num_images: int) -> int:
        """Return the images per step, which are never more than there are."""
        return min(self.batch_size, num_images)


@dataclass(frozen=True)
class FormerClassifierConfig:
    """The classifier of version 1, as stores of earlier releases have it. It can be read, but not trained any more."""

    channels: int = 32
    feature_channels: int = 64
    epochs: int = 24
    batch_size: int = 64
    lr: float = 2e-3
    seed: int = 0


AnyClassifierConfig = ClassifierConfig | FormerClassifierConfig
