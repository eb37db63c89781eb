"""Pictures: sample grids, denoising trajectories as PNG or GIF, and images beside their nearest training images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from edm.data.dataset import to_uint8
from edm.typed_torch import floats

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw as Pen

SMALLEST_TILE = 32  # pixels; smaller images are enlarged by a whole factor to be visible
TITLED_TILE = 72  # SMALLEST_TILE where a line of text has to fit above or below
GAP = 2  # white pixels between tiles
LINE = 14  # pixels of a line of text
MARGIN = 8  # white pixels on both sides of a row's title
PAIR_TITLES = ("generated", "nearest in pixels", "nearest in features")
FRAME_TITLES = ("noisy", "denoised")
FRAME_MS, LAST_FRAME_MS = 120, 2000  # how long an animation shows a step, and the finished images


def save_grid(images: UInt8[Tensor, "n c h w"], path: Path, columns: int = 10) -> None:
    """Write grey or RGB images as a grid, row by row; small ones are enlarged."""
    grid_picture(images, columns).save(path, format="PNG")


def grid_picture(images: UInt8[Tensor, "n c h w"], columns: int, smallest: int = SMALLEST_TILE) -> Picture:
    """Return grey or RGB images as a grid, row by row; those smaller than `smallest` pixels are enlarged."""
    return _titled(_grid(images, columns, smallest))


def image_at(x: int, y: int, side: int, columns: int, smallest: int = SMALLEST_TILE) -> int:
    """Return the number of the image at a pixel of a `grid_picture` of images of `side` pixels a side.

    A gap belongs to the image before it; the number may be that of an empty place in the last row.
    """
    step = side * _enlargement(side, smallest) + GAP
    return y // step * columns + min(x // step, columns - 1)


@dataclass(frozen=True)
class Moment:
    """One step of sampling: its noise level, the noisy images at its beginning, and the denoiser's output for them."""

    sigma: float
    noisy: UInt8[Tensor, "n c h w"]
    denoised: UInt8[Tensor, "n c h w"]

    @classmethod
    def of(
        cls, sigma: float, x: Float[Tensor, "n c h w"], denoised: Float[Tensor, "n c h w"], sigma_data: float
    ) -> Moment:
        """Return the pictures of a state and of the denoiser's output, on the CPU.

        The state is scaled back to the spread of images: at high noise levels all would be black and white.
        """
        visible = x * sigma_data / math.hypot(sigma, sigma_data)
        return cls(sigma, to_uint8(visible).cpu(), to_uint8(denoised).cpu())


def save_trajectory(moments: Sequence[Moment], final: UInt8[Tensor, "n c h w"], path: Path) -> None:
    """Write iterative denoising as a picture: two rows per image, its noisy states above the denoiser's outputs.

    Each column is a step, headed by its noise level; the last column is the finished image.
    """
    noisy = [*(moment.noisy for moment in moments), final]
    denoised = [*(moment.denoised for moment in moments), final]
    rows = torch.stack([torch.stack(noisy, dim=1), torch.stack(denoised, dim=1)], dim=1)  # image, row, column
    heads = [*(f"sigma {moment.sigma:.3g}" for moment in moments), "image"]
    _titled(_grid(rows.flatten(0, 2), len(heads), TITLED_TILE), heads=heads).save(path, format="PNG")


def save_animation(moments: Sequence[Moment], final: UInt8[Tensor, "n c h w"], path: Path) -> None:
    """Write iterative denoising as a GIF that repeats: a frame for each step, and the finished images for longer.

    Each column is an image, its noisy state above the denoiser's output.
    """
    frames = [_frame(moment.noisy, moment.denoised, f"sigma {moment.sigma:.3g}") for moment in moments]
    frames.append(_frame(final, final, "image"))
    durations = [FRAME_MS] * len(moments) + [LAST_FRAME_MS]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


def _frame(above: UInt8[Tensor, "n c h w"], below: UInt8[Tensor, "n c h w"], head: str) -> Picture:
    return _titled(_grid(torch.cat([above, below]), len(above), TITLED_TILE), heads=[head], sides=FRAME_TITLES)


def save_pairs(
    generated: UInt8[Tensor, "n c h w"],
    pixel_neighbours: UInt8[Tensor, "n c h w"],
    feature_neighbours: UInt8[Tensor, "n c h w"],
    path: Path,
    pixel_distances: Float[Tensor, " n"] | None = None,
    feature_distances: Float[Tensor, " n"] | None = None,
) -> None:
    """Write each generated image above its nearest training images, in pixels and in features.

    Distances, where given, are written below the training image.
    """
    num, captions = len(generated), []
    if pixel_distances is not None or feature_distances is not None:
        captions = [[""] * num, _captions(pixel_distances, num), _captions(feature_distances, num)]
    tiles = torch.cat([generated, pixel_neighbours, feature_neighbours])
    grid = _grid(tiles, num, TITLED_TILE, GAP + LINE if captions else GAP)
    _titled(grid, sides=PAIR_TITLES, captions=captions).save(path, format="PNG")


def _captions(distances: Float[Tensor, " n"] | None, num: int) -> list[str]:
    """Return distances as text: three significant digits, whole numbers from 100."""
    if distances is None:
        return [""] * num
    return [f"{value:.3g}" if value < 100 else f"{value:,.0f}" for value in floats(distances)]


def _grid(
    images: UInt8[Tensor, "n c h w"], columns: int, smallest: int = SMALLEST_TILE, below: int = GAP
) -> UInt8[Tensor, "height width c"]:
    """Arrange images row by row, small ones enlarged.

    below: white pixels under each row; under the last one a gap less.
    """
    n, c, h, w = images.shape
    rows, scale = -(-n // columns), _enlargement(h, smallest)
    tiles = images.new_full((rows * columns, c, h * scale + below, w * scale + GAP), 255)
    tiles[:n, :, : h * scale, : w * scale] = images.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    height, width = tiles.shape[2:]
    grid = tiles.reshape(rows, columns, c, height, width).permute(0, 3, 1, 4, 2)
    return grid.reshape(rows * height, columns * width, c)[:-GAP, :-GAP]


def _enlargement(side: int, smallest: int) -> int:
    return max(1, -(-smallest // side))


def _titled(
    grid: UInt8[Tensor, "height width c"],
    heads: Sequence[str] = (),
    sides: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
) -> Picture:
    """Return a grid with `heads` above columns, `sides` left of rows, and `captions` in the space below each row."""
    from PIL import Image, ImageDraw  # edm has to import where it is not installed

    picture = Image.fromarray((grid[..., 0] if grid.shape[2] == 1 else grid).cpu().numpy())
    pen = ImageDraw.Draw(picture)
    left = max((math.ceil(pen.textlength(side)) + 2 * MARGIN for side in sides), default=0)
    top = LINE if heads else 0
    titled = Image.new(picture.mode, (left + picture.width, top + picture.height), "white")
    titled.paste(picture, (left, top))
    pen = ImageDraw.Draw(titled)
    _write_row(pen, heads, left, picture.width, LINE / 2)
    step, below = (picture.height + GAP) / max(len(sides), 1), LINE if captions else 0
    for i, side in enumerate(sides):
        middle = top + (i + 0.5) * step - (GAP + below) / 2
        pen.text((left - MARGIN, middle), side, fill="black", anchor="rm")
    for i, row in enumerate(captions):
        _write_row(pen, row, left, picture.width, top + (i + 1) * step - GAP - LINE / 2)
    return titled


def _write_row(pen: Pen, texts: Sequence[str], left: int, width: int, y: float) -> None:
    """Write each text in the middle of its column."""
    step = (width + GAP) / max(len(texts), 1)
    for i, text in enumerate(texts):
        pen.text((left + (i + 0.5) * step - GAP / 2, y), text, fill="black", anchor="mm")
