"""The Frechet distance at infinitely many images: its bias, its standard error and its pieces."""

import math

import numpy as np
import pytest
import torch

from edm.metrics import fid_infinity as module
from edm.metrics.fid import Reference, Statistics, frechet_distance
from edm.metrics.fid_infinity import fid_infinity
from tests.edm.metrics.test_fid import normal, rotated


def population(dimension=16):
    """A reference with decaying variances, a generator noise -> features, and their distance."""
    variances = torch.arange(1, dimension + 1).double().reciprocal()
    reference = Reference.of_moments(torch.zeros(dimension), rotated(variances))
    basis = torch.linalg.qr(normal(dimension, dimension, seed=7)).Q
    return (
        reference,
        lambda noise: (1.1 * noise * variances.sqrt() + 0.05) @ basis.T,
        dimension * 0.05**2 + 0.01 * float(variances.sum()),
    )


def test_fid_infinity_removes_the_bias_of_few_images():
    reference, generate, truth = population()
    biased, found = [], []
    for seed in range(60):
        features = generate(normal(200, 16, seed=seed))
        biased.append(frechet_distance(Statistics.of(features), reference))
        found.append(fid_infinity([features], reference, seed))
    assert np.mean(biased) > 2 * truth
    bias = float(np.mean(biased)) - truth
    assert np.mean([f.value for f in found]) == pytest.approx(truth, abs=0.3 * bias)
    spread = np.std([f.value for f in found], ddof=1)
    assert np.mean([f.standard_error for f in found]) == pytest.approx(spread, rel=0.25)


def test_fid_infinitys_error_is_the_spread_where_labels_are_dealt_out():
    """Classes far apart, the same number of images of each: their distances move no score from one draw to the next."""
    reference, generate, _ = population(8)
    labels = torch.arange(240) % 4
    centres = 2 * normal(4, 8, seed=3)
    draws = [generate(normal(240, 8, seed=seed)) + centres[labels] for seed in range(60)]
    found = [fid_infinity([features], reference, 0, labels) for features in draws]
    spread = np.std([f.value for f in found], ddof=1)
    assert np.mean([f.standard_error for f in found]) == pytest.approx(spread, rel=0.25)
    assert fid_infinity(draws[:1], reference, 0).standard_error > 1.5 * spread


def test_fid_infinity_depends_on_images_and_seed_alone():
    reference, generate, _ = population()
    features = generate(normal(150, 16, seed=1))
    whole, other = fid_infinity([features], reference, 0), fid_infinity([features], reference, 1)
    for pieces in (features.split(40), features.split([1, 149]), list(features.split(1))):
        cut = fid_infinity(pieces, reference, 0)
        assert cut.value == pytest.approx(whole.value, rel=1e-9)
        assert cut.standard_error == pytest.approx(whole.standard_error, rel=1e-9)
    assert 0 < abs(other.value - whole.value) < 3 * whole.standard_error


@pytest.mark.parametrize("sizes", [[4, 8], [64, 91, 160, 640]])
def test_intercept_weights_are_those_of_a_least_squares_line(sizes):
    values = normal(len(sizes)).numpy()
    expected = np.polyfit(1 / np.array(sizes), values, 1)[1]
    assert float(np.dot(module._intercept_weights(sizes), values)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("num", "dimension"), [(64, 16), (50_000, 2048), (8_192, 2048), (8, 1), (200, 3)])
def test_prefixes_are_even_in_1_over_n_and_at_least_twice_the_dimension(num, dimension):
    sizes = module._prefix_sizes(num, dimension)
    assert sizes[-1] == num
    assert sizes[0] == max(2 * dimension, math.ceil(num / 10), 4)
    if num > 1000:
        np.testing.assert_allclose(sizes, 1 / np.linspace(1 / sizes[0], 1 / num, 10), atol=0.5)
    assert len(sizes) >= 3


@pytest.mark.parametrize(("num", "dimension", "least"), [(63, 16, 64), (7, 1, 8)])
def test_fid_infinity_refuses_few_images(num, dimension, least):
    reference = Reference.of(Statistics.of(normal(200, dimension)))
    with pytest.raises(ValueError, match=f"needs at least {least} images, and there are {num}"):
        fid_infinity([normal(num, dimension)], reference, 0)
