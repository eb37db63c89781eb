"""Every metric that a table may show: its title, its unit, which way is better, the table it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher", "neither"]
Group = Literal["main", "fidelity", "memorisation"]
SPLITS = ("train", "val", "test")
BEST_SPLITS = ("test", "val", "train")  # the first that there is stands for all where one is shown


@dataclass(frozen=True)
class Metric:
    """How a metric is shown.

    better: "neither" where one value is as it should be, and none is best. split: of the real images, "file" for
    published statistics. scale, unit: numbers are shown times `scale`, followed by `unit`.
    """

    name: str
    better: Better = "lower"
    group: Group = "main"
    split: str = ""
    scale: float = 1.0
    unit: str = ""

    @property
    def title(self) -> str:
        """Its name and its split."""
        return f"{self.name} {self.split}".rstrip()


def _of_split(split: str) -> dict[str, Metric]:
    return {
        f"kid_{split}": Metric("KID x10^3", "lower", "fidelity", split, scale=1000.0),
        f"precision_{split}": Metric("precision", "higher", "fidelity", split),
        f"recall_{split}": Metric("recall", "higher", "fidelity", split),
        f"density_{split}": Metric("density", "higher", "fidelity", split),
        f"coverage_{split}": Metric("coverage", "higher", "fidelity", split),
    }


METRICS: dict[str, Metric] = {
    **{f"fid_{split}": Metric("FID", split=split) for split in (*SPLITS, "file")},
    "class_accuracy": Metric("class accuracy", "higher", scale=100.0, unit=" %"),
    "truncation_rms": Metric("truncation error"),
    **_of_split("train"),
    **_of_split("val"),
    **_of_split("test"),
    **{f"fid_infinity_{split}": Metric("FID inf", "lower", "fidelity", split) for split in (*SPLITS, "file")},
    "nn_ratio_pixels": Metric("distance ratio, pixels", "neither", "memorisation"),
    "nn_ratio_features": Metric("distance ratio, features", "neither", "memorisation"),
    "nn_copied_pixels": Metric("copied, pixels", "neither", "memorisation", scale=100.0, unit=" %"),
    "nn_copied_features": Metric("copied, features", "neither", "memorisation", scale=100.0, unit=" %"),
}
