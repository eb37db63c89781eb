"""Take docs/images/demo.gif, the demo while it draws: `uv run python docs/scripts/demo.py STORE [CELL]`."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[0] = str(ROOT)  # tests/ is not installed

from PIL import Image  # noqa: E402
from playwright.sync_api import Page  # noqa: E402

from tests.browser import opened, served  # noqa: E402

SIZE = {"width": 1040, "height": 820}
WIDTH, COLOURS = 700, 32  # of the animation
STEPS, IMAGES = 100, 16
FRAME_MS, LAST_MS = 160, 3000
MOST_FRAMES = 24


def main(store: Path, cells: list[str]) -> None:
    """Write the animation of a drawing, from the first click to the images."""
    with served(store, "demo", *cells) as address, opened() as page:
        page.set_viewport_size(SIZE)
        page.goto(address)
        page.get_by_text("Done:").wait_for()
        for label, value in (("Steps", STEPS), ("Number of images", IMAGES), ("Guidance (1: off)", 2)):
            page.get_by_label(label, exact=True).fill(str(value))
        page.get_by_role("button", name="Draw", exact=True).click()
        page.get_by_text(f"of {STEPS}").wait_for()
        frames = list(pictures_until_done(page))
    write(frames, ROOT / "docs" / "images" / "demo.gif")


def pictures_until_done(page: Page) -> list[Image.Image]:
    """Screenshots of the page until the images are there."""
    frames: list[Image.Image] = []
    done = False
    while not done and len(frames) < MOST_FRAMES:
        done = "Done:" in page.locator(".message p").inner_text()
        if done:
            page.wait_for_timeout(500)
        shot = Image.open(BytesIO(page.screenshot())).convert("RGB")
        frames.append(shot.resize((WIDTH, shot.height * WIDTH // shot.width), Image.Resampling.LANCZOS))
    return frames


def write(frames: list[Image.Image], path: Path) -> None:
    """Write an animation with few colours, of which most pixels stay as they are."""
    palette = frames[-1].quantize(COLOURS)
    few = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [FRAME_MS] * (len(few) - 1) + [LAST_MS]
    few[0].save(path, save_all=True, append_images=few[1:], duration=durations, loop=0, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
