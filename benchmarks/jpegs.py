"""How long it takes to prepare a folder of 2,000 JPEG files of CelebA's size, beside Pillow's decoder alone.

    uv run python benchmarks/jpegs.py [--threads N]

Every way takes the same files with the same number of threads (all cores by default), in turns, so that other work on
the machine affects all alike. Prints medians of the wall and CPU times of this process, and ratios of wall times.
"""

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from edm.config import DataConfig
from edm.data.catalogue import source_fingerprint
from edm.data.decode import CELEBA_CROP, CELEBA_SIZE
from edm.data.prepare import prepare

NUMBER = 2_000
RESOLUTIONS = (64, 128)
AT_ONCE = 50  # pictures that a thread takes
TURNS = 7
NOISE = 3  # grey levels of the grain


def make_pictures(folder: Path) -> None:
    """Write JPEG files of smooth colours with some grain."""
    rng, (width, height) = np.random.default_rng(0), CELEBA_SIZE
    for i in range(NUMBER):
        coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(CELEBA_SIZE, Image.Resampling.BICUBIC))
        grained = (smooth + rng.normal(0, NOISE, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(grained).save(folder / f"{i:06d}.jpg", quality=90)


def decode(path: Path) -> np.ndarray:
    """Read and decode a file, and nothing else."""
    return np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))


def decode_and_resize(path: Path, resolution: int) -> np.ndarray:
    """Read and decode a file, and resize its central square, by Pillow alone."""
    image = Image.open(io.BytesIO(path.read_bytes()))
    top = (CELEBA_SIZE[1] - CELEBA_CROP) // 2
    square = image.crop((0, top, CELEBA_CROP, top + CELEBA_CROP))
    return np.asarray(square.resize((resolution, resolution), Image.Resampling.BILINEAR))


def with_all(call: Callable[[Path], np.ndarray], paths: list[Path], threads: int) -> None:
    """Call a function with all paths, in threads."""

    def some(start: int) -> None:
        for path in paths[start : start + AT_ONCE]:
            call(path)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, range(0, len(paths), AT_ONCE)))


def prepared(folder: Path, resolution: int, threads: int) -> None:
    """Prepare the folder as a data set; its digest is known, as after planning."""
    with tempfile.TemporaryDirectory() as out:
        prepare(DataConfig("folder", path=str(folder), resolution=resolution), Path(out), threads=threads)


def in_turns(calls: dict[str, Callable[[], None]]) -> dict[str, tuple[float, float]]:
    """Return the median wall and CPU time of every call."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: tuple(map(statistics.median, zip(*each, strict=True))) for name, each in times.items()}


def main() -> None:
    """Make the files, measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    threads = parser.parse_args().threads
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_pictures(folder)
        paths = sorted(folder.iterdir())
        size = sum(path.stat().st_size for path in paths) / NUMBER / 1024
        print(f"{NUMBER:,} JPEG files of {CELEBA_SIZE[0]}x{CELEBA_SIZE[1]}, {size:.0f} KiB each, {threads} threads")
        for resolution in RESOLUTIONS:
            source_fingerprint(DataConfig("folder", path=str(folder), resolution=resolution))
            calls = {
                "decode": lambda: with_all(decode, paths, threads),
                f"decode and resize to {resolution}": lambda r=resolution: with_all(
                    lambda path: decode_and_resize(path, r), paths, threads
                ),
                f"prepare in {resolution}x{resolution}": lambda r=resolution: prepared(folder, r, threads),
            }
            found = in_turns(calls)
            floor = found["decode"][0]
            for name, (wall, cpu) in found.items():
                print(f"{name:24s} {wall:6.2f} s, {cpu:6.2f} s of CPU time, {wall / floor:5.2f} of decoding alone")


if __name__ == "__main__":
    main()
