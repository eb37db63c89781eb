"""Sample grids: every pixel where it should be."""

import numpy as np
import pytest
import torch
from PIL import Image

from edm.pictures import save_grid

GAP = 2  # white pixels between tiles


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
