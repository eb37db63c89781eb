"""Measure how good standard errors and intervals are where they are least so: `uv run python docs/scripts/error_bars.py`.

Simulations in which the truth is known, for docs/evaluation.md. Seeds are fixed; about a minute on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from edm.metrics.fid import Reference, Statistics, frechet
from edm.metrics.kid import kernel_distance, mean_kernel
from edm.metrics.uncertainty import interval, standard_error

DIMENSION = 64
FID_IMAGES, FID_REPETITIONS = 1000, 400
DISTANCES = (0.0, 0.1, 0.3, 1.0, 3.0)  # of the populations
KID_IMAGES, KID_REAL, KID_REPETITIONS = (200, 500, 1000), 1000, 400
ACCURACY_IMAGES, ACCURACIES = 1000, (0.9, 0.95, 0.99, 0.995, 0.999)

VARIANCES = {
    "1/1, 1/2, ... 1/64": torch.arange(1, DIMENSION + 1).double().reciprocal(),
    "all 1": torch.ones(DIMENSION).double(),
}

Tails = Callable[[torch.Generator, int, int], Tensor]  # (generator, images, dimensions) -> noise of variance 1


def main() -> None:
    """Print the three tables."""
    torch.set_num_threads(1)
    print(f"FID, {FID_IMAGES} images, {DIMENSION} dimensions, population as reference, {FID_REPETITIONS} draws\n")
    print("| variances | population distance | mean FID | standard error / spread | coverage |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, variances in VARIANCES.items():
        for distance in DISTANCES:
            print("| {} | {:g} | {:.3f} | {:.2f} | {:.1%} |".format(name, distance, *fid_errors(variances, distance)))
    print(f"\nKID, pairs of generators, {KID_REAL} real images, 16 dimensions, {KID_REPETITIONS} draws\n")
    print("| features | images | standard error / spread | coverage of the difference |\n| --- | ---: | ---: | ---: |")
    for name, tails in TAILS.items():
        for images in KID_IMAGES:
            print("| {} | {:,} | {:.2f} | {:.1%} |".format(name, images, *kid_errors(tails, images)))
    print(f"\nClass accuracy of {ACCURACY_IMAGES:,} images, exactly\n\n| true share | coverage |\n| ---: | ---: |")
    for share in ACCURACIES:
        print(f"| {share:.1%} | {accuracy_coverage(share):.1%} |")


def fid_errors(variances: Tensor, distance: float) -> tuple[float, float, float]:
    """Return the mean FID, the ratio of its standard error to its spread, and how often intervals hold that mean."""
    deviations = variances.sqrt()
    reference = Reference.of_moments(torch.zeros(DIMENSION), variances.diag())
    shift = deviations * (distance / float(variances.sum())) ** 0.5
    values: list[float] = []
    errors: list[float] = []
    for seed in range(FID_REPETITIONS):
        features = _normal(_seeded(seed), FID_IMAGES, DIMENSION) * deviations + shift
        found = frechet(Statistics.of(features), reference)
        values.append(found.distance)
        errors.append(standard_error(found.influences(features)))
    return float(np.mean(values)), *_quality(values, errors)


def kid_errors(tails: Tails, images: int) -> tuple[float, float]:
    """Return the ratio of the standard error of a paired difference to its spread, and the coverage of intervals."""
    real = tails(_seeded(2**31), KID_REAL, 16)
    real_mean = mean_kernel([real])
    values: list[float] = []
    errors: list[float] = []
    for seed in range(KID_REPETITIONS):
        noise = tails(_seeded(seed), images, 16)
        first, second = (kernel_distance([made], [real], real_mean=real_mean) for made in _generated(noise))
        values.append(first.value - second.value)
        errors.append(standard_error(first.influences - second.influences))
    return _quality(values, errors)


def accuracy_coverage(share: float) -> float:
    """Return how often the interval of a class accuracy holds the true share, by the binomial distribution."""
    held = 0.0
    for count in range(ACCURACY_IMAGES + 1):
        correct = (torch.arange(ACCURACY_IMAGES) < count).double()
        low, high = interval(count / ACCURACY_IMAGES, standard_error(correct - correct.mean()))
        held += float(stats.binom.pmf(count, ACCURACY_IMAGES, share)) * (low <= share <= high)
    return held


def _generated(noise: Tensor) -> Iterator[Tensor]:
    """Two generators that are driven by the same noise."""
    yield 1.1 * noise + 0.1
    yield 1.2 * noise + 0.2


def _quality(values: list[float], errors: list[float]) -> tuple[float, float]:
    truth = np.mean(values)
    held = [low <= truth <= high for low, high in map(interval, values, errors)]
    return float(np.sqrt(np.mean(np.square(errors))) / np.std(values, ddof=1)), float(np.mean(held))


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(generator: torch.Generator, images: int, dimension: int) -> Tensor:
    return torch.randn(images, dimension, generator=generator, dtype=torch.float64)


def _student(degrees: int) -> Tails:
    """Student's t, whole images scaled alike, so that some lie far out in all dimensions."""

    def tails(generator: torch.Generator, images: int, dimension: int) -> Tensor:
        chi2 = _normal(generator, images, degrees).square().sum(dim=1, keepdim=True)
        return _normal(generator, images, dimension) * ((degrees - 2) / chi2).sqrt()

    return tails


TAILS: dict[str, Tails] = {
    "normal": _normal,
    "Student's t, 9 degrees of freedom": _student(9),
    "Student's t, 5 degrees of freedom": _student(5),
}


if __name__ == "__main__":
    main()
