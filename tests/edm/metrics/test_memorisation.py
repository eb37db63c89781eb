"""Memorisation: planted copies are found, and a generator that knows no training image is not accused."""

import math

import numpy as np
import pytest
import torch

from edm.metrics.memorisation import PixelPieces, memorisation, pixel_rows
from edm.metrics.neighbours import nearest
from edm.metrics.uncertainty import standard_error

DIMENSION = 4


def rows(num, seed, dimension=DIMENSION):
    """Fresh samples of one distribution."""
    return torch.randn(num, dimension, generator=torch.Generator().manual_seed(seed))


def shuffled(num, seed=0):
    return torch.randperm(num, generator=torch.Generator().manual_seed(seed))


TRAIN, TEST = rows(1200, seed=1), rows(300, seed=2)  # four times as many to train on, as in the data sets
FRESH = rows(1000, seed=3)
COPIES = TRAIN[shuffled(1200)[:1000]]


# Against brute force


@pytest.mark.parametrize("size", [1, 7, 300, 5000])
def test_pieces_of_any_size_give_what_brute_force_gives(size):
    found = memorisation(FRESH[:50], TRAIN.split(size), TEST.split(size), 250)
    away = {
        name: np.linalg.norm(FRESH[:50, None].numpy() - part[None].numpy().astype(float), axis=2)
        for name, part in {"train": TRAIN, "test": TEST[:250]}.items()
    }
    least = away["test"].min(axis=1)
    assert found.nearest.indices[:, 0].tolist() == away["train"].argmin(axis=1).tolist()
    assert found.nearest.distances[:, 0].numpy() == pytest.approx(away["train"].min(axis=1), rel=1e-12)
    assert found.ratios.numpy() == pytest.approx(away["train"][:, :250].min(axis=1) / least, rel=1e-12)
    assert found.ratio == pytest.approx(np.median(away["train"][:, :250].min(axis=1) / least), rel=1e-12)
    nearer = (away["train"].min(axis=1) < least).mean()
    assert found.copied == pytest.approx((nearer - 1200 / 1450) / (250 / 1450), rel=1e-12)


def test_planted_copies_are_found_at_distance_0_whatever_the_order():
    order = shuffled(1200, seed=4)
    planted = torch.tensor([1199, 0, 611, 7, 300])
    found = memorisation(torch.cat([TRAIN[planted], FRESH[:3]]), TRAIN[order].split(100), [TEST], 300)
    assert torch.equal(order[found.nearest.indices[:5, 0]], planted)
    assert (found.nearest.distances[:5] == 0).all()
    assert (found.nearest.distances[5:] > 0).all()
    assert sorted(found.closest(5).tolist()) == [0, 1, 2, 3, 4]


# What the numbers say of a generator


def test_fresh_samples_have_a_ratio_of_1_and_none_is_copied():
    found = memorisation(FRESH, [TRAIN], [TEST], 300)
    assert found.ratio == pytest.approx(1, abs=0.05)
    assert found.copied == pytest.approx(0, abs=0.2)
    assert abs(found.copied) < 2.5 * found.copied_error


def test_unequal_counts_would_accuse_a_generator_that_copies_nothing():
    unequal = nearest(FRESH, [TRAIN]).distances / nearest(FRESH, [TEST]).distances
    by_number = (300 / 1200) ** (1 / DIMENSION)  # the nearest of n rows is about n ** (-1 / dimension) away
    assert float(unequal.median()) == pytest.approx(by_number, abs=0.05)
    assert memorisation(FRESH, [TRAIN], [TEST], 300).ratio > by_number + 0.2


def test_training_images_have_a_ratio_of_0_and_all_are_copied():
    found = memorisation(TRAIN[:300], [TRAIN], [TEST], 300)
    assert found.ratio == 0
    assert found.copied == pytest.approx(1, rel=1e-12)
    assert found.copied > 8 * found.copied_error


def test_training_images_with_a_little_noise_are_told_too():
    noisy = TRAIN[:300] + 0.01 * FRESH[:300]
    found = memorisation(noisy, [TRAIN], [TEST], 300)
    assert 0 < found.ratio < 0.1
    assert found.copied > 0.95


def test_the_ratio_sees_no_copies_beyond_the_first_rows_but_copied_does():
    found = memorisation(TRAIN[300:], [TRAIN], [TEST], 300)
    assert found.ratio == pytest.approx(1, abs=0.1)
    assert found.copied == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_copied_is_the_share_of_copies_among_fresh_samples(share):
    num = int(1000 * share)
    found = memorisation(torch.cat([COPIES[:num], FRESH[num:]]), [TRAIN], [TEST], 300)
    assert abs(found.copied - share) < 2.5 * found.copied_error
    assert found.copied > 0.6 * share


@pytest.mark.parametrize("change", [lambda x: x, lambda x: 0.3 * x, lambda x: 3 * x, lambda x: x + 2])
def test_copied_is_0_up_to_its_error_for_a_generator_that_copies_nothing(change):
    queries, real = change(rows(80, seed=5)), rows(160, seed=6)
    found = []
    for repetition in range(200):
        order = shuffled(160, seed=repetition)
        found.append(memorisation(queries, [real[order[:120]]], [real[order[120:]]], 40))
    copied, errors = (np.array([getattr(result, name) for result in found]) for name in ("copied", "copied_error"))
    assert errors == pytest.approx(np.full(200, errors[0]), rel=1e-9)  # it does not depend on who is who
    assert copied.std() == pytest.approx(errors[0], rel=0.2)
    assert abs(copied.mean()) < 3 * errors[0] / math.sqrt(200)


def drawn(copies, noise, train):
    """Images of a generator that copies a share of its images: the first ones, so that two can share them."""
    generator = torch.Generator().manual_seed(noise)
    fresh = torch.randn(500, DIMENSION, generator=generator)
    chosen = train[torch.randint(len(train), (500,), generator=generator)]
    return torch.where(torch.rand(500, 1, generator=generator) < copies, chosen, fresh)


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.3), (0.6, 0.3)])
def test_intervals_of_differences_of_copied_shares_have_their_coverage(a, b):
    train, test = rows(160, seed=7), rows(60, seed=8)
    differences, errors, by_chance = [], [], []
    for repetition in range(500):
        one, other = (memorisation(drawn(share, repetition, train), [train], [test], 60) for share in (a, b))
        differences.append(one.copied - other.copied)
        errors.append(standard_error(one.shares - other.shares))
        by_chance.append(one.copied_error + other.copied_error)
    away = np.abs(np.array(differences) - np.mean(differences))  # their mean is the truth, for these splits
    assert np.mean(errors) == pytest.approx(np.std(differences), rel=0.08)
    assert 0.92 <= (away < 1.96 * np.array(errors)).mean() <= 0.98
    assert (away < 1.96 * np.array(by_chance)).mean() == 1  # what a difference was held against before


def test_copied_is_the_mean_of_its_shares():
    found = memorisation(torch.cat([COPIES[:100], FRESH[:100]]), [TRAIN], [TEST], 300)
    assert float(found.shares.mean()) == pytest.approx(found.copied, rel=1e-12)
    assert found.shares.unique().tolist() == pytest.approx([-4, 1], rel=1e-12)  # 1200 of 1500 are train


# Edges


def test_distances_of_0():
    train, test = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [5.0]])
    found = memorisation(torch.tensor([[0.0], [1.0], [5.0], [2.0]]), [train], [test], 2)
    assert found.ratios.tolist() == [1, 0, math.inf, 1 / 2]
    assert found.copied == 0.25  # a tie, nearer, farther, nearer: 2.5 of 4, where half are nearer by number
    # weights 1/4 and 2/4 for the training rows, 0 and 1/4 for the others
    assert found.copied_error == pytest.approx(2 * math.sqrt(1 / 4 * (6 / 16 - 1 / 4) * 4 / 3), rel=1e-12)


def test_the_same_images_for_both_splits_show_nothing():
    found = memorisation(FRESH[:20], [TEST], [TEST], 300)
    assert (found.ratios == 1).all()
    assert (found.ratio, found.copied) == (1, 0)


@pytest.mark.parametrize(
    ("queries", "median"),
    [
        ([2.0], 0.5),
        ([0.0, 4.0, 2.0], 0.5),
        ([0.0, 2.0, 4.0, 2.5], (1 / 2 + 1.5 / 1.5) / 2),
        ([4.0, 4.0, 4.0, 1.0], math.inf),
        ([1.0, 1.0, 4.0], 0.0),
    ],
)
def test_the_ratio_is_the_median(queries, median):
    found = memorisation(torch.tensor(queries)[:, None], [torch.tensor([[1.0]])], [torch.tensor([[4.0]])], 1)
    assert found.ratio == pytest.approx(median, rel=1e-12)


def test_the_closest_come_first_and_ties_in_their_order():
    queries = torch.tensor([[5.0], [2.0], [9.0], [2.0], [0.0]])
    found = memorisation(queries, [torch.zeros(1, 1)], [torch.ones(1, 1)], 1)
    assert found.closest(3).tolist() == [4, 1, 3]
    assert found.closest(10).tolist() == [4, 1, 3, 0, 2]


@pytest.mark.parametrize(("short", "name"), [((200, 300), "train"), ((300, 200), "test")])
def test_a_split_with_fewer_rows_than_are_to_be_compared_is_refused(short, name):
    train, test = (part[:num].split(70) for part, num in zip((TRAIN, TEST), short, strict=True))
    with pytest.raises(ValueError, match=f"{name}: has 200 images where 250 are to be compared; give a count up to"):
        memorisation(FRESH[:5], train, test, 250)


def test_nothing_to_compare_is_refused():
    for queries, count in ((FRESH[:0], 10), (FRESH[:5], 0)):
        with pytest.raises(ValueError, match="give one or more of both"):
            memorisation(queries, [TRAIN], [TEST], count)


# Pixels


@pytest.fixture
def images(tmp_path):
    """Memory-mapped images, as a prepared data set has them."""
    drawn = torch.randint(0, 256, (40, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "images.npy", drawn.numpy())
    return torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="c"))


@pytest.mark.parametrize(("size", "lengths"), [(1, [1] * 10), (4, [4, 4, 2]), (5, [5, 5]), (10, [10]), (1000, [10])])
def test_pixel_pieces_are_the_rows_of_the_chosen_images_in_their_order(images, size, lengths):
    chosen = shuffled(40)[:10]
    pieces = PixelPieces(images, chosen, size)
    assert len(pieces) == len(lengths)
    assert [len(piece) for piece in pieces] == lengths
    assert torch.equal(torch.cat(list(pieces)), images[chosen].flatten(1).float())
    assert torch.equal(torch.cat(list(pieces)), torch.cat(list(pieces)))  # they can be read again


def test_pixel_pieces_are_a_sequence(images):
    pieces = PixelPieces(images, torch.arange(10), 4)
    assert torch.equal(pieces[-1], pieces[2])
    assert [len(piece) for piece in pieces[1:]] == [4, 2]
    with pytest.raises(IndexError):
        pieces[3]
    assert len(PixelPieces(images, torch.arange(0), 4)) == 0


def test_pixel_pieces_read_what_is_asked_for_alone(images):
    read = []

    class Watched(torch.Tensor):
        def __getitem__(self, indices):
            read.append(indices.tolist())
            return super().__getitem__(indices)

    pieces = PixelPieces(images.as_subclass(Watched), torch.arange(20, 40), 6)
    assert pieces[1].shape == (6, 48)
    assert read == [[26, 27, 28, 29, 30, 31]]


def test_pixels_are_compared_in_grey_levels(images):
    train, test = torch.arange(0, 30), torch.arange(30, 40)
    changed = images[[25]].clone()
    changed[0, 1, 2, 3] ^= 12  # one of its 48 values
    step = abs(int(changed[0, 1, 2, 3]) - int(images[25, 1, 2, 3]))
    generated = torch.cat([changed, images[[3]]])
    found = memorisation(pixel_rows(generated), PixelPieces(images, train, 7), PixelPieces(images, test, 7), 10)
    assert found.nearest.indices.tolist() == [[25], [3]]
    assert found.nearest.distances.tolist() == [[step], [0]]
    whole = memorisation(pixel_rows(generated), [pixel_rows(images[train])], [pixel_rows(images[test])], 10)
    assert torch.equal(found.ratios, whole.ratios)
    assert found.copied == whole.copied == 1


def test_too_few_pixel_rows_are_refused(images):
    train, test = PixelPieces(images, torch.arange(0, 30), 7), PixelPieces(images, torch.arange(30, 40), 7)
    with pytest.raises(ValueError, match="test: has 10 images where 11 are to be compared"):
        memorisation(pixel_rows(images[:2]), train, test, 11)
