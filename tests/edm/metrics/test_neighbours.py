"""Nearest neighbours against brute force; precision, recall, density and coverage against it and the prdc package."""

import contextlib
import io

import numpy as np
import pytest
import torch
from prdc import compute_prdc

from edm.metrics.neighbours import Prdc, in_groups, nearest, prdc, squared_radii


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pixels(num, dimension, seed=0, levels=256):
    return torch.randint(levels, (num, dimension), generator=torch.Generator().manual_seed(seed)).float()


def all_squared(x, y):
    return (x.double()[:, None] - y.double()[None]).square().sum(dim=2)


def plain(generated, real, k):
    """By the definitions, from all differences."""
    radii = all_squared(generated, generated).sort(dim=1).values[:, k]
    real_radii = all_squared(real, real).sort(dim=1).values[:, k]
    squared = all_squared(generated, real)
    inside, recalled = squared < real_radii, squared < radii[:, None]
    shares = [inside.any(dim=1), recalled.any(dim=0), inside, inside.any(dim=0)]
    precision, recall, density, coverage = (float(share.double().mean()) for share in shares)
    return Prdc(precision, recall, density * len(real) / k, coverage)


COPIES = normal(7, 5)
SETS = {
    "normal": (normal(40, 6), normal(90, 6, seed=1)),
    "more dimensions than rows": (normal(9, 200), normal(20, 200, seed=1)),
    "one dimension": (normal(30, 1), normal(80, 1, seed=1)),
    "pixels": (pixels(20, 48), pixels(60, 48, seed=1)),
    "ties everywhere": (pixels(30, 2, levels=3), pixels(70, 2, seed=1, levels=3)),
    "copies of each other": (COPIES.repeat(5, 1), torch.cat([COPIES, normal(30, 5, seed=1), COPIES])),
    "far from 0": (1e6 + normal(30, 4), 1e6 + normal(60, 4, seed=1)),
    "copies far from 0": (1e6 + COPIES.repeat(4, 1), 1e6 + torch.cat([normal(30, 5, seed=1), COPIES])),
    "almost copies": (COPIES.repeat(3, 1) + 1e-9 * normal(21, 5), torch.cat([COPIES, COPIES + 1e-9])),
    "one point": (torch.ones(12, 3), torch.ones(15, 3)),
}
cases = pytest.mark.parametrize("case", SETS)


@cases
@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_nearest_are_those_of_all_differences(case, k, size):
    queries, rows = SETS[case]
    squared = all_squared(queries, rows)
    order = squared.argsort(dim=1, stable=True)[:, :k]
    found = nearest(queries, rows.split(size), k)
    assert torch.equal(found.indices, order)
    torch.testing.assert_close(found.distances, squared.gather(1, order).sqrt(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("k", [1, 4])
def test_queries_are_searched_in_chunks(k, monkeypatch):
    queries, rows = SETS["normal"]
    whole = nearest(queries, [rows], k)
    monkeypatch.setattr("edm.metrics.neighbours.ROWS", 7)
    monkeypatch.setattr("edm.metrics.neighbours.NUMBERS", 13)
    found = nearest(queries, rows.split(9), k)
    assert torch.equal(found.indices, whole.indices)
    assert torch.equal(found.distances, whole.distances)


def test_a_copy_is_at_distance_exactly_0():
    rows = 1e4 + 100 * normal(50, 300).float()
    found = nearest(rows[[30, 7]], rows.split(8))
    assert found.distances.tolist() == [[0.0], [0.0]]
    assert found.indices.tolist() == [[30], [7]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_images_of_any_type_may_be_searched(dtype):
    queries, rows = SETS["pixels"]
    found = nearest(queries.to(dtype), [rows.to(dtype)], 2)
    assert torch.equal(found.indices, nearest(queries, [rows], 2).indices)


@cases
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("size", [3, 1000])
def test_precision_recall_density_and_coverage_are_their_definitions(case, k, size, monkeypatch):
    generated, real = SETS[case]
    monkeypatch.setattr("edm.metrics.neighbours.GROUP", 11)
    found, expected = prdc(generated.split(size), real.split(size), k), plain(generated, real, k)
    assert vars(found) == pytest.approx(vars(expected), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("case", ["normal", "more dimensions than rows", "one dimension", "pixels"])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_recall_density_and_coverage_are_the_prdc_packages(case, k):
    generated, real = SETS[case]
    generated = generated * 0.8 + 0.2
    with contextlib.redirect_stdout(io.StringIO()):
        expected = compute_prdc(real.double().numpy(), generated.double().numpy(), k)
    assert vars(prdc([generated], [real], k)) == pytest.approx(expected, rel=1e-12)
    assert expected["precision"] > 0


def test_radii_known_before_change_nothing():
    generated, real = ([rows] for rows in SETS["normal"])
    radii = squared_radii(generated, 3), squared_radii(real, 3)
    assert prdc(generated, real, 3, "cpu", *radii) == prdc(generated, real, 3)
    expected = all_squared(real[0], real[0]).sort(dim=1).values[:, 3]
    torch.testing.assert_close(radii[1], expected, rtol=1e-13, atol=0)


def test_equal_sets_have_full_precision_except_where_images_are_copies():
    distinct, repeated = normal(20, 3), torch.ones(20, 3)
    assert prdc([distinct], [distinct]).precision == prdc([distinct], [distinct]).coverage == 1
    assert (
        prdc([repeated], [repeated]).precision == 0
    )  # balls of radius 0 are empty, as Kynkaanniemi et al. have it not


@pytest.mark.parametrize("rows", [1, 4, 10, 1000])
def test_groups_are_the_pieces_in_order(rows, monkeypatch):
    monkeypatch.setattr("edm.metrics.neighbours.GROUP", rows)
    pieces = list(normal(23, 2).split([4, 4, 9, 1, 1, 4]))
    found = list(in_groups(pieces, "cpu"))
    assert torch.equal(torch.cat([group for _, group in found]), torch.cat(pieces))
    following = [index for index, _ in found]
    assert following == sorted(set(following)) and following[-1] == 6
    assert all(
        len(group) <= rows or begin + 1 == end for (end, group), begin in zip(found, [0, *following], strict=False)
    )


def test_more_neighbours_than_images_are_refused():
    with pytest.raises(ValueError, match="4 nearest neighbours were asked for among 3 images"):
        nearest(normal(2, 2), [normal(3, 2)], 4)


@pytest.mark.parametrize(("num", "num_real"), [(5, 20), (20, 5)])
def test_as_few_images_as_neighbours_are_refused(num, num_real):
    with pytest.raises(ValueError, match="need at least 6 images, and there are 5"):
        prdc([normal(num, 2)], [normal(num_real, 2)], 5)
    prdc([normal(num + 1, 2)], [normal(num_real + 1, 2)], 5)


def test_features_of_two_spaces_are_refused():
    with pytest.raises(ValueError, match="between 3 and 4 dimensions"):
        nearest(normal(9, 3), [normal(9, 4)])
    with pytest.raises(ValueError, match="between 3 and 4 dimensions"):
        prdc([normal(9, 3)], [normal(9, 4)])


def test_rows_may_come_from_any_distance_first():
    rows = torch.arange(100.0, 0, -1).double()[:, None]  # every piece holds nearer rows than all before it
    found = nearest(torch.zeros(1, 1), rows.split(10), 3)
    assert found.indices.tolist() == [[99, 98, 97]]
    np.testing.assert_array_equal(found.distances, [[1, 2, 3]])
