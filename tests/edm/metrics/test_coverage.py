"""Do the intervals cover? Simulations in which the truth is known, seeded and so the same every time."""

import functools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from edm.metrics.fid import Reference, Statistics, frechet, frechet_distance
from edm.metrics.uncertainty import interval, standard_error, within_classes

REPETITIONS = 400


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Generator:
    """Standard normal noise -> features around `mean`, with decaying deviations times `scale`."""

    mean: float
    scale: float

    def __call__(self, noise):
        dimension = noise.shape[1]
        deviations = torch.arange(1, dimension + 1).double().rsqrt()
        return (self.scale * noise + self.mean) * deviations


def reference(dimension):
    """The population of Generator(0, 1)."""
    return Reference.of_moments(torch.zeros(dimension), torch.arange(1, dimension + 1).double().reciprocal().diag())


def scored(generator, noise):
    """The distance of one sample, and the influences of its images."""
    features = generator(noise)
    found = frechet(Statistics.of(features), reference(noise.shape[1]))
    return found.distance, found.influences(features)


@functools.cache
def simulated(generator, num, dimension, repetitions=REPETITIONS):
    """Distances and standard errors of samples that are drawn afresh each time."""
    results = [scored(generator, normal(num, dimension, seed=seed)) for seed in range(repetitions)]
    return np.array([distance for distance, _ in results]), np.array([standard_error(i) for _, i in results])


def paired(first, second, num, dimension, repetitions=REPETITIONS):
    """Differences of the distances of two generators driven by the same noise, and the standard errors by pair."""
    differences, errors = [], []
    for seed in range(repetitions):
        (a, of_a), (b, of_b) = (scored(generator, normal(num, dimension, seed=seed)) for generator in (first, second))
        differences.append(a - b)
        errors.append(standard_error(of_a - of_b))
    return np.array(differences), np.array(errors)


def covered(values, errors, truth):
    """The share of 95% intervals that the truth is in."""
    intervals = [interval(value, error) for value, error in zip(values, errors, strict=True)]
    return np.mean([low <= truth <= high for low, high in intervals])


GENERATORS = [Generator(0.2, 1.1), Generator(0.5, 1.0), Generator(0.1, 0.7)]


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("num", [200, 800])
def test_intervals_cover_the_expected_distance_at_this_number_of_images(generator, num):
    distances, errors = simulated(generator, num, 8)
    assert 0.92 <= covered(distances, errors, truth=distances.mean()) <= 0.98


def test_intervals_do_not_cover_the_distance_at_infinitely_many_images():
    generator = Generator(0.0, 1.05)  # so near that what few images add is most of the distance
    distances, errors = simulated(generator, 200, 32, repetitions=200)
    truth = 0.05**2 * float(torch.arange(1, 33).double().reciprocal().sum())
    assert distances.mean() > 5 * truth
    assert covered(distances, errors, truth) == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Generator(0.2, 1.1), Generator(0.25, 1.12)),
        (Generator(0.3, 1.2), Generator(0.3, 1.15)),
        (Generator(0.5, 1.0), Generator(0.2, 0.8)),
    ],
)
def test_paired_intervals_cover_the_expected_difference(first, second):
    differences, errors = paired(first, second, 300, 8)
    assert 0.92 <= covered(differences, errors, truth=differences.mean()) <= 0.98


def test_paired_intervals_of_equally_good_generators_cover_0():
    differences, errors = paired(Generator(0.3, 1.1), Generator(-0.3, 1.1), 300, 8)  # mirrored: equal by symmetry
    assert 0.92 <= covered(differences, errors, truth=0) <= 0.98


def test_paired_intervals_of_similar_generators_are_much_tighter():
    first, second = Generator(0.2, 1.1), Generator(0.22, 1.12)
    noise = normal(300, 8)
    of_first, of_second = (scored(generator, noise)[1] for generator in (first, second))
    apart = np.hypot(standard_error(of_first), standard_error(of_second))
    assert standard_error(of_first - of_second) < apart / 5


def test_unpaired_intervals_of_correlated_scores_cover_too_much():
    first, second = Generator(0.2, 1.1), Generator(0.22, 1.12)
    differences, _ = paired(first, second, 300, 8, repetitions=200)
    apart = np.hypot(simulated(first, 300, 8, repetitions=200)[1], simulated(second, 300, 8, repetitions=200)[1])
    assert covered(differences, apart, truth=differences.mean()) == 1


@pytest.mark.parametrize("generator", GENERATORS)
def test_standard_error_is_the_spread_over_fresh_samples(generator):
    distances, errors = simulated(generator, 800, 8)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(distances.std(ddof=1), rel=0.1)


@pytest.mark.parametrize("generator", GENERATORS)
def test_standard_error_holds_where_images_are_5_times_the_dimensions(generator):  # as 10,000 are of Inception's
    distances, errors = simulated(generator, 320, 64, repetitions=250)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(distances.std(ddof=1), rel=0.15)
    assert 0.92 <= covered(distances, errors, truth=distances.mean()) <= 0.98


def delete_group_jackknife(features, groups):
    """The standard error from the distances with one group of images left out at a time (Shao and Tu 1995)."""
    parts = features.chunk(groups)
    left_out = [torch.cat([*parts[:index], *parts[index + 1 :]]) for index in range(groups)]
    distances = np.array([frechet_distance(Statistics.of(rest), reference(features.shape[1])) for rest in left_out])
    return np.sqrt((groups - 1) * distances.var())


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("dimension", [2, 8])
def test_standard_error_is_a_delete_group_jackknifes(generator, dimension):
    noise = normal(2000, dimension, seed=1)
    assert standard_error(scored(generator, noise)[1]) == pytest.approx(
        delete_group_jackknife(generator(noise), groups=400), rel=0.15
    )


CLASSES = 4


def scored_by_class(generator, noise):
    """The same for images that are asked for classes in turn, around means of their own."""
    labels = torch.arange(len(noise)) % CLASSES
    features = generator(noise) + normal(CLASSES, noise.shape[1], seed=1)[labels]
    found = frechet(Statistics.of(features), reference(noise.shape[1]))
    return found.distance, found.influences(features), labels


def test_intervals_cover_with_fixed_labels_and_are_too_wide_for_drawn_ones():
    generator = Generator(0.2, 0.8)
    distances, errors, naive = [], [], []
    for seed in range(REPETITIONS):
        distance, influences, labels = scored_by_class(generator, normal(200, 8, seed=seed))
        distances.append(distance)
        errors.append(standard_error(within_classes(influences, labels)))
        naive.append(standard_error(influences))
    truth = np.mean(distances)
    assert 0.92 <= covered(np.array(distances), np.array(errors), truth) <= 0.98
    assert covered(np.array(distances), np.array(naive), truth) > 0.99
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(distances, ddof=1), rel=0.1)


def test_paired_intervals_cover_where_labels_are_dealt_out():
    first, second = Generator(0.2, 0.8), Generator(0.3, 0.9)
    differences, errors = [], []
    for seed in range(REPETITIONS):
        noise = normal(200, 8, seed=seed)
        (a, of_a, labels), (b, of_b, _) = (scored_by_class(generator, noise) for generator in (first, second))
        differences.append(a - b)
        errors.append(standard_error(within_classes(of_a, labels) - within_classes(of_b, labels)))
    assert 0.92 <= covered(np.array(differences), np.array(errors), np.mean(differences)) <= 0.98
