"""EDM's augmentation against analytic images and torch.rot90; what labels tell of it; how often it is done."""

import math
import re
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch.overrides import TorchFunctionMode

from edm.augment import AUGMENT_LABELS, AugmentParameters, augment, draw, flip, transform, warp
from edm.noise import Stream, normals
from tests import ROOT

DOCS = ROOT / "docs"
MANY = torch.arange(20_000)
LABELS = {"x_flip": [0], "y_flip": [1], "scale": [2], "rotation": [3, 4], "stretch": [5, 6], "shift": [7, 8]}


def noise(num: int, channels: int = 3, size: int = 16, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Images of which no two pixels are alike."""
    return normals(0, Stream.BASELINE, torch.arange(num), (channels, size, size)).to(dtype)


def parameters(**given) -> AugmentParameters:
    """Nothing is done to one image but what is given."""
    nothing = draw(0, torch.arange(1), 0.0)
    types = {name: getattr(nothing, name).dtype for name in given}
    return replace(nothing, **{name: torch.tensor(value, dtype=types[name]) for name, value in given.items()})


def coordinates(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of every pixel, from the centre of the image."""
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    return x.double(), y.double()


def blob(mean: list[float], covariance: list[list[float]], height: int = 64, width: int = 64) -> torch.Tensor:
    """An image of one Gaussian."""
    away = torch.stack(coordinates(height, width), dim=-1) - torch.tensor(mean, dtype=torch.float64)
    inverse = torch.linalg.inv(torch.tensor(covariance, dtype=torch.float64))
    return (-(away @ inverse * away).sum(-1) / 2).exp()[None, None]


def moments(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Centroid and covariance of what is on each image of one channel."""
    points = torch.stack(coordinates(*images.shape[2:]), dim=-1).flatten(0, 1)
    weights = images.flatten(1) / images.flatten(1).sum(1, keepdim=True)
    mean = weights @ points
    away = points - mean[:, None]
    return mean, away.mT @ (weights[..., None] * away)


def wave(x: torch.Tensor, y: torch.Tensor, frequency: float) -> torch.Tensor:
    """Plane waves of `frequency` cycles a pixel in many directions."""
    angles = 0.1 + torch.arange(9) * math.pi / 9
    terms = [
        (2 * math.pi * frequency * (x * angle.cos() + y * angle.sin()) + k).cos() for k, angle in enumerate(angles)
    ]
    return torch.stack(terms).mean(0)[None, None]


def linear(angle: float, x: float, y: float) -> torch.Tensor:
    """A turn, then scales, as an affine map."""
    turn = torch.tensor([[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    return torch.diag(torch.tensor([x, y, 1.0])).double() @ turn.double()


def inner(images: torch.Tensor, margin: int) -> torch.Tensor:
    return images[..., margin:-margin, margin:-margin]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_probability_0_leaves_everything_as_it_is(dtype):
    images = noise(10, dtype=dtype)
    found, labels = augment(images, 0, torch.arange(10), 0.0)
    assert torch.equal(found, images)
    assert torch.equal(labels, torch.zeros(10, AUGMENT_LABELS, dtype=dtype))
    assert not draw(0, MANY, 0.0).labels.any()


def test_labels_are_zero_where_nothing_is_done_and_only_there():
    images = noise(500)
    found, labels = augment(images, 0, torch.arange(500), 0.12)
    told = labels.any(dim=1)
    same = (found == images).flatten(1).all(dim=1)
    assert torch.equal(same, ~told)
    assert 100 < int(same.sum()) < 400


def test_images_that_only_flip_are_exactly_flipped():
    images = noise(500)
    found, labels = augment(images, 0, torch.arange(500), 0.12)
    for x, y, dims in [(1, 0, [3]), (0, 1, [2]), (1, 1, [2, 3])]:
        chosen = (labels[:, 0] == x) & (labels[:, 1] == y) & ~labels[:, 2:].any(dim=1)
        assert chosen.any()
        assert torch.equal(found[chosen], images[chosen].flip(dims))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_images_depend_on_seed_and_index_alone(dtype, batch_size):
    images, index = noise(40, dtype=dtype), torch.arange(40) + 2**33
    whole = augment(images, 3, index, 0.5)
    parts = [augment(*part) for part in zip(*_split(images, index, batch_size), strict=True)]
    order = index.flip(0) % 40
    shuffled = augment(images[order], 3, index[order], 0.5)
    for k in range(2):
        assert torch.equal(torch.cat([part[k] for part in parts]), whole[k])
        assert torch.equal(shuffled[k], whole[k][order])
    assert not torch.equal(augment(images, 4, index, 0.5)[1], whole[1])
    assert not torch.equal(augment(images, 3, index + 1, 0.5)[1], whole[1])


def _split(images, index, size):
    parts = list(index.split(size))
    return images.split(size), [3] * len(parts), parts, [0.5] * len(parts)


def test_global_generator_is_neither_used_nor_moved():
    before = torch.get_rng_state()
    augment(noise(3), 0, torch.arange(3), 1.0)
    flip(noise(3), 0, torch.arange(3))
    assert torch.equal(torch.get_rng_state(), before)


class NoWaiting(TorchFunctionMode):
    """Refuses what would have the host wait for a GPU: to read numbers, or how many were picked out by a mask."""

    WAITING = ("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "nonzero", "masked_select", "equal")

    def __torch_function__(self, func, types, args=(), kwargs=None):
        keys = args[1] if func is torch.Tensor.__getitem__ else ()
        keys = keys if isinstance(keys, tuple) else (keys,)
        by_mask = any(isinstance(key, torch.Tensor) and key.dtype == torch.bool for key in keys)
        if by_mask or func.__name__ in self.WAITING or "linalg" in func.__name__:
            raise RuntimeError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


def test_host_never_waits_for_the_device():
    images, index = noise(5), torch.arange(5)
    with NoWaiting():
        augment(images, 0, index, 0.12)
        flip(images, 0, index)
        for waiting in (
            lambda: index.sum().item(),
            lambda: images[index > 2],
            lambda: bool(images.any()),
            lambda: torch.linalg.inv(images),
        ):
            with pytest.raises(RuntimeError, match="waits"):
                waiting()


@pytest.mark.parametrize("probability", [0.12, 0.5, 1.0])
def test_transforms_are_as_frequent_as_asked_and_independent(probability):
    """Within 5 standard deviations of a binomial: fails for one correct program in 10^5."""
    labels = draw(1, MANY, probability).labels
    done = {name: labels[:, columns].any(dim=1) for name, columns in LABELS.items()}
    expected = dict.fromkeys(LABELS, probability) | {"x_flip": 0.5, "y_flip": probability / 2}

    def close(happened, share):
        allowed = 5 * (share * (1 - share) / len(MANY)) ** 0.5
        return float(happened.double().mean()) == pytest.approx(share, abs=allowed)

    for first in LABELS:
        assert close(done[first], expected[first]), first
        for second in LABELS:
            both = done[first] & done[second]
            assert first == second or close(both, expected[first] * expected[second]), (first, second)


def test_parameters_are_distributed_as_edms():
    """Kolmogorov-Smirnov, at p-values of 10^-3."""
    found = draw(2, MANY, 1.0)
    turned = found.direction[found.direction != 0]
    assert len(turned) == pytest.approx(len(MANY) / 2, abs=5 * len(MANY) ** 0.5 / 2)
    for numbers in (found.scale, found.stretch, *found.shift.unbind(1)):
        assert stats.kstest(numbers.numpy(), "norm").pvalue > 1e-3
    for angles in (found.rotation, turned):
        assert stats.kstest(angles.numpy() / math.pi, "uniform", (-1, 2)).pvalue > 1e-3
    columns = torch.stack([found.scale, found.rotation, found.stretch, found.direction, *found.shift.unbind(1)])
    correlation = torch.corrcoef(columns)[~torch.eye(len(columns), dtype=torch.bool)]
    assert correlation.abs().max() < 5 / len(MANY) ** 0.5


def test_label_of_each_transform_is_edms():
    third = math.pi / 3
    given = parameters(
        x_flip=[True], y_flip=[True], scale=[0.7], rotation=[third], stretch=[-2.0], direction=[third], shift=[[0.5, 3]]
    )
    half_root = math.sqrt(3) / 2
    expected = [1, 1, 0.7, -0.5, half_root, -1, -2 * half_root, 0.5, 3]
    torch.testing.assert_close(given.labels[0], torch.tensor(expected))


def test_labels_tell_what_became_of_a_blob():
    """Its centroid and covariance follow from the labels, worked out here anew; a stretch is told up to its sign."""
    image, num = blob([0, 0], [[6, 2], [2, 4]]), 300
    found, labels = augment(image.expand(num, -1, -1, -1), 5, torch.arange(num), 1.0)
    means, covariances = moments(found)
    # the rest show a part of the blob's reflection as well, or lose a part of the blob
    shift, scale, stretch = labels[:, 7:].abs().amax(dim=1), labels[:, 2], labels[:, 5:7].norm(dim=1)
    alone = (shift < 1) & (scale > 0) & (scale < 2) & (stretch < 1)
    assert alone.sum() > 20
    for label, mean, covariance in zip(labels[alone], means[alone], covariances[alone], strict=True):
        torch.testing.assert_close(mean, 0.125 * 64 * label[7:], atol=0.02, rtol=0)
        options = [_told(label, sign) for sign in (1, -1)]
        assert min(float((covariance - option).abs().max()) for option in options) < 0.1


def _told(label: torch.Tensor, sign: int) -> torch.Tensor:
    """The covariance that an image with this label should have."""
    mirror = torch.diag(1 - 2 * label[:2])
    turn = torch.stack([label[3] + 1, label[4], -label[4], label[3] + 1]).reshape(2, 2)
    axis = torch.stack([label[5], -label[6]]) / label[5:7].norm()
    along, length = torch.outer(axis, axis), 2 ** (0.2 * sign * label[5:7].norm())
    stretch = length * along + (torch.eye(2).double() - along) / length
    whole = stretch @ turn * 2 ** (0.2 * label[2]) @ mirror
    return whole @ torch.tensor([[6.0, 2.0], [2.0, 4.0]], dtype=torch.float64) @ whole.T


@pytest.mark.parametrize(
    ("given", "matrix"),
    [
        ({"scale": [2.0]}, [[2**0.4, 0], [0, 2**0.4]]),
        ({"scale": [-2.0]}, [[2**-0.4, 0], [0, 2**-0.4]]),
        ({"rotation": [math.pi / 6]}, [[3**0.5 / 2, 0.5], [-0.5, 3**0.5 / 2]]),
        ({"stretch": [1.5]}, [[2**0.3, 0], [0, 2**-0.3]]),
        ({"stretch": [1.5], "direction": [math.pi / 2]}, [[2**-0.3, 0], [0, 2**0.3]]),
        ({"x_flip": [True]}, [[-1, 0], [0, 1]]),
        ({"y_flip": [True]}, [[1, 0], [0, -1]]),
    ],
)
@pytest.mark.parametrize("shape", [(64, 64), (48, 72)])
def test_each_transform_alone_moves_a_blob_as_its_matrix(given, matrix, shape):
    matrix = torch.tensor(matrix, dtype=torch.float64)
    mean, covariance = [6.0, -4.0], [[8.0, 2.0], [2.0, 5.0]]
    found = moments(transform(blob(mean, covariance, *shape), parameters(**given)))
    torch.testing.assert_close(found[0][0], matrix @ torch.tensor(mean).double(), atol=0.01, rtol=0)
    torch.testing.assert_close(found[1][0], matrix @ torch.tensor(covariance).double() @ matrix.T, atol=0.05, rtol=0)


@pytest.mark.parametrize("size", [31, 32])
def test_a_quarter_turn_is_torchs(size):
    image = wave(*coordinates(size, size), frequency=0.2)
    found = transform(image, parameters(rotation=[math.pi / 2]))
    torch.testing.assert_close(inner(found, 4), inner(torch.rot90(image, dims=(2, 3)), 4), atol=0.02, rtol=0)


def test_a_shift_goes_right_and_down():
    image = wave(*coordinates(32, 32), frequency=0.2)
    found = transform(image, parameters(shift=[[0.75, -0.5]]))  # eighths of 32 pixels
    torch.testing.assert_close(inner(found, 6), inner(image.roll((-2, 3), dims=(2, 3)), 6), atol=0.01, rtol=0)


def test_what_comes_from_outside_is_the_images_reflection():
    image = wave(*coordinates(32, 32), frequency=0.1)
    found = transform(image, parameters(shift=[[2, 0]]))
    torch.testing.assert_close(found[..., 8:-8, :8], image[..., 8:-8, :8].flip(3), atol=0.03, rtol=0)


@pytest.mark.parametrize(
    "matrix", [linear(0.5, 1, 1), linear(2.0, 1.5, 1.5), linear(0.3, 1.2, 0.83), linear(-1.0, 0.9, 0.9)]
)
@pytest.mark.parametrize("frequency", [0.05, 0.2, 0.3])
def test_warps_of_waves_are_the_analytic_ones(matrix, frequency):
    """Sharp as well as smooth: plain bilinear interpolation is off by more than 30 % at 0.3 cycles a pixel."""
    x, y = coordinates(48, 48)
    back = torch.linalg.inv(matrix)
    expected = wave(back[0, 0] * x + back[0, 1] * y, back[1, 0] * x + back[1, 1] * y, frequency)
    away = inner(warp(wave(x, y, frequency), matrix[None]) - expected, 14)
    assert float(away.norm() / inner(expected, 14).norm()) < 0.03


def test_shrinking_does_not_alias():
    """Waves too fine for the smaller image vanish; picking pixels would show them as coarse ones of the same height."""
    image = wave(*coordinates(64, 64), frequency=0.45)
    found = inner(warp(image, linear(0.3, 0.6, 0.6)[None]), 22)
    assert float(found.norm() / inner(image, 22).norm()) < 0.06


@pytest.mark.parametrize(("size", "channels"), [((8, 8), 1), ((9, 12), 3), ((32, 32), 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_images_stay_constant_at_any_size(size, channels, dtype):
    image = torch.full((100, channels, *size), -0.7, dtype=dtype)
    found, labels = augment(image, 0, torch.arange(100), 1.0)
    torch.testing.assert_close(found, image, atol=1e-5, rtol=0)
    assert labels.dtype == dtype


@pytest.mark.parametrize("size", [8, 32])
def test_values_at_an_edge_overshoot_by_a_third_at_most(size):
    """However far outside of the image they come from."""
    edge = coordinates(size, size)[0].sign().float().expand(500, 1, -1, -1)
    assert augment(edge, 0, torch.arange(500), 1.0)[0].abs().max() < 1.34


def test_flip_mirrors_half_of_the_images_exactly_and_on_its_own():
    images = noise(len(MANY), channels=1, size=2)
    found = flip(images, 0, MANY)
    mirrored = (found == images.flip(3)).flatten(1).all(dim=1)
    assert torch.equal(torch.where(mirrored[:, None, None, None], images.flip(3), images), found)
    told = draw(0, MANY, 0.12).x_flip
    for happened, share in ((mirrored, 1 / 2), (mirrored & told, 1 / 4)):
        allowed = 5 * (share * (1 - share) / len(MANY)) ** 0.5
        assert float(happened.double().mean()) == pytest.approx(share, abs=allowed)
    assert torch.equal(flip(images.flip(0), 0, MANY.flip(0)), found.flip(0))


def test_documentation_shows_every_picture_that_is_there():
    shown = re.findall(r"!\[.+?\]\(images/augmentation/(\w+\.png)\)", (DOCS / "augmentation.md").read_text())
    assert sorted(shown) == sorted(path.name for path in (DOCS / "images" / "augmentation").iterdir())
    assert {f"{name}.png" for name in LABELS} <= set(shown)
