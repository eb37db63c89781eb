"""The kernel distance against torch-fidelity's and a plain U-statistic, its pieces, its influences and its error."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kernel_poly, mmd2

from edm.metrics.kid import KernelDistance, kernel_distance, mean_kernel


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plain(generated, real):
    """The U-statistic, pair by pair."""

    def kernel(x, y):
        return (float(x @ y) / len(x) + 1) ** 3

    n, m = len(generated), len(real)
    within = sum(kernel(generated[i], generated[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    truth = sum(kernel(real[i], real[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within + truth - 2 * sum(kernel(x, y) for x in generated for y in real) / (n * m)


class Read(Sequence[torch.Tensor]):
    """Pieces that count how often they are read, and only know how to be read one by one."""

    def __init__(self, pieces):
        self.pieces, self.reads = list(pieces), 0

    def __len__(self):
        return len(self.pieces)

    def __getitem__(self, index):
        assert isinstance(index, int)
        if index >= len(self.pieces):
            raise IndexError
        self.reads += 1
        return self.pieces[index]


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("dimension", [1, 3, 64])
def test_distance_of_equally_many_images_is_torch_fidelitys(dimension, shift):
    generated, real = normal(60, dimension) + shift, normal(60, dimension, seed=1)
    settings = {"kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1}
    pairs = ((generated, generated), (generated, real), (real, real))
    k_xx, k_xy, k_yy = (kernel_poly(x.numpy(), y.numpy(), **settings) for x, y in pairs)
    expected = mmd2(k_xx, k_xy, k_yy)
    assert kernel_distance([generated], [real]).value == pytest.approx(expected, rel=1e-11, abs=1e-13)


@pytest.mark.parametrize(("num", "num_real"), [(2, 2), (7, 13), (20, 5)])
def test_distance_is_the_plain_u_statistic(num, num_real):
    generated, real = normal(num, 4), 2 * normal(num_real, 4, seed=1)
    assert kernel_distance([generated], [real]).value == pytest.approx(plain(generated, real), rel=1e-12)


@pytest.mark.parametrize("sizes", [[1] * 50, [50], [7, 30, 13], [49, 1]])
@pytest.mark.parametrize("group", [1, 10, 40, 4096])
def test_distance_does_not_depend_on_pieces_nor_on_what_is_held(sizes, group, monkeypatch):
    generated, real = normal(50, 6) + 0.1, normal(50, 6, seed=1)
    whole = kernel_distance([generated], [real])
    monkeypatch.setattr("edm.metrics.neighbours.GROUP", group)
    found = kernel_distance(Read(generated.split(sizes)), Read(real.split(sizes[::-1])))
    assert found.value == pytest.approx(whole.value, abs=1e-13)
    torch.testing.assert_close(found.influences, whole.influences, rtol=0, atol=1e-13)


def test_a_real_mean_known_before_changes_nothing():
    generated, real = normal(30, 5), [normal(20, 5, seed=1), normal(4, 5, seed=2)]
    found = kernel_distance([generated], real, real_mean=mean_kernel(real))
    assert found.value == kernel_distance([generated], real).value
    products = torch.cat(real) @ torch.cat(real).T / 5 + 1
    expected = (products**3).fill_diagonal_(0).sum() / (24 * 23)
    assert mean_kernel(real) == pytest.approx(float(expected), rel=1e-12)


def test_influences_are_the_distances_derivative_by_an_images_weight():
    generated, real = normal(8, 3), normal(11, 3, seed=1)
    weights = torch.full((8,), 1 / 8, dtype=torch.float64, requires_grad=True)
    within = ((generated @ generated.T / 3 + 1) ** 3).fill_diagonal_(0) * 8 / 7  # the mean is then over pairs i != j
    across = ((generated @ real.T / 3 + 1) ** 3).mean(dim=1)
    (weights @ within @ weights - 2 * weights @ across).backward()
    assert weights.grad is not None
    expected = weights.grad - weights.grad.mean()
    torch.testing.assert_close(kernel_distance([generated], [real]).influences, expected, rtol=1e-11, atol=1e-12)


def test_distance_of_two_halves_of_one_set_averages_0():
    values = [
        kernel_distance([normal(40, 4, seed=seed)], [normal(40, 4, seed=1000 + seed)]).value for seed in range(400)
    ]
    assert min(values) < 0
    assert abs(np.mean(values)) < 4 * np.std(values) / 20


def spread_and_error(shift, repetitions=300):
    real = [normal(200, 4, seed=9999)]
    real_mean = mean_kernel(real)
    found = [kernel_distance([normal(150, 4, seed=s) + shift], real, real_mean=real_mean) for s in range(repetitions)]
    return np.std([f.value for f in found], ddof=1), np.sqrt(np.mean([f.standard_error**2 for f in found]))


def test_standard_error_is_the_spread_over_fresh_images():
    spread, error = spread_and_error(shift=0.5)
    assert error == pytest.approx(spread, rel=0.12)


def test_standard_error_of_equal_distributions_errs_on_the_large_side():
    spread, error = spread_and_error(shift=0.0)
    assert 0.9 * spread < error < 1.1 * 2**0.5 * spread


def test_features_of_float32_are_computed_in_float64():
    generated, real = normal(20, 3).float(), normal(20, 3, seed=1).float()
    found = kernel_distance([generated], [real])
    assert found.influences.dtype == torch.float64
    assert found.value == kernel_distance([generated.double()], [real.double()]).value


def test_memory_holds_a_group_not_the_set(monkeypatch):
    monkeypatch.setattr("edm.metrics.neighbours.GROUP", 10)
    generated, real = Read(normal(100, 2).split(5)), Read(normal(60, 2, seed=1).split(5))
    kernel_distance(generated, real, real_mean=0.0)
    assert generated.reads <= 20 * 20 / 4 + 100  # half of the pairs of groups, and a few to look at shapes
    assert real.reads <= 12 * 10 + 20


@pytest.mark.parametrize(
    ("generated", "real", "message"),
    [
        ([normal(1, 3)], [normal(5, 3)], "at least 2 generated images, and there are 1"),
        ([normal(5, 3)], [normal(1, 3)], "at least 2 real images, and there are 1"),
        ([], [normal(5, 3)], "at least 2 generated images, and there are 0"),
        ([normal(5, 3)], [normal(5, 4)], "features of 3 and of 4 dimensions"),
    ],
)
def test_what_has_no_distance_is_refused(generated, real, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance(generated, real)


def test_standard_error_is_that_of_the_influences():
    found = KernelDistance(0.1, torch.tensor([1.0, -1.0, 0.0]).double())
    assert found.standard_error == pytest.approx((1 / 3) ** 0.5)
