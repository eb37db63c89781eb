"""Sample grids, trajectories and pairs: every pixel where it should be, and text where there is to be some."""

import numpy as np
import pytest
import torch
from PIL import Image

from edm.pictures import (
    FRAME_MS,
    LAST_FRAME_MS,
    Moment,
    grid_picture,
    image_at,
    save_animation,
    save_grid,
    save_pairs,
    save_trajectory,
)

GAP = 2  # white pixels between tiles
LINE = 14  # pixels of a line of text


def random_images(*shape):
    return torch.randint(0, 255, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def read(path):
    with Image.open(path) as picture:
        return picture.format, picture.mode, np.asarray(picture)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
@pytest.mark.parametrize(("side", "scale"), [(8, 4), (12, 3), (31, 2), (32, 1), (40, 1)])
def test_every_pixel_is_where_it_should_be(tmp_path, channels, mode, side, scale):
    images, columns, rows = random_images(5, channels, side, side), 3, 2
    save_grid(images, tmp_path / "grid.png", columns=columns)
    form, found_mode, pixels = read(tmp_path / "grid.png")
    tile = side * scale
    expected = np.full((rows * (tile + GAP) - GAP, columns * (tile + GAP) - GAP, channels), 255)
    for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top, left = i // columns * (tile + GAP), i % columns * (tile + GAP)
        for y, x in np.ndindex(tile, tile):
            expected[top + y, left + x] = image[y // scale, x // scale]
    assert (form, found_mode) == ("PNG", mode)
    assert np.array_equal(pixels, expected[..., 0] if channels == 1 else expected)


def test_grid_has_ten_columns_unless_told(tmp_path):
    save_grid(random_images(11, 1, 32, 32), tmp_path / "grid.png")
    assert read(tmp_path / "grid.png")[2].shape == (2 * 32 + GAP, 10 * 32 + 9 * GAP)


def test_suffix_does_not_choose_the_format(tmp_path):
    save_grid(random_images(1, 1, 8, 8), tmp_path / "grid.part", columns=1)
    assert read(tmp_path / "grid.part")[0] == "PNG"


def test_images_that_are_not_square_and_not_contiguous(tmp_path):
    images = random_images(2, 3, 33, 40).to(memory_format=torch.channels_last)
    save_grid(images, tmp_path / "grid.png", columns=2)
    pixels = read(tmp_path / "grid.png")[2]
    assert pixels.shape == (33, 2 * 40 + GAP, 3)
    assert np.array_equal(pixels[:, 40 + GAP :], images[1].permute(1, 2, 0).numpy())


def tiles_of(pixels, rows, columns, side, scale, below=0):
    """The enlarged images of a grid at the lower right of a picture, back at their own size: [row][column]."""
    height, width = side * scale + GAP + below, side * scale + GAP
    grid = pixels[pixels.shape[0] + GAP - rows * height :, pixels.shape[1] + GAP - columns * width :]
    corners = [[(row * height, column * width) for column in range(columns)] for row in range(rows)]
    return [[grid[y : y + side * scale, x : x + side * scale][::scale, ::scale] for y, x in row] for row in corners]


def assert_tiles(found, expected):
    """Rows of tiles against rows of images."""
    for tiles, images in zip(found, expected, strict=True):
        for tile, image in zip(tiles, images, strict=True):
            assert np.array_equal(tile if tile.ndim == 3 else tile[..., None], image.permute(1, 2, 0).numpy())


def has_ink(pixels):
    return bool((pixels < 128).any())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("side", "scale"), [(8, 9), (28, 3), (64, 2), (128, 1)])
@pytest.mark.parametrize("captioned", [False, True])
def test_pairs_are_three_rows_with_a_column_for_each_generated_image(tmp_path, channels, side, scale, captioned):
    generated, by_pixels, by_features = random_images(12, channels, side, side).split(4)
    distances = torch.tensor([0.0, 0.125, 99.0, 12345.6]) if captioned else None
    save_pairs(generated, by_pixels, by_features, tmp_path / "pairs.part", distances, distances)
    form, _, pixels = read(tmp_path / "pairs.part")
    below = LINE if captioned else 0
    assert form == "PNG"
    assert pixels.shape[0] == 3 * (side * scale + below) + 2 * GAP
    assert_tiles(tiles_of(pixels, 3, 4, side, scale, below), [generated, by_pixels, by_features])


def test_every_row_of_pairs_has_a_title(tmp_path):
    white = torch.full((2, 1, 8, 8), 255, dtype=torch.uint8)
    save_pairs(white, white, white, tmp_path / "pairs.png")
    pixels = read(tmp_path / "pairs.png")[2]
    margin = pixels[:, : -(2 * 72 + GAP)]
    assert all(has_ink(margin[row * 74 : row * 74 + 72]) for row in range(3))
    assert not has_ink(pixels[:, margin.shape[1] :])
    assert not has_ink(margin[:, :4]) and not has_ink(margin[:, -4:])  # nothing is cut off


def test_distances_stand_below_the_images_that_they_lead_to(tmp_path):
    white = torch.full((3, 1, 8, 8), 255, dtype=torch.uint8)
    save_pairs(white, white, white, tmp_path / "pairs.png", None, torch.tensor([1.5, 1.5, 20000.0]))
    pixels = read(tmp_path / "pairs.png")[2][:, -(3 * 74 - GAP) :]
    lines = [[pixels[y : y + LINE, x : x + 72] for x in (0, 74, 148)] for y in (72, 160, 248)]
    assert [[has_ink(text) for text in row] for row in lines] == [[False] * 3, [False] * 3, [True] * 3]
    assert np.array_equal(lines[2][0], lines[2][1])
    assert not np.array_equal(lines[2][0], lines[2][2])


def test_a_trajectory_has_noisy_above_denoised_images_the_final_one_last(tmp_path):
    first, first_denoised, second, second_denoised, final = random_images(10, 1, 12, 12).split(2)
    moments = [Moment(80.0, first, first_denoised), Moment(0.5, second, second_denoised)]
    save_trajectory(moments, final, tmp_path / "trajectory.png")
    pixels = read(tmp_path / "trajectory.png")[2]
    expected = [
        [part[i] for part in row]
        for i in range(2)
        for row in ((first, second, final), (first_denoised, second_denoised, final))
    ]
    assert pixels.shape == (LINE + 4 * 74 - GAP, 3 * 74 - GAP)
    assert_tiles(tiles_of(pixels, 4, 3, 12, 6), expected)
    assert all(has_ink(pixels[:LINE, column * 74 : column * 74 + 72]) for column in range(3))


def test_an_animation_shows_each_step_and_the_images_for_longer(tmp_path):
    first, first_denoised, second, second_denoised, final = random_images(10, 1, 12, 12).split(2)
    moments = [Moment(80.0, first, first_denoised), Moment(0.5, second, second_denoised)]
    save_animation(moments, final, tmp_path / "steps.part")
    expected = [(first, first_denoised), (second, second_denoised), (final, final)]
    with Image.open(tmp_path / "steps.part") as animation:
        assert animation.format == "GIF" and animation.info["loop"] == 0
        assert animation.n_frames == len(expected)
        durations = []
        for number, rows in enumerate(expected):
            animation.seek(number)
            durations.append(animation.info["duration"])
            pixels = np.asarray(animation.convert("L"))
            assert_tiles(tiles_of(pixels, 2, 2, 12, 6), rows)
            assert has_ink(pixels[:LINE])
    assert durations == [FRAME_MS, FRAME_MS, LAST_FRAME_MS]


def test_a_moment_scales_the_state_to_the_spread_of_images():
    x = torch.tensor([[[[3.0, -3.0]]]], dtype=torch.float64)
    moment = Moment.of(4.0, x, x / 6, sigma_data=3.0)  # a spread of 5 becomes one of 3
    assert moment.noisy.flatten().tolist() == [255, 0] and moment.denoised.flatten().tolist() == [191, 64]
    assert Moment.of(4.0, x / 4, x, sigma_data=3.0).noisy.flatten().tolist() == [185, 70]


@pytest.mark.parametrize(("side", "smallest", "scale"), [(8, 72, 9), (32, 32, 1), (12, 32, 3)])
def test_a_pixel_of_a_grid_leads_to_its_image(side, smallest, scale):
    images, columns, step = random_images(5, 1, side, side), 3, side * scale + GAP
    assert grid_picture(images, columns, smallest).size == (3 * step - GAP, 2 * step - GAP)
    for number in range(6):  # the last one has no image
        x, y = number % columns * step, number // columns * step
        for dx, dy in ((0, 0), (side * scale - 1, 0), (0, side * scale - 1), (step - 1, step - 1)):
            assert image_at(x + dx, y + dy, side, columns, smallest) == number
    assert image_at(3 * step + 5, 0, side, columns, smallest) == 2  # right of the last column
