"""How images are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edm.config.data import SPLITS, Split
from edm.config.fields import added_field, display_field, require

Features = Literal["inception", "dinov2", "classifier"]
Resize = Literal["pytorch-fid", "clean"]
Metric = Literal["fid", "fid_infinity", "kid", "prdc", "accuracy", "memorisation"]


@dataclass(frozen=True)
class EvaluationConfig:
    """How drawn images are scored.

    images: how many are drawn. features: the space that distances are measured in. resize: of inception alone,
    pytorch-fid's (bilinear) or clean-fid's (bicubic, antialiased, what the 2023 study used). splits: what images are
    compared with; reference: with equally many real images of every split, or with all of each. statistics: the path of
    a published .npz file (NVlabs', pytorch-fid's) to compare with as well.
    metrics: fid; fid_infinity, extrapolated to infinitely many images; kid; prdc is precision, recall, density and
    coverage; accuracy, of showing the asked class, by a small classifier (classifier features have it anyway);
    memorisation, nearest training images. truncation: the sampler's own error, against many Heun steps.
    stop_when: confidence, such as 0.999, that the FID is worse than the sweep's best at the same number of images, at
    which no more of them are drawn.
    """

    images: int = 50_000
    features: Features = "inception"
    splits: tuple[Split, ...] = display_field(SPLITS)
    resize: Resize = added_field("pytorch-fid")
    reference: Literal["equal", "all"] = added_field("equal")
    statistics: str | None = display_field(None)  # where the file is does not matter: its content enters the signature
    metrics: tuple[Metric, ...] = display_field(("fid", "kid", "prdc"))
    truncation: bool = display_field(False)
    stop_when: float | None = added_field(None)

    def __post_init__(self) -> None:
        require(
            self.images >= 2,
            "images",
            f"{self.images} is too few for a covariance; give 2 or more, 10,000 for a usable number",
        )
        require(bool(self.splits), "splits", f"is empty; give one or more of {', '.join(SPLITS)}")
        require(len(set(self.splits)) == len(self.splits), "splits", "names a split twice; drop one")
        require(bool(self.metrics), "metrics", f"is empty; give one or more of {', '.join(get_args(Metric))}")
        require(len(set(self.metrics)) == len(self.metrics), "metrics", "names a metric twice; drop one")
        require(
            self.resize == "pytorch-fid" or self.features == "inception",
            "resize",
            f"{self.features} features have a rule of their own; drop it",
        )
        if self.stop_when is not None:
            require(
                0.5 < self.stop_when < 1, "stop_when", f"{self.stop_when!r} is no confidence; give for example 0.999"
            )
            require("fid" in self.metrics, "stop_when", "looks at the FID, which evaluation.metrics leaves out")

    @property
    def prefixes(self) -> tuple[int, ...]:
        """The numbers of images at which the FID is taken: 1, 2, 5, 10, 20, 50 thousand and so on, and all."""
        rounds = (digit * 10**power for power in range(3, 10) for digit in (1, 2, 5))
        return (*(count for count in rounds if count < self.images), self.images)


@dataclass(frozen=True)
class ClassifierConfig:
    """The small classifier whose penultimate layer is the `classifier` feature space. Not a field of the sweep file."""

    channels: int = 32
    feature_channels: int = 64
    epochs: int = 24
    batch_size: int = 64
    lr: float = 2e-3
    seed: int = 0
