"""How soon the demo shows images, and what showing every step costs the sampling.

    uv run python benchmarks/demo.py STORE [CELL]      # a store with a finished training, such as the digits sweep's

Prints the seconds from opening the page in Chromium to the first images, three times, and the time of a drawing with
frames (as the page shows them) divided by that of the same drawing without.
"""

from __future__ import annotations

import math
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # tests/ is not installed

from edm.generate import draw  # noqa: E402
from edm.pictures import TITLED_TILE, Moment, grid_picture  # noqa: E402
from experiments.demo.drawing import Drawing  # noqa: E402
from experiments.demo.networks import Network, load, offers  # noqa: E402
from experiments.demo.settings import form_of, read  # noqa: E402
from experiments.store.store import Store  # noqa: E402
from tests.browser import opened, served  # noqa: E402

REPEATS = 15
OPENINGS = 3


def main(store: Path, cells: list[str]) -> None:
    """Measure and print."""
    opening = seconds_to_images(store, cells)
    print(f"first images after {opening[0]:.2f} s, then {', '.join(f'{each:.2f} s' for each in opening[1:])}")
    place, cpu = Store(store), torch.device("cpu")
    network = load(offers(cells, place)[0], place, cpu)
    for images, steps in ((16, 18), (16, 100)):
        plain, shown = cost_of_frames(network, images, steps)
        print(f"{images} images, {steps} steps: {plain:.3f} s, with frames {shown:.3f} s, ratio {shown / plain:.3f}")


def seconds_to_images(store: Path, cells: list[str]) -> list[float]:
    """Seconds from opening the page to its first picture, several times."""
    with served(store, "demo", *cells) as address, opened() as page:
        found: list[float] = []
        for _ in range(OPENINGS):
            page.goto("about:blank")
            began = time.monotonic()
            page.goto(address, wait_until="commit")
            page.locator(".pixels img").first.wait_for()
            found.append(time.monotonic() - began)
        return found


def cost_of_frames(network: Network, images: int, steps: int) -> tuple[float, float]:
    """Median seconds of a drawing without frames and of one whose frames are encoded as the page does, in turn."""
    form = replace(form_of(network.sampling, images), steps=float(steps))
    wanted = read(form, network)
    index, labels = torch.arange(images), wanted.labels(network.model.config.num_classes)
    plain: list[float] = []
    shown: list[float] = []
    for _ in range(REPEATS):
        plain.append(in_a_thread(lambda: draw(network.model, wanted.sampling, index, labels, network.guide)))
        drawing = Drawing(network, wanted, threading.Event())
        for frame in drawing.frames():
            encode(frame.moment)
        shown.append(drawing.seconds)
    return statistics.median(plain), statistics.median(shown)


def in_a_thread(work: Callable[[], object]) -> float:
    """Seconds of some work in a thread of its own, in which the demo draws too."""
    began = time.monotonic()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return time.monotonic() - began


def encode(moment: Moment) -> None:
    """Write the pictures of a frame as PNG, as the page does."""
    for images in (moment.noisy, moment.denoised):
        picture = grid_picture(images, math.isqrt(len(images)), TITLED_TILE)
        picture.save(BytesIO(), format="PNG", compress_level=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
