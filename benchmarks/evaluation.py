"""How long scores take: Frechet distances at Inception's 2048 dimensions, beside pytorch-fid's own.

    uv run python benchmarks/evaluation.py

Every section prints what it measured and the ratio, all in one run on one machine. Features are drawn with a spectrum
that decays as Inception's does; pytorch-fid's distance takes scipy's matrix square root.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pytorch_fid import fid_score
from scipy import linalg
from torch import Tensor

from edm.fid import Reference, Statistics, frechet, frechet_distance

DIMENSION = 2048
IMAGES = 10_000
SPLITS = ("train", "val", "test")
REPEATS = 5


def seconds(call: Callable[[], Any], repeats: int = REPEATS) -> float:
    """The median wall-clock time of a call; a first one only warms up where there are several."""
    times = []
    for _ in range(repeats + (repeats > 1)):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[-repeats:])


def show(name: str, elapsed_s: float, than_s: float | None = None) -> None:
    """One line: what, how long, and how many times faster than something else."""
    ratio = "" if than_s is None else f", {than_s / elapsed_s:6.1f} times faster"
    print(f"{name:66s} {elapsed_s:8.3f} s{ratio}", flush=True)


def draw_features(seed: int, scale: float, shift: float) -> Tensor:
    """Features of IMAGES images [n, d], in float32 as extractors give them; scale 1 and shift 0 are the real ones."""
    basis = torch.linalg.qr(torch.randn(DIMENSION, DIMENSION, generator=torch.Generator().manual_seed(0))).Q
    index = torch.arange(1, DIMENSION + 1)
    deviations = (12 * index**-1.25 * (-index / 700).exp()).sqrt()  # variances from 12 down to 5e-5, 44 in all
    noise = torch.randn(IMAGES, DIMENSION, generator=torch.Generator().manual_seed(seed))
    return (scale * noise + shift) * deviations @ basis.T


def without_disp(original: Callable[..., Any]) -> Callable[..., Any]:
    """sqrtm with the argument that scipy 1.18 removed and pytorch-fid still calls it with."""

    def sqrtm(matrix: np.ndarray, disp: bool = True) -> Any:
        return original(matrix) if disp else (original(matrix), None)

    return sqrtm


def theirs(generated: Statistics, real: Statistics) -> float:
    """pytorch-fid's distance."""
    moments = [array.numpy() for s in (generated, real) for array in (s.mean, s.covariance)]
    return float(fid_score.calculate_frechet_distance(*moments))


def distances() -> None:
    """One distance, three splits with their references cached, and the influences of all images."""
    fid_score.linalg.sqrtm = without_disp(linalg.sqrtm)
    features = draw_features(1, scale=1.1, shift=0.1)
    generated = Statistics.of(features)
    real = {split: Statistics.of(draw_features(seed, 1.0, 0.0)) for seed, split in enumerate(SPLITS, start=2)}
    references = {split: Reference.of(found) for split, found in real.items()}

    print(f"Frechet distance, {DIMENSION} dimensions, {IMAGES:,} images, {torch.get_num_threads()} threads")
    their_times = {split: seconds(lambda split=split: theirs(generated, real[split]), repeats=1) for split in SPLITS}
    show("pytorch-fid, one distance", their_times["test"])
    ours = seconds(lambda: frechet_distance(generated, real["test"]))
    show("edm, one distance", ours, their_times["test"])
    show("pytorch-fid, three splits", sum(their_times.values()))
    cached = seconds(lambda: [frechet_distance(generated, reference) for reference in references.values()])
    show("edm, three splits, references cached", cached, sum(their_times.values()))
    both = seconds(lambda: [frechet(generated, reference) for reference in references.values()], repeats=1)
    show("  with all that influences need", both, sum(their_times.values()))
    found = frechet(generated, references["test"])
    show(f"influences of {IMAGES:,} images on one split", seconds(lambda: found.influences(features), repeats=3))
    ours_then_theirs = found.distance, theirs(generated, real["test"])
    print("the distance to test: {:.9f}, pytorch-fid's {:.9f}".format(*ours_then_theirs))


def main() -> None:
    """Measure and print, section by section."""
    distances()


if __name__ == "__main__":
    main()
