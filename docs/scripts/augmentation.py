"""Draw the pictures of docs/augmentation.md: `uv run python docs/scripts/augmentation.py`."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits, load_sample_image
from torch import Tensor

from edm.augment import augment, draw, transform
from edm.data.dataset import to_uint8, to_unit

FOLDER = Path(__file__).parents[1] / "images" / "augmentation"
TILE, GAP, CAPTION = 128, 6, 20  # pixels
TURNS = (-90, -30, 15, 45, 180)
STRETCHES = ((2, 0), (-2, 0), (2, 90), (2, 45), (3, -30))
SHIFTS = ((1, 0), (0, 1), (-1, -1), (2, 0.5), (0, -3))
SCALES = (-3, -1.5, 1, 2, 4)

# field values of edm.augment.AugmentParameters and a caption, for each picture of a transform
TRANSFORMS: dict[str, list[tuple[str, dict[str, object]]]] = {
    "x_flip": [("mirrored", {"x_flip": True})],
    "y_flip": [("mirrored", {"y_flip": True})],
    "scale": [(f"n = {n:g}: x {2 ** (0.2 * n):.2f}", {"scale": n}) for n in SCALES],
    "rotation": [(f"{turn}°", {"rotation": math.radians(turn)}) for turn in TURNS],
    "stretch": [(f"n = {n}, r = {r}°", {"stretch": n, "direction": math.radians(r)}) for n, r in STRETCHES],
    "shift": [(f"n = ({x:g}, {y:g})", {"shift": [x, y]}) for x, y in SHIFTS],
}


def main() -> None:
    """Write one picture for every transform, and two of all together."""
    FOLDER.mkdir(exist_ok=True)
    subjects = [pagoda(), digit()]
    for name, changes in TRANSFORMS.items():
        rows = [[subject, *(changed(subject, fields) for _, fields in changes)] for subject in subjects]
        save(rows, ["original", *(caption for caption, _ in changes)], FOLDER / f"{name}.png")
    for name, probability in (("pipeline", 0.12), ("everything", 1.0)):
        rows = [[subject, *stream(subject, probability)] for subject in subjects]
        save(rows, ["original", *(f"p = {probability:g}, image {index}" for index in range(5))], FOLDER / f"{name}.png")


def pagoda() -> Tensor:
    """A square of a photograph that comes with scikit-learn, at 64x64."""
    whole = Image.fromarray(load_sample_image("china.jpg"))
    square = whole.crop((60, 0, 60 + whole.height, whole.height)).resize((64, 64))
    return to_unit(torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8).reshape(1, 64, 64, 3).movedim(3, 1))


def digit() -> Tensor:
    """A handwritten digit of 8x8 pixels."""
    pixels, _ = load_digits(return_X_y=True)
    return torch.tensor(pixels[4] / 8 - 1).float().reshape(1, 1, 8, 8)


def changed(image: Tensor, fields: dict[str, object]) -> Tensor:
    """The image with these parameters, the others being 0."""
    nothing = draw(seed=0, index=torch.arange(1), probability=0.0)
    given = {name: torch.tensor([value], dtype=getattr(nothing, name).dtype) for name, value in fields.items()}
    return transform(image, replace(nothing, **given))


def stream(image: Tensor, probability: float) -> list[Tensor]:
    """What training would see of the image at the first five positions of its stream."""
    images, _ = augment(image.expand(5, -1, -1, -1), seed=3, index=torch.arange(5), probability=probability)
    return list(images.split(1))


def save(rows: list[list[Tensor]], captions: list[str], path: Path) -> None:
    """Write rows of images under one row of captions."""
    step = TILE + GAP
    page = Image.new("RGB", (step * len(captions) - GAP, CAPTION + step * len(rows) - GAP), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for column, caption in enumerate(captions):
        pen.text((step * column + TILE / 2, CAPTION / 2), caption, fill="black", font=font, anchor="mm")
    for number, row in enumerate(rows):
        for column, image in enumerate(row):
            page.paste(tile(image), (step * column, CAPTION + step * number))
    page.save(path, optimize=True)


def tile(image: Tensor) -> Image.Image:
    """The image with every pixel as a square."""
    pixels = to_uint8(image)[0].expand(3, -1, -1).permute(1, 2, 0)
    return Image.fromarray(pixels.contiguous().numpy()).resize((TILE, TILE), Image.Resampling.NEAREST)


if __name__ == "__main__":
    main()
