"""Feature statistics that merge, the Frechet distance against closed forms, and influences."""

import functools
import math

import mpmath
import numpy as np
import pytest
import torch
from pytorch_fid import fid_score
from scipy import linalg

from edm.metrics import fid
from edm.metrics.fid import Reference, Statistics, factor, frechet, frechet_distance

scipys_deprecation = pytest.mark.filterwarnings("ignore:.*disp:DeprecationWarning")


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_gaussian(mean, covariance, count=1000):
    return Statistics(count, mean.double(), covariance.double() * (count - 1))


def rotated(variances, seed=7):
    """A covariance with these eigenvalues."""
    basis = torch.linalg.qr(normal(len(variances), len(variances), seed=seed)).Q
    covariance = (basis * variances) @ basis.T
    return (covariance + covariance.T) / 2


def mixture(statistics, image, weight):
    """Moments of (1 - weight) of a distribution and weight of one image."""
    mean, centred = statistics.mean, image - statistics.mean
    covariance = (1 - weight) * (statistics.covariance + weight * torch.outer(centred, centred))
    return of_gaussian(mean + weight * centred, covariance, statistics.count)


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


BOTH = pytest.mark.parametrize("distance", [frechet_distance, lambda a, b: frechet(a, Reference.of(b)).distance])


def decaying(dimension, condition):
    return torch.logspace(0, -math.log10(condition), dimension, dtype=torch.float64)


def without(variances, which):
    return variances.clone().index_fill_(0, torch.arange(len(variances))[which], 0)


def shuffled(values, seed=5):
    return values[torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))]


HALF, THIRD = slice(1, None, 2), slice(0, None, 3)
NEARLY = (1 + 1e-5) ** 2
GAUSSIANS = {  # variances of the generated and of the real images along the same axes
    "full rank": lambda v: (shuffled(v), v),
    "generated singular": lambda v: (without(shuffled(v), HALF), v),
    "real singular": lambda v: (v, without(shuffled(v), HALF)),
    "same null space": lambda v: (1.3 * without(v, HALF), without(v, HALF)),
    "other null spaces": lambda v: (without(shuffled(v), THIRD), without(v, HALF)),
    "nothing in common": lambda v: (without(v, slice(1, None, 2)), without(v, slice(0, None, 2))),
    "nearly equal": lambda v: (NEARLY * v, v),
    "nearly equal and singular": lambda v: (NEARLY * without(v, THIRD), without(v, THIRD)),
    "one point": lambda v: (0 * v, v),
}


@BOTH
@pytest.mark.parametrize("shift", [0.0, 0.3])
@pytest.mark.parametrize("dimension", [4, 70])
@pytest.mark.parametrize("condition", [10, 1e6])
@pytest.mark.parametrize("case", GAUSSIANS)
def test_distance_of_gaussians_on_the_same_axes_has_its_closed_form(case, condition, dimension, shift, distance):
    generated, real = GAUSSIANS[case](decaying(dimension, condition))
    mean = torch.full_like(real, shift)
    expected = (generated.sqrt() - real.sqrt()).square().sum() + shift**2 * dimension
    found = distance(of_gaussian(mean, rotated(generated)), of_gaussian(0 * mean, rotated(real)))
    assert found == pytest.approx(float(expected), rel=1e-8, abs=0)


@BOTH
@pytest.mark.parametrize("condition", [1, 1e4, 1e8])
@pytest.mark.parametrize("nearness", [1, 1e-5])
def test_distance_is_that_of_50_digits(condition, nearness, distance):
    real = rotated(decaying(6, condition))
    generated = real + nearness * (rotated(shuffled(decaying(6, condition)), seed=8) - real)
    a, b = of_gaussian(normal(6) * nearness, generated), of_gaussian(torch.zeros(6), real)
    with mpmath.workdps(50):
        s_a, s_b = (mpmath.matrix(s.covariance.tolist()) for s in (a, b))
        root = mpmath.fsum(mpmath.sqrt(value) for value in mpmath.eig(s_a * s_b, left=False, right=False))
        squared = mpmath.fsum((x - y) ** 2 for x, y in zip(a.mean.tolist(), b.mean.tolist(), strict=True))
        traces = mpmath.fsum(s_a[i, i] + s_b[i, i] for i in range(6))
        expected = float(mpmath.re(squared + traces - 2 * root))
    assert distance(a, b) == pytest.approx(expected, rel=1e-8, abs=0)


@BOTH
@pytest.mark.parametrize(("num", "dimension"), [(2, 5), (30, 40), (41, 40), (500, 40), (300, 1)])
def test_distance_to_oneself_is_0_to_the_square_of_the_rounding(num, dimension, distance):
    a = Statistics.of(normal(num, dimension) * decaying(dimension, 1e3) + 3)
    assert 0 <= distance(a, a) <= 1e-20 * float(a.covariance.trace())


@BOTH
def test_features_that_never_vary_neither_add_nor_take(distance):
    a, b = normal(60, 5), 2 * normal(60, 5, seed=1)
    dead = [torch.cat([features, torch.zeros(60, 2)], dim=1) for features in (a, b)]
    found = distance(*map(Statistics.of, dead))
    assert found == pytest.approx(frechet_distance(Statistics.of(a), Statistics.of(b)), rel=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_factor_is_as_exact_for_small_features_as_for_large(rank):
    scale = torch.tensor([1e-9, 1.0, 1e6], dtype=torch.float64)
    correlated = rotated(without(torch.tensor([3.0, 1, 2]).double(), slice(rank, None)))
    found = factor(correlated * torch.outer(scale, scale))
    assert found.shape == (3, rank)
    torch.testing.assert_close(found @ found.T / torch.outer(scale, scale), correlated, rtol=0, atol=1e-14)


@BOTH
def test_an_ordinary_distance_needs_no_singular_value_decomposition(distance, monkeypatch):
    a, b = Statistics.of(normal(200, 30)), Statistics.of(1.1 * normal(300, 30, seed=1))
    found = distance(a, b)
    monkeypatch.setattr(fid, "TOLERANCE", 0)
    exact = distance(a, b)
    monkeypatch.undo()
    monkeypatch.setattr(fid, "_by_singular_vectors", None)
    assert distance(a, b) == found == pytest.approx(exact, rel=1e-12)


@BOTH
@pytest.mark.parametrize("condition", [1e2, 1e5, 1e8])
@pytest.mark.parametrize("ascending", [False, True])
def test_eigenvalues_that_rounding_spoils_are_not_used(ascending, condition, distance, monkeypatch):
    deviations = decaying(64, condition).sqrt()  # ascending is the order in which the eigenvalues come out worst
    deviations = deviations.flip(0) if ascending else deviations
    a, b = (Statistics.of(scale * normal(320, 64, seed=seed) * deviations) for seed, scale in ((0, 1.1), (1, 1.0)))
    found = distance(a, b)
    monkeypatch.setattr(fid, "TOLERANCE", 0)
    assert found == pytest.approx(distance(a, b), rel=1e-9, abs=0)


@pytest.mark.parametrize("dimension", [1, 30, 600])  # 600 is more than one block
@pytest.mark.parametrize("deficient", [False, True])
def test_the_compressed_covariance_is_that_of_plain_products(dimension, deficient):
    generated = Statistics.of(normal(2 * dimension + 2, dimension))
    reference = Reference.of(Statistics.of(normal(dimension // 2 + 2 if deficient else 3 * dimension + 2, dimension)))
    found = fid._compress(generated, reference)
    assert found is not None
    expected = reference.factor.T @ generated.covariance @ reference.factor
    torch.testing.assert_close(found.lower.tril(), expected.tril(), rtol=0, atol=1e-12)
    if deficient and dimension > 2:
        assert found.log_determinant is None
    else:
        assert found.log_determinant == pytest.approx(float(expected.logdet()), rel=1e-9, abs=1e-9)


def test_splits_share_the_factor_of_a_singular_covariance(monkeypatch):
    generated, references = (
        Statistics.of(normal(5, 9)),
        [Reference.of(Statistics.of(normal(40, 9, seed=i))) for i in (1, 2)],
    )
    apart = [frechet_distance(Statistics.of(normal(5, 9)), reference) for reference in references]
    factored = []
    monkeypatch.setattr(fid, "factor", lambda covariance: factored.append(covariance) or factor(covariance))
    assert [frechet_distance(generated, reference) for reference in references] == apart
    assert len(factored) == 1


@pytest.mark.parametrize("rank", [1, 4, 8, 9])
def test_factor_has_a_column_for_every_direction(rank):
    for seed in range(20):
        covariance = Statistics.of(normal(50, rank, seed=seed) @ normal(rank, 9, seed=seed + 1)).covariance
        found = factor(covariance)
        assert found.shape == (9, rank)
        torch.testing.assert_close(found @ found.T, covariance, rtol=0, atol=1e-13 * float(covariance.trace()))


@pytest.mark.parametrize("refused", [False, True])  # by Cholesky, as at the edge of being singular
def test_a_square_factor_is_lower_triangular(refused, monkeypatch):
    a, b = Statistics.of(normal(60, 8)), Statistics.of(1.2 * normal(50, 8, seed=1))
    expected = frechet_distance(a, b)
    if refused:
        monkeypatch.setattr(fid, "_cholesky", lambda covariance: None)
    reference = Reference.of(b)
    assert reference.factor.shape == (8, 8)
    assert not reference.factor.triu(1).any()
    torch.testing.assert_close(reference.factor @ reference.factor.T, b.covariance, rtol=0, atol=1e-14)
    monkeypatch.undo()
    assert frechet_distance(a, reference) == pytest.approx(expected, rel=1e-12)


def test_factor_of_a_feature_and_its_copy_is_singular():
    features = normal(50, 4)
    assert factor(Statistics.of(torch.cat([features, features], dim=1)).covariance).shape == (8, 4)


def test_a_reference_scores_as_its_statistics_do():
    a, b = Statistics.of(normal(90, 7)), Statistics.of(2 * normal(80, 7, seed=1))
    references = [
        Reference.of(b),
        Reference.of_moments(b.mean, b.covariance),
        Reference.of_moments(b.mean, b.covariance, 80),
    ]
    assert [reference.count for reference in references] == [80, None, 80]
    assert {frechet_distance(a, reference) for reference in references} == {frechet_distance(a, b)}


@pytest.mark.parametrize("count", [None, 12])
def test_a_reference_survives_a_round_trip_through_tensors(count):
    reference = Reference.of_moments(normal(3).float(), rotated(torch.tensor([1.0, 2, 0]).double()).float(), count)
    tensors = reference.tensors()
    assert all(value.is_contiguous() for value in tensors.values())
    found = Reference.from_tensors(tensors)
    assert found.count == count
    assert all(torch.equal(getattr(found, name), getattr(reference, name)) for name in ("mean", "covariance", "factor"))


@BOTH
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (Statistics.of(normal(9, 3)), Statistics.of(normal(9, 4)), "statistics of 3 features .* a reference of 4"),
        (Statistics.of(normal(1, 3)), Statistics.of(normal(9, 3)), "at least 2 images, and there is 1"),
        (Statistics.of(normal(9, 3)), Statistics.of(normal(1, 3)), "at least 2 images, and there is 1"),
    ],
)
def test_what_has_no_distance_is_refused(a, b, message, distance):
    with pytest.raises(ValueError, match=message):
        distance(a, b)


MADE = {  # generated, real, whether the generated images leave out directions of the real ones
    "full rank": (normal(60, 6) @ normal(6, 6, seed=3), 0.5 + normal(90, 6, seed=1), False),
    "few generated": (normal(5, 6), 0.5 + normal(90, 6, seed=1), True),
    "few real": (normal(60, 6), 0.5 + normal(4, 6, seed=1), False),
    "few of both": (normal(5, 6), 0.5 + normal(4, 6, seed=1), False),
    "fewer generated": (normal(4, 6), 0.5 + normal(5, 6, seed=1), True),
    "a dead feature": (normal(60, 6) * torch.tensor([0, 1, 1, 1, 1, 1]), 0.5 + normal(90, 6, seed=1), True),
    "dead in both": (
        normal(60, 6) * torch.tensor([0, 1, 1, 1, 1, 1]),
        normal(90, 6) * torch.tensor([0, 2, 1, 1, 1, 1]),
        False,
    ),
}


@pytest.mark.parametrize("case", MADE)
def test_influences_are_the_distances_derivative_by_an_images_weight(case):
    features, real, _ = MADE[case]
    generated, reference = Statistics.of(features), Reference.of(Statistics.of(real))
    found, step = frechet(generated, reference).influences(features), 1e-4
    expected = [
        (
            frechet_distance(mixture(generated, image, step), reference)
            - frechet_distance(mixture(generated, image, -step), reference)
        )
        / (2 * step)
        for image in features
    ]
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=1e-5, atol=1e-5 * float(found.abs().max()))


@pytest.mark.parametrize("case", MADE)
def test_a_distance_tells_whether_directions_are_missing(case):
    features, real, singular = MADE[case]
    assert frechet(Statistics.of(features), Reference.of(Statistics.of(real))).singular is singular


def test_influences_are_those_of_the_optimal_transport_map():
    features, real = normal(50, 5) @ normal(5, 5, seed=2), Statistics.of(normal(80, 5, seed=1) + 1)
    generated = Statistics.of(features)
    root = np.real(linalg.sqrtm(real.covariance.numpy()))
    transport = root @ np.linalg.inv(np.real(linalg.sqrtm(root @ generated.covariance.numpy() @ root))) @ root
    gradient = np.eye(5) - transport
    centred = (features - generated.mean).numpy()
    expected = 2 * centred @ (generated.mean - real.mean).numpy()
    expected += np.einsum("ni,ij,nj->n", centred, gradient, centred) - np.trace(gradient @ generated.covariance.numpy())
    found = frechet(generated, Reference.of(real)).influences(features.float())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)  # features were rounded to float32


def test_influences_do_not_depend_on_how_images_are_grouped():
    features = normal(2500, 4)
    found = frechet(Statistics.of(features), Reference.of(Statistics.of(2 * normal(100, 4, seed=1))))
    parts = torch.cat([found.influences(part) for part in features.split([1, 1299, 1200])])
    torch.testing.assert_close(parts, found.influences(features), rtol=1e-12, atol=1e-12)


def test_the_average_influence_vanishes():
    features = normal(4000, 4)
    found = frechet(Statistics.of(features), Reference.of(Statistics.of(2 * normal(100, 4, seed=1)))).influences(
        features
    )
    assert abs(float(found.mean())) < 1e-3 * float(found.std())
