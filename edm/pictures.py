"""Sample grids and denoising trajectories as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

SMALLEST_TILE = 32  # pixels: smaller images are enlarged by a whole factor, to be seen at all
TITLED_TILE = 72  # under a line of text
GAP = 2  # white pixels between tiles
LINE = 14  # pixels of a line of text


def save_grid(images: UInt8[Tensor, "n c h w"], path: Path, columns: int = 10) -> None:
    """Write images as a grid, row by row; gray or RGB, small ones enlarged, white between them."""
    _save(_grid(images, columns), path)


@dataclass(frozen=True)
class Moment:
    """One step of sampling: its noise level, the noisy state it began at and what the denoiser made of it."""

    sigma: float
    noisy: UInt8[Tensor, "n c h w"]
    denoised: UInt8[Tensor, "n c h w"]


def save_trajectory(moments: Sequence[Moment], final: UInt8[Tensor, "n c h w"], path: Path) -> None:
    """Write iterative denoising as a picture: two rows an image, its noisy states above the denoiser's outputs.

    A column is one step, headed by its noise level; the last one is the finished image.
    """
    noisy = [*(moment.noisy for moment in moments), final]
    denoised = [*(moment.denoised for moment in moments), final]
    rows = torch.stack([torch.stack(noisy, dim=1), torch.stack(denoised, dim=1)], dim=1)  # image, row, column
    heads = [*(f"sigma {moment.sigma:.3g}" for moment in moments), "image"]
    _save(_grid(rows.flatten(0, 2), len(heads), TITLED_TILE), path, heads)


def _grid(
    images: UInt8[Tensor, "n c h w"], columns: int, smallest: int = SMALLEST_TILE
) -> UInt8[Tensor, "height width c"]:
    n, c, h, w = images.shape
    rows, scale = -(-n // columns), max(1, -(-smallest // h))
    tiles = images.new_full((rows * columns, c, h * scale + GAP, w * scale + GAP), 255)
    tiles[:n, :, : h * scale, : w * scale] = images.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    height, width = tiles.shape[2:]
    grid = tiles.reshape(rows, columns, c, height, width).permute(0, 3, 1, 4, 2)
    return grid.reshape(rows * height, columns * width, c)[:-GAP, :-GAP]


def _save(grid: UInt8[Tensor, "height width c"], path: Path, heads: Sequence[str] = ()) -> None:
    from PIL import Image, ImageDraw  # edm imports without it

    picture = Image.fromarray((grid[..., 0] if grid.shape[2] == 1 else grid).cpu().numpy())
    if heads:
        titled = Image.new(picture.mode, (picture.width, picture.height + LINE), "white")
        titled.paste(picture, (0, LINE))
        pen, step = ImageDraw.Draw(titled), (picture.width + GAP) / len(heads)
        for i, head in enumerate(heads):
            pen.text(((i + 0.5) * step - GAP / 2, LINE / 2), head, fill="black", anchor="mm")
        picture = titled
    picture.save(path, format="PNG")
