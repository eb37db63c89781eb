"""Standard errors and intervals from influences."""

import numpy as np
import pytest
import torch
from scipy import stats

from edm.metrics.uncertainty import interval, standard_error, within_classes


def test_standard_error_is_that_of_a_mean():
    values = np.random.default_rng(0).normal(3, 2, 50)
    assert standard_error(torch.tensor(values)) == pytest.approx(stats.sem(values), rel=1e-12)


def test_influences_of_float32_are_summed_in_float64():
    values = torch.tensor([1.0, 1 + 2**-20]).repeat(500_000)
    assert standard_error(values) == pytest.approx(2**-21 / 1000, rel=1e-6)


@pytest.mark.parametrize("num", [0, 1])
def test_an_error_of_fewer_than_2_images_is_refused(num):
    with pytest.raises(ValueError, match=f"at least 2 images, and there are {num}"):
        standard_error(torch.zeros(num))


def test_interval_is_the_normal_one():
    assert interval(3.0, 0.5) == pytest.approx(stats.norm.interval(0.95, 3, 0.5), rel=1e-12)


def test_influences_within_classes_give_the_error_of_a_stratified_mean():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    values = rng.normal(5.0 * labels, 1.0 + labels)
    within = within_classes(torch.tensor(values), torch.tensor(labels))
    strata = [values[labels == c] for c in range(3)]
    variance = sum((len(s) / 60) ** 2 * s.var(ddof=1) / len(s) for s in strata)  # Cochran 1977, eq. 5.7
    assert standard_error(within) == pytest.approx(np.sqrt(variance * 60 / 59), rel=1e-12)
    assert [float(within[labels == c].mean()) for c in range(3)] == pytest.approx([0, 0, 0], abs=1e-12)


def test_one_class_leaves_influences_but_for_their_mean():
    values = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    within = within_classes(values, torch.zeros(50, dtype=torch.int64))
    assert standard_error(within) == pytest.approx(standard_error(values), rel=0.02)


def test_classes_of_one_image_leave_influences_as_they_are():
    values = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(within_classes(values, torch.tensor([0, 1, 2, 3, 3])), values)
