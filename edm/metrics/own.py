"""Metrics that extensions define, as functions of the features of drawn and real images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from edm.registry import Registry, bound

OwnMetric = Callable[[Tensor, Tensor], Any]  # (features of drawn images, of real ones) -> value, or one for each image
SHIPPED: Mapping[str, OwnMetric] = {}  # those of this package share passes over the features, in the caller
OWN_METRICS = Registry(SHIPPED, bound)
