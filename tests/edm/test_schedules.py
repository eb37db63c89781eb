"""Sampling schedules against EDM's definitions of them."""

import math
import subprocess
import sys
from itertools import pairwise
from typing import get_args

import pytest

from edm.extension import Extension
from edm.registry import Registration, register
from edm.schedules import ScheduleName, noise_levels

SCHEDULES = get_args(ScheduleName)
LOW, HIGH = 0.002, 80.0


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [2, 3, 18, 256])
def test_levels_fall_from_about_sigma_max_to_about_sigma_min_and_end_in_0(schedule, steps):
    levels = noise_levels(schedule, steps, LOW, HIGH)
    assert len(levels) == steps + 1
    assert all(a > b for a, b in pairwise(levels))
    assert levels[-1] == 0
    assert all(LOW <= level <= HIGH for level in levels[:-1])
    if schedule != "iddpm":  # which has its own
        assert [levels[0], levels[-2]] == pytest.approx([HIGH, LOW], rel=1e-10)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_step_goes_from_sigma_max_to_0(schedule):
    assert noise_levels(schedule, 1, LOW, HIGH) == [HIGH, 0.0]


@pytest.mark.parametrize(("steps", "rho"), [(2, 7.0), (18, 7.0), (50, 3.0), (256, 1.0)])
def test_karras_is_equation_5(steps, rho):
    formula = [
        (HIGH ** (1 / rho) + i / (steps - 1) * (LOW ** (1 / rho) - HIGH ** (1 / rho))) ** rho for i in range(steps)
    ]
    assert noise_levels("karras", steps, LOW, HIGH, rho) == pytest.approx([*formula, 0.0], rel=1e-12)


@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0, 11.0])
@pytest.mark.parametrize(("low", "high"), [(0.01, 50.0), (0.02, 14.6), (0.3, 0.7)])
def test_no_end_leaves_the_range_by_rounding(rho, low, high):
    for schedule in ("karras", "exponential", "vp") if low < 0.1 else ("karras", "exponential"):
        levels = noise_levels(schedule, 9, low, high, rho)
        assert max(levels) <= high and min(levels[:-1]) >= low


def test_rho_bends_karras_alone():
    for schedule in SCHEDULES:
        same = noise_levels(schedule, 9, LOW, HIGH, 7.0) == noise_levels(schedule, 9, LOW, HIGH, 3.0)
        assert same == (schedule != "karras")


def falls_evenly(values):
    """Whether all differences of `values` are the same and not 0."""
    differences = [b - a for a, b in pairwise(values)]
    return abs(differences[0]) > 1e-3 and differences == pytest.approx([differences[0]] * len(differences), rel=1e-9)


def test_exponential_falls_evenly_in_ln_sigma():
    assert falls_evenly([math.log(sigma) for sigma in noise_levels("exponential", 40, LOW, HIGH)[:-1]])


def test_linear_log_snr_falls_evenly_in_the_log_of_the_snr():
    assert falls_evenly([math.log(1 / sigma**2) for sigma in noise_levels("linear_log_snr", 40, LOW, HIGH)[:-1]])


def test_ve_is_edms_geometric_series_of_variances():
    steps = 31
    variances = [HIGH**2 * (LOW**2 / HIGH**2) ** (i / (steps - 1)) for i in range(steps)]  # EDM, Table 1, VE
    assert noise_levels("ve", steps, LOW, HIGH) == pytest.approx([*(v**0.5 for v in variances), 0.0], rel=1e-12)


def test_vp_is_the_sde_of_song_with_its_own_betas():
    steps, beta_d, beta_min, end = 24, 19.9, 0.1, 1e-3  # EDM, Table 1, VP

    def sigma(t):
        return math.sqrt(math.exp(beta_d * t**2 / 2 + beta_min * t) - 1)

    formula = [sigma(1 + i / (steps - 1) * (end - 1)) for i in range(steps)]
    assert noise_levels("vp", steps, sigma(end), sigma(1)) == pytest.approx([*formula, 0.0], rel=1e-6)


def test_vp_that_would_rise_is_refused():
    with pytest.raises(ValueError, match="vp does not fall steadily from 80 to 1; give a lower sigma_min"):
        noise_levels("vp", 9, 1.0, HIGH)


def cosine_levels():
    """iDDPM's levels u_8 to u_999: as no ratio of theirs is clipped, u_j is sqrt(bar(1000) / bar(j) - 1)."""

    def bar(j):
        return math.sin(math.pi / 2 * j / (1000 * 1.008)) ** 2

    return [math.sqrt(bar(1000) / bar(j) - 1) for j in range(8, 1000)]


def test_iddpm_with_all_its_levels_has_each_once():
    assert noise_levels("iddpm", 992, LOW, 81.0) == pytest.approx([*cosine_levels(), 0.0], rel=1e-6)


def test_iddpm_takes_levels_at_equal_distances():
    known = cosine_levels()[1:]  # from 80 on, so without the first, 80.2
    expected = [known[i * 110] for i in range(10)]  # the last of 991 is number 990
    assert noise_levels("iddpm", 10, LOW, HIGH) == pytest.approx([*expected, 0.0], rel=1e-6)


def test_iddpm_has_only_so_many_levels():
    assert len(noise_levels("iddpm", 991, LOW, HIGH)) == 992
    with pytest.raises(ValueError, match=r"iddpm has 991 levels from 80 to 0.002; give at most as many steps"):
        noise_levels("iddpm", 992, LOW, HIGH)


def own(levels):
    """A schedule of an extension that returns these levels."""
    register(Registration("schedule", "mine", lambda steps, sigma_min, sigma_max: levels), "code of mine")
    return Extension("mine", "code of mine")


@pytest.mark.parametrize(("levels", "first"), [([100.0, 90.0, 1.0], "100"), ([80.0, 1.0, 0.001], "0.001")])
def test_levels_of_an_extension_outside_of_the_range_are_refused(levels, first):
    with pytest.raises(ValueError, match=f"mine returns {first}; return numbers from sigma_max 80 to sigma_min 0.002"):
        noise_levels(own(levels), 3, LOW, HIGH)


def test_levels_of_an_extension_may_leave_the_range_by_rounding():
    assert noise_levels(own([HIGH * (1 + 1e-12), 1.0, LOW * (1 - 1e-12)]), 3, LOW, HIGH) == [HIGH, 1.0, LOW, 0.0]


def test_schedules_and_configurations_import_nothing_heavy():
    code = "import edm.config, edm.schedules, sys; print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
