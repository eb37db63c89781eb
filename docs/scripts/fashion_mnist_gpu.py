"""Draw docs/images/fashion_mnist_gpu.png: `uv run python docs/scripts/fashion_mnist_gpu.py DIR`.

DIR is the folder that `benchmarks/gpu/check.py --only real` has written on a GPU: loss curves, grids and FIDs of the
study's three networks on FashionMNIST.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from PIL import Image

TARGET = Path(__file__).parents[1] / "images" / "fashion_mnist_gpu.png"
FILES = {
    "conditional": "real_conditional.png",
    "without attention": "real_without_attention.png",
    "unconditional": "real_unconditional.png",
}
DPI = 130
LOSSES = (0.2, 0.4, 0.6, 1.0)  # marked on the axis


def main() -> None:
    """Draw the grids side by side, below them the loss curves."""
    folder = Path(sys.argv[1])
    curves: dict[str, list[tuple[float, float]]] = json.loads((folder / "real_curves.json").read_text())
    rows = {row["what"]: row for row in json.loads((folder / "results.json").read_text())["rows"]}
    figure = plt.figure(figsize=(8.4, 5.8), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(5, 3))
    for axes, (name, file) in zip(above.subplots(1, len(FILES)), FILES.items(), strict=True):
        show_grid(axes, folder / file, f"{name}\n{curves[name][-1][0]:.0f} kimg, FID test {fid_of(rows, name)}")
    axes: Any = below.subplots()
    for name, style in zip(FILES, ("-", "--", ":"), strict=True):
        kimg, losses = zip(*curves[name], strict=True)
        axes.plot(kimg, losses, style, label=name)
    axes.set(xlabel="thousands of images (kimg)", ylabel="loss", yscale="log")
    axes.set_yticks(LOSSES, [f"{loss:g}" for loss in LOSSES], minor=False)
    axes.minorticks_off()
    axes.legend()
    figure.savefig(TARGET, dpi=DPI)
    Image.open(TARGET).convert("P", palette=Image.Palette.ADAPTIVE).save(TARGET, optimize=True)  # half the size


def show_grid(axes: Any, path: Path, title: str) -> None:
    """Show a picture without axes."""
    axes.imshow(Image.open(path), cmap="gray", interpolation="lanczos")
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


def fid_of(rows: dict[str, Any], name: str) -> str:
    """Return a network's test FID with its standard error, as the check found them."""
    row = rows[f"{name}: FID, test"]
    return f"{row['value']:.2f} {row['note'].split(',')[0]}"


if __name__ == "__main__":
    main()
