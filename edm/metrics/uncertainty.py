"""Standard errors and intervals from the influence of every image.

Labels are part of the design, not of chance: image i of every set is asked for the same class, so that what classes
differ by moves no score from one draw to the next. `within_classes` takes it out of the influences; left in, it makes
standard errors too large (twice, on digits: docs/evaluation.md).

An interval is of the score at this number of images N: what other N images of the same generator would score, against
this reference set. It does not tell how far the score is from its value at infinitely many images: FID is biased by
order 1/N, and only cells of the same N share that bias. Nor does it tell what another reference set would give.

Cells that share noise and labels are compared image by image: the standard error of the difference of two scores is
`standard_error(influences_a - influences_b)`.
"""

from __future__ import annotations

from statistics import NormalDist

from jaxtyping import Float, Float64, Int64
from torch import Tensor


def within_classes(influences: Float[Tensor, " n"], labels: Int64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Influences less the mean of their class, scaled so that `standard_error` is that of a stratified sample.

    The variance of class c is estimated by its n_c images with n_c - 1 degrees of freedom (Cochran 1977, 5.6). Left as
    they are where some class has one image alone.
    """
    values = influences.double()
    counts = labels.bincount()[labels].double()
    if counts.min() < 2:
        return values
    means = values.new_zeros(int(labels.max()) + 1).index_add(0, labels, values)[labels] / counts
    return (values - means) * (counts / (counts - 1)).sqrt()


def standard_error(influences: Float[Tensor, " n"]) -> float:
    """sqrt(var / n): the infinitesimal jackknife (Efron 1982); raises ValueError for fewer than 2 images."""
    if len(influences) < 2:
        raise ValueError(f"a standard error needs at least 2 images, and there are {len(influences)}: score more")
    return float((influences.double().var() / len(influences)).sqrt())


def interval(value: float, error: float, level: float = 0.95) -> tuple[float, float]:
    """The normal interval around a value with this standard error; raises ValueError for a level outside (0, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, and is {level}: write 0.95 for 95%")
    reach = NormalDist().inv_cdf((1 + level) / 2) * error
    return value - reach, value + reach
