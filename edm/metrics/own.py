"""Metrics and feature spaces that extensions define."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from edm.config import Extension
from edm.metrics.features import fingerprint
from edm.registry import Registration, Registry

OwnMetric = Callable[[Tensor, Tensor], Any]  # (features of drawn images, of real ones) -> value, or one for each image
ComputeFeatures = Callable[[Tensor], Tensor]  # uint8 images -> one row for each image

# of extensions alone: this package's metrics share passes over the features, and its spaces are networks with weights
OWN_METRICS = Registry[OwnMetric]({}, Registration.bound)
OWN_FEATURES = Registry[ComputeFeatures]({}, Registration.bound)


class OwnFeatures:
    """Turns images into the features that an extension computes."""

    knows_classes = False

    def __init__(self, features: Extension, device: torch.device) -> None:
        self.dimension: int = features.fact("dimension")
        self.fingerprint = fingerprint("extension", {"code": features.code, "options": features.options}, {})
        self.device, self._compute = device, OWN_FEATURES[features]

    def __call__(self, images: UInt8[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b d"], None]:
        """Return the features of images."""
        return self._compute(images.to(self.device)).float(), None
