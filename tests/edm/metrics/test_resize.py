"""Resizing against clean-fid's and torch-fidelity's own code and torch's bilinear rule, to parts of a grey level."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cleanfid.resize import build_resizer, make_resizer
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from edm.metrics.resize import resize

SIZES = [(8, 8), (28, 28), (32, 32), (64, 64), (128, 128), (299, 299), (320, 320), (400, 300), (300, 411), (1, 3)]


def picture(kind, channels, height, width):
    generator = torch.Generator().manual_seed(height + width)
    if kind == "random":
        return torch.randint(0, 256, (2, channels, height, width), dtype=torch.uint8, generator=generator)
    odd = (torch.arange(height)[:, None] + torch.arange(width)) % 2
    levels = {"checkerboard": odd * 255, "black": odd * 0, "white": odd * 0 + 255, "grey": odd * 0 + 77}[kind]
    return levels.to(torch.uint8).expand(2, channels, height, width)


def cleanfids(images, resizer):
    """What clean-fid makes of images; grey ones are repeated to three channels before, as its loader does."""
    color = images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    return torch.from_numpy(np.stack([resizer(image) for image in color])).permute(0, 3, 1, 2)


@pytest.mark.parametrize("kind", ["random", "checkerboard"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_clean_is_clean_fids_rule(kind, channels, height, width):
    images = picture(kind, channels, height, width)
    expected = cleanfids(images, build_resizer("clean"))
    found = resize(images, "clean")
    assert found.shape == (2, channels, 299, 299) and found.dtype == torch.float32
    torch.testing.assert_close(found.expand(-1, 3, -1, -1), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("side", [7, 64, 224])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (64, 64), (300, 411)])
def test_clean_is_pils_rule_at_other_sides(height, width, side):
    images = picture("random", 3, height, width)
    expected = cleanfids(images, make_resizer("PIL", False, "bicubic", (side, side)))
    torch.testing.assert_close(resize(images, "clean", side), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_pytorch_fids_rule_is_bilinear_without_antialias(height, width):
    images = picture("random", 3, height, width)
    expected = F.interpolate(images.double(), size=(299, 299), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resize(images, "pytorch-fid").double(), expected, rtol=0, atol=0.03)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_tensorflow_is_the_rule_of_the_original_network(height, width):
    images = picture("random", 3, height, width)
    expected = interpolate_bilinear_2d_like_tensorflow1x(images.float(), (299, 299), align_corners=False)
    torch.testing.assert_close(resize(images, "tensorflow"), expected, rtol=0, atol=0.03)


def test_tensorflows_pixels_lie_at_their_upper_left_corners():
    line = torch.tensor([0, 100, 200], dtype=torch.uint8).expand(1, 1, 3, 3)
    found = resize(line, "tensorflow", 6)[0, 0, 0]
    assert found.tolist() == [0, 50, 100, 150, 200, 200]  # the last pixel is repeated


@pytest.mark.parametrize("rule", ["pytorch-fid", "clean", "tensorflow"])
@pytest.mark.parametrize("kind", ["black", "grey", "white"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_constant_stays_what_it_is(rule, kind, height, width):
    images = picture(kind, 1, height, width)
    expected = images[:, :, :1, :1].float().expand(-1, -1, 299, 299)
    torch.testing.assert_close(resize(images, rule), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("rule", ["pytorch-fid", "clean", "tensorflow"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_levels_stay_inside_0_to_255(rule, height, width):
    found = resize(picture("checkerboard", 3, height, width), rule)
    assert found.min() >= 0 and found.max() <= 255


def test_a_cubic_overshoots_and_is_cut_off_at_both_ends():
    images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    images[..., 3:5] = 255
    found = resize(images, "clean", 64)
    assert (found == 0).any() and (found == 255).any()
    images[images == 0], images[images == 255] = 60, 200  # with room to overshoot, it does
    found = resize(images, "clean", 64)
    assert found.min() < 55 and found.max() > 205


@pytest.mark.parametrize("rule", ["pytorch-fid", "clean", "tensorflow"])
def test_images_of_the_right_size_stay_as_they_are(rule):
    images = picture("random", 3, 32, 32)
    assert torch.equal(resize(images, rule, 32), images.float())


@pytest.mark.parametrize("rule", ["pytorch-fid", "clean"])
@pytest.mark.parametrize("side", [20, 64])
def test_mirrored_and_transposed_images_are_resized_alike(rule, side):
    images = picture("random", 3, 24, 37)
    found = resize(images, rule, side)
    torch.testing.assert_close(resize(images.flip(3), rule, side).flip(3), found, rtol=0, atol=1e-3)
    torch.testing.assert_close(resize(images.mT, rule, side).mT, found, rtol=0, atol=1e-3)


def test_the_two_rules_differ_most_where_images_are_made_smaller():
    images = picture("random", 1, 320, 320)
    assert (resize(images, "clean") - resize(images, "pytorch-fid")).abs().max() > 10
