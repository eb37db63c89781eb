"""What drawing an image costs."""

from __future__ import annotations

import dataclasses

from edm.config import NetworkConfig, SamplingConfig
from edm.cost import forward_flops
from experiments.sweep.by_identity import by_identity


@by_identity
def nfe_of(sampling: SamplingConfig) -> int:
    """Return the network evaluations per image."""
    return sampling.nfe


@by_identity
def flops_per_image(sampling: SamplingConfig, network: NetworkConfig, other: NetworkConfig) -> int:
    """Return the floating-point operations that drawing one image takes, at the resolution of sampling.

    other: the network that guidance leads away from: the guide's, or the same.
    """
    counts = sampling.evaluations
    return sum(
        count * forward_flops(dataclasses.replace(each, resolution=sampling.resolution or each.resolution))
        for count, each in ((counts["main"], network), (counts["other"], other))
    )
