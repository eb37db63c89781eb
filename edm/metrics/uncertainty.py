"""Standard errors and intervals of scores, from the influence of each image.

Labels are part of the design, not random: image i of every set is asked to show the same class, so that differences
between classes do not move a score from one draw to the next. `within_classes` removes them from the influences; with
them standard errors are too large (by a factor of two on digits, see docs/evaluation.md).

An interval describes the score at this number of images N: what other N images of the same generator would score
against this reference set. It does not say how far the score is from its value at infinitely many images: the FID has a
bias of order 1/N, which only scores with the same N share. Nor does it say what another reference set would give.

Models that share noise and labels are compared image by image: the standard error of the difference of two scores is
`standard_error(influences_a - influences_b)`.
"""

from __future__ import annotations

from statistics import NormalDist

from jaxtyping import Float, Float64, Int64
from torch import Tensor

LEVEL = 0.95  # of intervals


def within_classes(influences: Float[Tensor, " n"], labels: Int64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Subtract class means from influences, scaled so that `standard_error` is that of a stratified sample.

    The variance of class c is estimated from its n_c images with n_c - 1 degrees of freedom (Cochran 1977, 5.6). The
    influences are returned unchanged where a class has a single image.
    """
    values = influences.double()
    counts = labels.bincount()[labels].double()
    if counts.min() < 2:
        return values
    means = values.new_zeros(int(labels.max()) + 1).index_add(0, labels, values)[labels] / counts
    return (values - means) * (counts / (counts - 1)).sqrt()


def standard_error(influences: Float[Tensor, " n"]) -> float:
    """Return sqrt(var / n), the infinitesimal jackknife (Efron 1982); raises ValueError for fewer than 2 images."""
    if len(influences) < 2:
        raise ValueError(f"a standard error needs at least 2 images, and there are {len(influences)}; score more")
    return float((influences.double().var() / len(influences)).sqrt())


def interval(value: float, error: float) -> tuple[float, float]:
    """Return the normal 95% interval around a value with standard error `error`."""
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * error
    return value - reach, value + reach
