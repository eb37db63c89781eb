"""How long scores take and how much memory, beside pytorch-fid's distance and the 2023 study's way.

    uv run python benchmarks/evaluation.py [distances|whole|memory] [--threads N]

Every section prints what it measured and the ratio, all in one run on one machine. pytorch-fid's distance takes
scipy's matrix square root, whose time depends on how the variances of the features decay, so that three cases are
shown. On one thread, which is the default, times are CPU times, so that other work on the machine does not count.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_fid import fid_score
from scipy import linalg
from threadpoolctl import threadpool_limits
from torch import Tensor

from edm.metrics.features import extract
from edm.metrics.fid import Reference, Statistics, frechet, frechet_distance
from edm.metrics.inception import InceptionV3
from edm.metrics.kid import kernel_distance
from experiments.store.checksummed import write_checksummed
from experiments.trials.evaluation.features import FEATURES, FeatureRows, MeasuredFeatures, segments

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")

DIMENSION = 2048
IMAGES = 10_000
SPLITS = ("train", "val", "test")
INDEX = torch.arange(1, DIMENSION + 1)
SPECTRA = {  # variances along the principal axes
    "as a power of the rank, 12 to 5e-5": 12 * INDEX**-1.25 * (-INDEX / 700).exp(),
    "exponentially, 10 to 1e-5": 10 * 1e-6 ** (INDEX / DIMENSION),
}
FEW = 1_500  # images, fewer than dimensions, so that their covariance is singular
REPEATS = 3
PICTURES = 100  # of the whole way
SCORED = (4_000, 8_000, 16_000, 32_000)


def seconds() -> float:
    """Return a clock's time: the CPU's on one thread; the wall's with several, which also spin while they wait."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def timed(call: Callable[[], Any], repeats: int = REPEATS) -> tuple[float, Any]:
    """Return the median time of a call, and its result; a first one only warms up where there are several."""
    times, result = [], None
    for _ in range(repeats + (repeats > 1)):
        begun = seconds()
        result = call()
        times.append(seconds() - begun)
    return statistics.median(times[-repeats:]), result


def show(name: str, elapsed_s: float, than_s: float | None = None) -> None:
    """One line: what, how long, and how many times faster than something else."""
    ratio = "" if than_s is None else f", {than_s / elapsed_s:6.1f} times faster"
    print(f"{name:66s} {elapsed_s:8.3f} s{ratio}", flush=True)


def draw_features(variances: Tensor, seed: int, scale: float, shift: float, images: int = IMAGES) -> Tensor:
    """Return features [n, d] in float32, as extractors give them; scale 1 and shift 0 are the real ones."""
    basis = torch.linalg.qr(torch.randn(DIMENSION, DIMENSION, generator=torch.Generator().manual_seed(0))).Q
    noise = torch.randn(images, DIMENSION, generator=torch.Generator().manual_seed(seed))
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


def distances(variances: Tensor, images: int) -> None:
    """Time one distance, three splits with their references cached, and the influences of all images."""
    features = draw_features(variances, 1, scale=1.1, shift=0.1, images=images)
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
    covariance = generated.covariance
    floor_time = len(SPLITS) * timed(lambda: torch.linalg.eigvalsh(covariance))[0]
    show("LAPACK's eigenvalues of three matrices, a floor", floor_time, their_times)
    show("edm, three splits, references cached", timed(lambda: three(frechet_distance))[0], their_times)
    found_time, found = timed(lambda: three(frechet))
    show("edm, three splits, with all that influences need", found_time, their_times)
    show(f"edm, influences of {images:,} images on one split", timed(lambda: found[0].influences(features))[0])
    print(f"the first distance: edm's {our_distance:.9f}, pytorch-fid's {their_distance:.9f}")


def whole_way() -> None:
    """From a tensor of drawn images to three FIDs, beside the study's way: PNG files, read again for each split."""
    from benchmarks.gpu.cases import random_inception
    from benchmarks.plain import plain_scores

    extractor = random_inception(CPU)
    plain = InceptionV3().eval()
    plain.load_state_dict(extractor.network.state_dict())
    images = torch.randint(0, 256, (PICTURES, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    spectrum = next(iter(SPECTRA.values()))
    real = [Statistics.of(draw_features(spectrum, seed, 1.0, 0.0)) for seed, _ in enumerate(SPLITS, start=2)]
    moments = [(found.mean.numpy(), found.covariance.numpy()) for found in real]
    cached = [Reference.of(found).tensors() for found in real]

    def ours() -> list[float]:
        generated = Statistics.of(extract(extractor, images, CPU)[0])
        return [frechet_distance(generated, Reference.from_tensors(tensors)) for tensors in cached]

    def studys() -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            return plain_scores(images, moments, plain, CPU, Path(folder))

    print(f"\n{PICTURES} images of 32x32 to three FIDs, Inception with random weights")
    their_time, expected = timed(studys, repeats=1)
    show("the study's way: write PNGs; read, measure, compare for each split", their_time)
    found_time, _ = timed(lambda: extract(extractor, images, CPU))
    show("edm: the features alone", found_time)
    our_time, found = timed(ours)
    show("edm: measure the tensor once, compare three times", our_time, their_time)
    print(f"the first: edm's {found[0]:.6f}, the study's way {expected[0]:.6f}")


def memory() -> None:
    """The most memory that scoring takes, for more and more images: features are read from disk by segments."""
    print(f"\nMemory to score images against 2,000 real ones, {DIMENSION} dimensions: FID, its influences, KID")
    for num in SCORED:
        child = [sys.executable, __file__, str(num)]
        peak = subprocess.run(child, capture_output=True, text=True, check=True).stdout.strip()
        print(f"{f'{num:,} images, {num * DIMENSION * 4 / 2**20:.0f} MiB of features':66s} {peak:>8s} MiB", flush=True)


def score_from_disk(num: int) -> None:
    """Write features by segments, score them, print this process's peak memory beyond what imports took, in MiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        drawn, real = (_on_disk(Path(folder) / name, count) for name, count in (("drawn", num), ("real", 2_000)))
        found = frechet(drawn.statistics(), Reference.of(real.statistics()))
        torch.cat([found.influences(features) for features in drawn])
        kernel_distance(drawn, real)
    print(round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def _on_disk(folder: Path, num: int) -> MeasuredFeatures:
    """Random features, by segments as evaluations keep them."""
    parts = []
    for start, stop in segments(0, num):
        features = torch.randn(stop - start, DIMENSION, generator=torch.Generator().manual_seed(start))
        parts.append(FeatureRows(write_checksummed(folder, f"{start:08d}", {FEATURES: features}), 0, stop - start))
    return MeasuredFeatures(parts)


def all_distances() -> None:
    """Time distances for every spectrum, then for fewer images than dimensions."""
    for name, variances in SPECTRA.items():
        print(f"\nFrechet distance, {DIMENSION} dimensions, {IMAGES:,} images; variances that decay {name}")
        distances(variances, IMAGES)
    name, variances = next(iter(SPECTRA.items()))
    print(f"\nFrechet distance, {DIMENSION} dimensions, {FEW:,} images; variances that decay {name}")
    distances(variances, FEW)


SECTIONS: dict[str, Callable[[], None]] = {"distances": all_distances, "whole": whole_way, "memory": memory}


def main() -> None:
    """Measure and print, section by section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("section", nargs="?", choices=SECTIONS, help="default: all")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    fid_score.linalg.sqrtm = without_disp(linalg.sqrtm)
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.threads} threads")
    with threadpool_limits(arguments.threads):
        for name in [arguments.section] if arguments.section else SECTIONS:
            SECTIONS[name]()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if len(sys.argv) > 1 and sys.argv[1].isdigit():
        score_from_disk(int(sys.argv[1]))
    else:
        main()
