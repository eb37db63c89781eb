"""Sample grids as PNG files."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

SMALLEST_TILE = 32  # pixels: smaller images are enlarged by a whole factor, to be seen at all
GAP = 2  # white pixels between tiles


def save_grid(images: UInt8[Tensor, "n c h w"], path: Path, columns: int = 10) -> None:
    """Write images as a grid, row by row; gray or RGB, small ones enlarged, white between them."""
    from PIL import Image  # edm imports without it

    n, c, h, w = images.shape
    rows, scale = -(-n // columns), max(1, -(-SMALLEST_TILE // h))
    tiles = images.new_full((rows * columns, c, h * scale + GAP, w * scale + GAP), 255)
    tiles[:n, :, : h * scale, : w * scale] = images.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    height, width = tiles.shape[2:]
    grid = tiles.reshape(rows, columns, c, height, width).permute(0, 3, 1, 4, 2)
    grid = grid.reshape(rows * height, columns * width, c)[:-GAP, :-GAP]
    Image.fromarray((grid[..., 0] if c == 1 else grid).cpu().numpy()).save(path, format="PNG")
