"""Feature statistics that merge, and the Frechet distance against pytorch-fid's and closed forms."""

import functools
import math

import numpy as np
import pytest
import torch
from pytorch_fid import fid_score
from scipy import linalg

from edm.fid import Statistics, factor, frechet_distance

scipys_deprecation = pytest.mark.filterwarnings("ignore:.*disp:DeprecationWarning")


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_gaussian(mean, covariance, count=1000):
    return Statistics(count, mean.double(), covariance.double() * (count - 1))


@pytest.fixture
def pytorch_fid_distance(monkeypatch):
    """pytorch-fid's own distance; scipy deprecated, then removed, the argument `disp` that it calls sqrtm with."""
    original = linalg.sqrtm

    def sqrtm(matrix, disp=True):
        return original(matrix) if disp else (original(matrix), None)

    def distance(a, b):
        return fid_score.calculate_frechet_distance(
            a.mean.numpy(), a.covariance.numpy(), b.mean.numpy(), b.covariance.numpy()
        )

    try:
        linalg.sqrtm(np.eye(2), disp=False)
    except TypeError:
        monkeypatch.setattr(fid_score.linalg, "sqrtm", sqrtm)
    return distance


@scipys_deprecation
@pytest.mark.parametrize("dimension", [2, 3, 64])
def test_distance_is_pytorch_fids(pytorch_fid_distance, dimension):
    mixing = normal(dimension, dimension, seed=2)
    a = Statistics.of(normal(1000, dimension))
    b = Statistics.of(normal(1500, dimension, seed=1) @ mixing + 0.3)
    assert frechet_distance(a, b) == pytest.approx(pytorch_fid_distance(a, b), rel=1e-6)


@scipys_deprecation
def test_distance_of_singular_covariances_is_pytorch_fids(pytorch_fid_distance):
    a = Statistics.of(normal(20, 32))
    b = Statistics.of(2 * normal(25, 32, seed=1) + 1)
    assert np.linalg.matrix_rank(a.covariance.numpy()) == 19
    assert frechet_distance(a, b) == pytest.approx(pytorch_fid_distance(a, b), rel=1e-5)  # its root is that inexact


@scipys_deprecation
@pytest.mark.parametrize("num", [500, 10])
def test_distance_of_a_set_to_itself_is_0(pytorch_fid_distance, num):
    a = Statistics.of(5 * normal(num, 16) + 3)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)
    assert pytorch_fid_distance(a, a) == pytest.approx(0, abs=1e-4)


def test_distance_of_commuting_gaussians_has_its_closed_form():
    basis = torch.linalg.qr(normal(6, 6)).Q
    first, second = torch.tensor([1.0, 4, 9, 0, 2, 1e-6]).double(), torch.tensor([9.0, 1, 0, 0, 2, 1e6]).double()
    means = normal(2, 6, seed=1)
    a = of_gaussian(means[0], basis @ first.diag() @ basis.T)
    b = of_gaussian(means[1], basis @ second.diag() @ basis.T)
    expected = ((means[0] - means[1]) ** 2).sum() + ((first.sqrt() - second.sqrt()) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-9)


def test_distance_of_gaussians_that_do_not_commute_has_its_closed_form():
    s1, s2 = torch.tensor([[2.0, 1.0], [1.0, 3.0]]), torch.tensor([[5.0, -1.0], [-1.0, 0.5]])
    product = s1 @ s2  # for two by two matrices tr(sqrt(M)) = sqrt(tr(M) + 2 sqrt(det(M)))
    root_trace = math.sqrt(float(product.trace()) + 2 * math.sqrt(float(torch.linalg.det(product))))
    expected = 1.0 + 5.0 + 5.5 - 2 * root_trace
    found = frechet_distance(of_gaussian(torch.zeros(2), s1), of_gaussian(torch.tensor([0.6, 0.8]), s2))
    assert found == pytest.approx(expected, rel=1e-6)


def test_distance_of_a_translated_set_is_the_translation_squared():
    features, shift = normal(300, 8), normal(8, seed=1)
    found = frechet_distance(Statistics.of(features), Statistics.of(features + shift))
    assert found == pytest.approx(float(shift @ shift), rel=1e-9)


def test_distance_is_symmetric():
    a, b = Statistics.of(normal(40, 12)), Statistics.of(normal(9, 12, seed=1) + 0.5)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, b) > 1


def test_factor_squares_to_the_covariance_even_if_singular():
    covariance = Statistics.of(normal(5, 9)).covariance
    lower = factor(covariance)
    assert lower.isfinite().all()
    torch.testing.assert_close(lower @ lower.T, covariance, rtol=0, atol=1e-13)


def test_statistics_are_those_of_numpy():
    features = 3 * normal(50, 4) - 7
    found = Statistics.of(features)
    assert found.count == 50
    np.testing.assert_allclose(found.mean, features.numpy().mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(features.numpy(), rowvar=False), rtol=1e-12)


def test_statistics_of_float32_features_are_computed_in_float64():
    features = (1000 + normal(5000, 2)).float()
    found = Statistics.of(features)
    assert found.mean.dtype == found.scatter.dtype == torch.float64
    np.testing.assert_allclose(found.covariance, np.cov(features.double().numpy(), rowvar=False), rtol=1e-10)


def merged(parts):
    return functools.reduce(Statistics.merge, map(Statistics.of, parts))


@pytest.mark.parametrize("sizes", [[100], [50, 50], [1, 99], [99, 1], [3, 40, 7, 1, 49], [1] * 100])
@pytest.mark.parametrize("backwards", [False, True])
def test_merged_statistics_are_those_of_the_whole(sizes, backwards):
    features = 2 * normal(100, 5) + torch.tensor([10.0, 0, -3, 1, 100], dtype=torch.float64)
    parts = list(features.split(sizes))
    found, whole = merged(parts[::-1] if backwards else parts), Statistics.of(features)
    assert found.count == 100
    torch.testing.assert_close(found.mean, whole.mean, rtol=1e-12, atol=0)
    scale = whole.scatter.diagonal().sqrt()
    correlations = [s.scatter / torch.outer(scale, scale) for s in (found, whole)]
    torch.testing.assert_close(*correlations, rtol=0, atol=1e-12)


def test_merging_is_associative():
    parts = [Statistics.of(normal(num, 3, seed=num) + num) for num in (4, 9, 30)]
    left, right = parts[0].merge(parts[1]).merge(parts[2]), parts[0].merge(parts[1].merge(parts[2]))
    torch.testing.assert_close(left.mean, right.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(left.scatter, right.scatter, rtol=1e-11, atol=0)


def test_statistics_survive_a_round_trip_through_tensors():
    statistics = Statistics.of(normal(10, 3))
    tensors = statistics.tensors()
    assert all(isinstance(value, torch.Tensor) for value in tensors.values())
    found = Statistics.from_tensors(tensors)
    assert found.count == 10
    assert torch.equal(found.mean, statistics.mean)
    assert torch.equal(found.scatter, statistics.scatter)
