"""The smallest differences that seeds show, against published tables of power, simulated tests and whole tables."""

import math

import numpy as np
import pytest

from reports.detectable import MOST_SEEDS, SMALLEST, Detectable, detectable_differences, seeds_for, smallest_difference
from reports.layout import Layout
from reports.notes import reading_notes
from reports.significance import Sample, compare_samples
from reports.tables import result_tables
from tests.reports.frames import several_seeds

BLOCK = f"{SMALLEST}:"


def sample(values: list[float], seeds: tuple[int, ...] = ()) -> Sample:
    seeds = seeds or tuple(range(len(values)))
    return Sample(seeds, tuple(map(str, seeds)), tuple(values), (0.1,) * len(values))


# sizes of effects that a paired t test finds at 5% with a power of 80% (Cohen 1988; G*Power 3.1)
@pytest.mark.parametrize(("num", "size"), [(5, 1.682), (10, 0.996), (20, 0.660), (34, 0.495)])
def test_sizes_are_those_of_published_tables_of_power(num: int, size: float) -> None:
    assert smallest_difference(1.0, num) == pytest.approx(size, abs=2e-3)
    assert smallest_difference(7.0, num) == pytest.approx(7 * smallest_difference(1.0, num))


@pytest.mark.parametrize("num", [3, 6])
def test_four_of_five_simulated_comparisons_find_such_a_difference(num: int) -> None:
    noise, size = np.random.default_rng(0), smallest_difference(0.5, num)
    found = 0
    for _ in range(2000):
        shared = noise.normal(10, 3, num)  # what a seed does to both cells
        a, b = shared + size + noise.normal(0, 0.3, num), shared + noise.normal(0, 0.4, num)  # together 0.5
        test = compare_samples(sample(a.tolist()), sample(b.tolist()))
        assert test is not None
        found += test.p < 0.05
    assert found / 2000 == pytest.approx(0.8, abs=0.03)


def test_seeds_for_a_difference_are_the_fewest() -> None:
    for difference in (2.0, 0.7, 0.1):
        num = seeds_for(difference, 0.5)
        assert num is not None
        assert smallest_difference(0.5, num) <= difference < smallest_difference(0.5, num - 1)
    assert seeds_for(0.5 / MOST_SEEDS, 0.5) is None


def grid(noise: float = 1.0) -> dict[tuple[bool, int], Sample]:
    """Two networks with five seeds at three scales: networks differ by a deviation of `noise`, scales hardly."""
    random, samples = np.random.default_rng(1), {}
    for attention in (True, False):
        network = noise * attention * np.array([1.0, -1.0, 0.0, 1.0, -1.0])
        for scale in (1, 2, 3):
            values = 20 + scale + network + random.normal(0, noise / 50, 5)
            samples[attention, scale] = sample(values.tolist())
    return samples


AXES, NAMES = ("model.attention", "sampling.guidance"), ("attention", "guidance")


def test_every_axis_has_its_own_size() -> None:
    networks, scales = detectable_differences(grid(), AXES, NAMES, "fid_test", {})
    assert (networks.axis, scales.axis) == NAMES and networks.num_seeds == scales.num_seeds == 5
    assert networks.difference == pytest.approx(smallest_difference(1.0, 5), rel=0.05)
    assert scales.difference == pytest.approx(smallest_difference(2**0.5 / 50, 5), rel=0.3)
    assert networks.seeds_for_half == seeds_for(networks.difference / 2, 1.0) == 14


def test_seeds_that_one_of_two_cells_lacks_do_not_count() -> None:
    samples = grid()
    samples[True, 1] = samples[True, 1].of_seeds([0, 1, 2])
    networks, scales = detectable_differences(samples, AXES, NAMES, "fid_test", {})
    assert networks.num_seeds == scales.num_seeds == 3
    alone = {key: one.of_seeds([key[1]]) for key, one in samples.items() if key != (True, 1)}
    assert detectable_differences(alone, AXES, NAMES, "fid_test", {}) == []


def test_a_score_that_is_infinite_leaves_the_other_pairs() -> None:
    samples, without = grid(), grid()
    samples[True, 1] = sample([*samples[True, 1].values[:4], math.inf])
    del without[True, 1]
    found, expected = (detectable_differences(made, AXES, NAMES, "fid_test", {})[0] for made in (samples, without))
    assert found == expected


def test_too_few_seeds_and_no_variance_say_nothing() -> None:
    two = {key: one.of_seeds([0, 1]) for key, one in grid().items() if key[1] == 1}
    assert detectable_differences(two, AXES, NAMES, "fid_test", {}) == []  # one pair of two seeds
    assert detectable_differences(grid(noise=0.0), AXES, NAMES, "fid_test", {}) == []


@pytest.mark.parametrize(
    ("metric", "difference", "half", "text"),
    [
        ("fid_test", 0.4213, 9, "attention: 0.42 FID test with 3 seeds; half of that takes 9 seeds"),
        ("fid_test", 12.34, None, "attention: 12 FID test with 3 seeds; half of that takes over 1,000 seeds"),
        ("class_accuracy", 0.0213, 9, "attention: 2.1 % class accuracy with 3 seeds; half of that takes 9 seeds"),
        ("kid_test", 0.00042, 9, "attention: 0.42 KID ×10³ test with 3 seeds; half of that takes 9 seeds"),
    ],
)
def test_sizes_have_two_digits_and_their_unit(metric: str, difference: float, half: int | None, text: str) -> None:
    assert Detectable("attention", metric, 3, difference, half).text == text


@pytest.mark.parametrize("seeds", [1, 4])
def test_tables_of_several_seeds_have_a_block_and_its_explanation(seeds: int) -> None:
    made = several_seeds()
    made = made[made["seed"] < seeds]
    axes = ("model.preset", "model.attention")
    tables = result_tables(made, (Layout("all", rows=axes), Layout("columns", rows=axes[:1], columns=axes[1:])))
    blocks = [[block for block in table.blocks_below if block[0] == BLOCK] for table in tables if table.main]
    assert [len(found) for found in blocks] == ([1, 0] if seeds > 1 else [0, 0])  # each is said once
    assert any(note.startswith(BLOCK) for note in reading_notes(tables)) == (seeds > 1)
    for block in blocks[0]:
        assert [line.split(":")[0] for line in block[1:]] == ["preset", "attention"]
