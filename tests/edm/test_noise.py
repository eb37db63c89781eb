"""The counter-based generator against known answers, its independence and normality; training's noise levels."""

import itertools
import math

import pytest
import torch
from scipy import stats

from edm.config import NoiseDistribution, TrainingConfig
from edm.noise import DISTRIBUTIONS, Stream, generator, normals, permutation, philox, training_sigmas, uniforms

FULL = 0xFFFFFFFF
KNOWN_ANSWERS = [  # Random123, kat_vectors, philox4x32 with 10 rounds: counter, key, words
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((FULL, FULL, FULL, FULL), (FULL, FULL), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_philox_gives_random123s_known_answers(counter, key, words):
    found = philox(tuple(torch.tensor([word]) for word in counter), key)
    assert tuple(int(word) for word in found) == words


def test_philox_treats_each_counter_of_a_batch_alone():
    (first, key, first_words), (second, _, _) = KNOWN_ANSWERS[0], KNOWN_ANSWERS[1]
    found = philox(tuple(torch.tensor(words) for words in zip(first, second, strict=True)), key)
    assert tuple(int(word[0]) for word in found) == first_words


@pytest.mark.parametrize("batch_size", [1, 3, 7, 20])
def test_numbers_do_not_depend_on_the_batch(batch_size):
    index = torch.arange(20)
    whole = normals(5, Stream.SAMPLING, index, (3, 4, 4), step=2)
    parts = [normals(5, Stream.SAMPLING, part, (3, 4, 4), step=2) for part in index.split(batch_size)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(normals(5, Stream.SAMPLING, index.flip(0), (3, 4, 4), step=2), whole.flip(0))


def test_numbers_of_a_shorter_shape_begin_those_of_a_longer():
    index = torch.arange(4)
    longer = normals(0, Stream.SAMPLING, index, (10,))
    assert torch.equal(normals(0, Stream.SAMPLING, index, (3,)), longer[:, :3])
    assert torch.equal(normals(0, Stream.SAMPLING, index), longer[:, 0])


def test_uniforms_do_not_depend_on_the_batch():
    index = torch.arange(50)
    whole = uniforms(1, Stream.LABEL_DROPOUT, index)
    assert torch.equal(torch.cat([uniforms(1, Stream.LABEL_DROPOUT, part) for part in index.split(7)]), whole)


def test_no_two_purposes_share_numbers():
    purposes = itertools.product(
        (0, 1, 2**32 - 1),  # seeds
        (Stream.SAMPLING, Stream.TRAINING_NOISE, Stream.BASELINE),
        (0, 1, 2, 2**32 - 1, 2**32, 2**32 + 1, 2**33, 2**40),  # indices
        (0, 1, 17),  # steps
    )
    drawn = [tuple(normals(s, st, torch.tensor([i]), (4,), step)[0].tolist()) for s, st, i, step in purposes]
    values = list(itertools.chain.from_iterable(drawn))
    assert len(set(drawn)) == len(drawn) == 3 * 3 * 8 * 3
    assert len(set(values)) > 0.999 * len(values)  # float32 alone lets a few coincide


def test_different_purposes_are_uncorrelated():
    index, num = torch.arange(2), 40_000
    rows = [
        normals(0, Stream.SAMPLING, index, (num,)),
        normals(1, Stream.SAMPLING, index, (num,)),
        normals(0, Stream.TRAINING_NOISE, index, (num,)),
        normals(0, Stream.SAMPLING, index, (num,), step=1),
        normals(0, Stream.SAMPLING, index + 2**32, (num,)),
    ]
    correlation = torch.corrcoef(torch.cat(rows).double())
    off_diagonal = correlation[~torch.eye(len(correlation), dtype=torch.bool)]
    assert off_diagonal.abs().max() < 5 / num**0.5


@pytest.mark.parametrize(("num_indices", "shape"), [(1, (100_000,)), (100_000, ()), (33_333, (3,))])
def test_normals_are_standard_normal(num_indices, shape):
    numbers = normals(3, Stream.SAMPLING, torch.arange(num_indices), shape).double().flatten()
    num = len(numbers)
    assert float(numbers.mean()) == pytest.approx(0, abs=5 / num**0.5)
    assert float(numbers.var()) == pytest.approx(1, abs=5 * (2 / num) ** 0.5)
    assert float((numbers**3).mean()) == pytest.approx(0, abs=5 * (15 / num) ** 0.5)
    assert float((numbers**4).mean()) == pytest.approx(3, abs=5 * (96 / num) ** 0.5)
    assert stats.kstest(numbers.numpy(), "norm").pvalue > 1e-3


def test_uniforms_are_uniform_on_the_open_interval():
    numbers = uniforms(3, Stream.LABEL_DROPOUT, torch.arange(100_000))
    assert numbers.dtype == torch.float64
    assert 0 < numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    assert stats.kstest(numbers.numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 5, 5)])
def test_normals_have_the_shape_asked_for(shape):
    numbers = normals(0, Stream.SAMPLING, torch.arange(6), shape)
    assert numbers.shape == (6, *shape)
    assert numbers.dtype == torch.float32
    assert numbers.isfinite().all()


@pytest.mark.parametrize("num", [1, 2, 17, 5000])
def test_permutation_is_one_and_differs_by_epoch_and_seed(num):
    orders = [permutation(seed, epoch, num) for seed, epoch in [(0, 0), (0, 1), (1, 0)]]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(num))
    assert torch.equal(permutation(0, 0, num), orders[0])
    if num > 2:
        assert len({tuple(order.tolist()) for order in (*orders, torch.arange(num))}) == 4


def test_permutation_puts_every_image_everywhere():
    positions = torch.stack([permutation(0, epoch, 5) for epoch in range(4000)])
    counts = torch.stack([(positions == image).sum(dim=0) for image in range(5)])
    assert (counts - 800).abs().max() < 5 * (800 * 0.8) ** 0.5


def test_global_generator_is_neither_used_nor_moved():
    def everything():
        index = torch.arange(5)
        weights = torch.empty(4).normal_(generator=generator(0, Stream.WEIGHTS))
        return [normals(0, Stream.SAMPLING, index, (2,)), uniforms(0, Stream.SAMPLING, index), weights]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = everything()
        order = permutation(0, 0, 10)
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        assert all(torch.equal(a, b) for a, b in zip(first, everything(), strict=True))
        assert torch.equal(permutation(0, 0, 10), order)


def test_generators_follow_seed_and_stream():
    seeds = [generator(s, stream).initial_seed() for s in (0, 1) for stream in (Stream.WEIGHTS, Stream.CLASSIFIER)]
    assert len(set(seeds)) == 4
    assert generator(0, Stream.WEIGHTS).initial_seed() == seeds[0]


def test_training_sigmas_are_log_normal_within_bounds():
    z = torch.tensor([-10.0, -1.0, 0.0, 1.0, 10.0])
    expected = [0.002, torch.exp(torch.tensor(-2.4)), torch.exp(torch.tensor(-1.2)), 1.0, 80.0]
    torch.testing.assert_close(training_sigmas(z, -1.2, 1.2), torch.tensor(expected))


def levels_at(distribution: NoiseDistribution, share: torch.Tensor) -> torch.Tensor:
    """The noise levels of training below which these shares of them lie."""
    z = torch.special.ndtri(share.double())
    return DISTRIBUTIONS[distribution](TrainingConfig(noise_distribution=distribution))(z)


EARLIER: tuple[NoiseDistribution, ...] = ("vp", "ve", "iddpm")
SHARES = torch.linspace(0.001, 0.999, 9)


def test_vp_trains_at_uniform_times():
    """EDM, Table 1: t is uniform from 1e-5 to 1, and sigma**2 = exp(19.9 t**2 / 2 + 0.1 t) - 1."""
    sigma = levels_at("vp", SHARES)
    beta_d, beta_min = 19.9, 0.1
    t = ((beta_min**2 + 2 * beta_d * (sigma**2 + 1).log()).sqrt() - beta_min) / beta_d  # solved for t
    torch.testing.assert_close(t, 1e-5 + (1 - 1e-5) * SHARES.double())
    ends = levels_at("vp", torch.tensor([1e-15, 1 - 1e-15], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([0.0010005, 152.17], dtype=torch.float64), rtol=1e-4, atol=0)


def test_ve_trains_at_uniform_logarithms():
    """EDM, Table 1: ln(sigma) is uniform between ln(0.02) and ln(100)."""
    low, high = math.log(0.02), math.log(100)
    torch.testing.assert_close(levels_at("ve", SHARES).log(), low + (high - low) * SHARES.double())


def test_iddpm_trains_at_each_of_its_levels_equally_often():
    """EDM, Table 1: u_j with j from 0 to 999, u_1000 = 0 and the ratios of the cosine schedule, at least 0.001."""
    found = levels_at("iddpm", (torch.arange(1000) + 0.5) / 1000)
    sigma, alpha_bar = 0.0, [math.sin(math.pi / 2 * j / (1000 * 1.008)) ** 2 for j in range(1001)]
    for j in range(1000, 0, -1):
        sigma = math.sqrt((sigma**2 + 1) / max(alpha_bar[j - 1] / alpha_bar[j], 0.001) - 1)
        assert float(found[1000 - j]) == pytest.approx(sigma, rel=1e-9)


@pytest.mark.parametrize("distribution", EARLIER)
def test_drawn_noise_levels_follow_their_distribution(distribution: NoiseDistribution):
    z = normals(0, Stream.TRAINING_SIGMA, torch.arange(20_000))
    sigma = DISTRIBUTIONS[distribution](TrainingConfig(noise_distribution=distribution))(z)
    assert sigma.dtype == torch.float32 and sigma.isfinite().all() and (sigma > 0).all()
    shares = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    expected = levels_at(distribution, shares)
    found = torch.stack([(sigma.double() <= level).double().mean() for level in expected])
    torch.testing.assert_close(found, shares.double(), atol=0.012, rtol=0)
    extremes = DISTRIBUTIONS[distribution](TrainingConfig())(torch.tensor([-40.0, 40.0]))
    assert extremes.isfinite().all() and extremes[0] != extremes[1]
