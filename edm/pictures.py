"""Sample grids as PNG files."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

SMALLEST_TILE = 32  # pixels: smaller images are enlarged by a whole factor, to be seen at all


def save_grid(images: UInt8[Tensor, "n c h w"], path: Path, columns: int = 10) -> None:
    """Write images as a grid, row by row; gray or RGB."""
    n, c, h, w = images.shape
    rows = -(-n // columns)
    canvas = images.new_zeros(rows * columns, c, h, w)
    canvas[:n] = images
    grid = canvas.reshape(rows, columns, c, h, w).permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, c)
    scale = max(1, -(-SMALLEST_TILE // h))
    grid = grid.repeat_interleave(scale, dim=0).repeat_interleave(scale, dim=1)
    Image.fromarray((grid[..., 0] if c == 1 else grid).cpu().numpy()).save(path, format="PNG")
