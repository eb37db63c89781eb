"""How long scores take: Frechet distances at Inception's 2048 dimensions, beside pytorch-fid's own.

    uv run python benchmarks/evaluation.py

Every section prints what it measured and the ratio, all in one run on one machine. pytorch-fid's distance takes
scipy's matrix square root, whose time depends on how the variances of the features decay, so that two ways are shown.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
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
INDEX = torch.arange(1, DIMENSION + 1)
SPECTRA = {  # variances along the principal axes
    "as a power of the rank, 12 to 5e-5": 12 * INDEX**-1.25 * (-INDEX / 700).exp(),
    "exponentially, 10 to 1e-5": 10 * 1e-6 ** (INDEX / DIMENSION),
}
REPEATS = 5


def timed(call: Callable[[], Any], repeats: int = REPEATS) -> tuple[float, Any]:
    """The median wall-clock time of a call, and its result; a first one only warms up where there are several."""
    times, result = [], None
    for _ in range(repeats + (repeats > 1)):
        begun = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[-repeats:]), result


def show(name: str, elapsed_s: float, than_s: float | None = None) -> None:
    """One line: what, how long, and how many times faster than something else."""
    ratio = "" if than_s is None else f", {than_s / elapsed_s:6.1f} times faster"
    print(f"{name:66s} {elapsed_s:8.3f} s{ratio}", flush=True)


def draw_features(variances: Tensor, seed: int, scale: float, shift: float) -> Tensor:
    """Features of IMAGES images [n, d], in float32 as extractors give them; scale 1 and shift 0 are the real ones."""
    basis = torch.linalg.qr(torch.randn(DIMENSION, DIMENSION, generator=torch.Generator().manual_seed(0))).Q
    noise = torch.randn(IMAGES, DIMENSION, generator=torch.Generator().manual_seed(seed))
    return (scale * noise + shift) * variances.sqrt() @ basis.T


def without_disp(original: Callable[..., Any]) -> Callable[..., Any]:
    """sqrtm with the argument that scipy 1.18 removed and pytorch-fid still calls it with."""

    def sqrtm(matrix: np.ndarray, disp: bool = True) -> Any:
        return original(matrix) if disp else (original(matrix), None)

    return sqrtm


def theirs(generated: Statistics, real: Statistics) -> float:
    """pytorch-fid's distance."""
    a, b = ((s.mean.numpy(), s.covariance.numpy()) for s in (generated, real))
    return float(fid_score.calculate_frechet_distance(*a, *b))


def distances(variances: Tensor) -> None:
    """One distance, three splits with their references cached, and the influences of all images."""
    features = draw_features(variances, 1, scale=1.1, shift=0.1)
    generated = Statistics.of(features)
    real = {split: Statistics.of(draw_features(variances, seed, 1.0, 0.0)) for seed, split in enumerate(SPLITS, 2)}
    cached = [Reference.of(found).tensors() for found in real.values()]

    def three(score: Callable[[Statistics, Reference], Any]) -> list[Any]:
        made = replace(generated)  # without what an earlier call found out about it
        return [score(made, Reference.from_tensors(tensors)) for tensors in cached]

    timings = [timed(lambda split=split: theirs(generated, real[split]), repeats=1) for split in SPLITS]
    their_time, their_distance = timings[0]
    show("pytorch-fid, one distance", their_time)
    our_time, our_distance = timed(lambda: frechet_distance(replace(generated), real[SPLITS[0]]))
    show("edm, one distance", our_time, their_time)
    their_times = sum(elapsed_s for elapsed_s, _ in timings)
    show("pytorch-fid, three splits", their_times)
    show("edm, three splits, references cached", timed(lambda: three(frechet_distance))[0], their_times)
    found_time, found = timed(lambda: three(frechet))
    show("edm, three splits, with all that influences need", found_time, their_times)
    show(f"edm, influences of {IMAGES:,} images on one split", timed(lambda: found[0].influences(features))[0])
    print(f"the first distance: edm's {our_distance:.9f}, pytorch-fid's {their_distance:.9f}")


def main() -> None:
    """Measure and print, section by section."""
    fid_score.linalg.sqrtm = without_disp(linalg.sqrtm)
    print(f"Frechet distance, {DIMENSION} dimensions, {IMAGES:,} images, {torch.get_num_threads()} threads")
    for name, variances in SPECTRA.items():
        print(f"variances that decay {name}")
        distances(variances)


if __name__ == "__main__":
    main()
