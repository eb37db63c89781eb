"""Times features, the Frechet distance, and images from noise to three FIDs, beside the study's way."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.cases import SIGMA_DATA, model_of, network, pictures, random_inception
from benchmarks.gpu.measure import ceilings, finish, forget_peak, forward_floor_s, peak_gib, steps_of, timed
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from benchmarks.plain import (
    SAMPLED_AT_ONCE,
    Moments,
    PlainDenoiser,
    features_of_pictures,
    plain_distance,
    plain_sampling,
    write_pictures,
)
from edm.config import SPLITS, Precision, SamplingConfig
from edm.cost import forward_flops
from edm.generate import compiled_denoiser, generate, pays_to_compile
from edm.metrics.features import EXTRACTOR_BATCH, Inception, extract
from edm.metrics.fid import Reference, Statistics, frechet, frechet_distance
from edm.precondition import Denoiser

WHOLE = 50_000  # images that the figures are for
DRAWN = 10_000  # images that are drawn, measured and scored; the rest is in proportion
BATCH = 1000
WHOLE_WAY_S = 25.0  # that drawing, measuring and scoring may take
STEPS = 50  # of Euler's method, as the study's
PLAIN_DRAWN, PLAIN_MEASURED = 20, 400  # images of the plain loop
PRECISIONS: tuple[Precision, ...] = ("bf16", "fp32")
INCEPTION_FLOPS = 11.4e9  # of one image of 299 x 299 pixels


def run(setting: Setting, report: Report) -> None:
    """Time the parts, of which the plain loop's are slow and few, then the whole way."""
    extractor = random_inception(setting.torch_device)
    real = real_statistics(setting)
    costs = PlainCosts()
    with report.attempt("distances"):
        time_distances(report, real, costs)
    with report.attempt("features"):
        time_features(setting, report, extractor, costs)
    with report.attempt("the plain loop's sampling"):
        time_plain_sampling(setting, report, costs)
    for precision in PRECISIONS:
        what = f"{WHOLE:,} images from noise to {len(SPLITS)} FIDs, {STEPS} steps, {precision}"
        if not report.has_time(what, WHOLE_WAY_S):
            continue
        with report.attempt(what):
            time_whole_way(setting, report, what, precision, extractor, real, costs)


class PlainCosts:
    """The plain loop's seconds: to draw an image, to measure one, and for one distance; None where not measured."""

    drawing_s: float | None = None
    measuring_s: float | None = None
    distance_s: float | None = None

    def of_whole_way(self) -> float | None:
        """Return the seconds of the whole way, in which every split has the images measured again."""
        if self.drawing_s is None or self.measuring_s is None or self.distance_s is None:
            return None
        return WHOLE * (self.drawing_s + len(SPLITS) * self.measuring_s) + len(SPLITS) * self.distance_s


def real_statistics(setting: Setting) -> list[Statistics]:
    """Return the statistics of three splits, of random features whose variances fall as those of real ones do."""
    dimension = 64 if setting.tiny else Inception.dimension
    return [Statistics.of(random_features(4 * dimension, dimension, seed)) for seed in range(len(SPLITS))]


def random_features(num: int, dimension: int, seed: int) -> Tensor:
    """Return normal features with such variances."""
    index = torch.arange(1, dimension + 1)
    deviations = (12 * index**-1.25 * (-index / 700).exp()).sqrt()
    return torch.randn(num, dimension, generator=torch.Generator().manual_seed(seed)) * deviations


def moments(statistics: Statistics) -> Moments:
    """Return mean and covariance as arrays."""
    return statistics.mean.numpy(), statistics.covariance.numpy()


def has_package(report: Report, what: str, name: str) -> bool:
    """Return whether a package is importable that only the plain loop needs; add a sentence where it is not."""
    try:
        __import__(name)
    except ImportError:
        report.skip(what, f"the plain loop needs {name}, which is not importable here.")
        return False
    return True


def once(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of a call on the CPU, and its result."""
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def time_distances(report: Report, real: list[Statistics], costs: PlainCosts) -> None:
    """Time three distances with cached references, on the CPU, and scipy's matrix square root."""
    references = [Reference.of(found) for found in real]
    generated = Statistics(real[0].count, real[0].mean * 1.05, real[0].scatter * 1.1)
    plain = None
    if has_package(report, "distance of the plain loop", "scipy"):
        costs.distance_s, theirs = once(lambda: plain_distance(moments(generated), moments(real[1])))
        plain = len(SPLITS) * costs.distance_s
        ours = frechet_distance(replace(generated), references[1])
        report.check("distance beside scipy's, relative difference", abs(ours - theirs) / abs(theirs), 1e-4)

    def three() -> list[float]:
        made = replace(generated)  # without what an earlier call found out about it
        return [frechet_distance(made, reference) for reference in references]

    timing = timed(three, torch.device("cpu"), budget_s=2.0, most=3, warm_up=0)
    dimension = len(generated.mean)
    report.measure(f"three distances in {dimension} dimensions", timing.median, "s", spread=timing.spread, plain=plain)


def time_features(setting: Setting, report: Report, extractor: Inception, costs: PlainCosts) -> None:
    """Time Inception's features of a tensor, and those of PNG files."""
    shape, device = network("mini", 32, setting.tiny), setting.torch_device
    num = 4 if setting.tiny else PLAIN_MEASURED
    images = pictures(num, shape)[0]
    plain_rate = None
    if has_package(report, "features of the plain loop", "PIL"):
        contiguous = extractor.network.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
        with tempfile.TemporaryDirectory() as folder:
            features_of_pictures(write_pictures(images[:2], Path(folder)), contiguous, device)  # chooses kernels
            seconds, _ = once(lambda: features_of_pictures(write_pictures(images, Path(folder)), contiguous, device))
        costs.measuring_s, plain_rate = seconds / num, num / seconds
    batch = EXTRACTOR_BATCH if not setting.tiny else 4
    many = pictures(batch * (1 if setting.tiny else 10), shape)[0]
    timing = timed(lambda: measured(extractor, many, setting), device, 0.1 if setting.tiny else 3.0, most=5, warm_up=1)
    limits = ceilings(device, setting.tiny)
    report.measure(
        "Inception features",
        len(many) / timing.median,
        "images/s",
        spread=timing.spread,
        plain=plain_rate,
        ceiling=limits.flops / INCEPTION_FLOPS,
        note="fp32 without TF32; the floor is that of bf16",
    )


def measured(extractor: Inception, images: Tensor, setting: Setting) -> Tensor:
    """Return features as evaluations take them; tiny ones without the padding to a whole batch, which takes long."""
    if setting.tiny:
        with torch.no_grad():
            return extractor(images)[0]
    return extract(extractor, images, setting.torch_device)[0]


def time_plain_sampling(setting: Setting, report: Report, costs: PlainCosts) -> None:
    """Time the plain loop's drawing with the whole way's steps."""
    shape, device, steps = network("mini", 32, setting.tiny), setting.torch_device, 2 if setting.tiny else STEPS
    drawing = plain_sampling(PlainDenoiser(shape, SIGMA_DATA).to(device), steps, 1.0, device)
    batches = 1 if setting.tiny else PLAIN_DRAWN // SAMPLED_AT_ONCE
    timing = timed(steps_of(drawing), device, 0.0, most=batches, warm_up=1)
    costs.drawing_s = timing.median / SAMPLED_AT_ONCE
    report.measure(f"the plain loop's drawing, {steps} steps", 1 / costs.drawing_s, "images/s", spread=timing.spread)


def time_whole_way(
    setting: Setting,
    report: Report,
    what: str,
    precision: Precision,
    extractor: Inception,
    real: list[Statistics],
    costs: PlainCosts,
) -> None:
    """Draw, measure and score; the seconds of drawing and measuring are in proportion to the images."""
    shape, device = network("mini", 32, setting.tiny), setting.torch_device
    num, batch = (8, 4) if setting.tiny else (DRAWN, BATCH)
    sampling = whole_sampling(setting, precision)
    model, compiling = whole_model(setting, sampling)
    compiling_s, _ = once(lambda: [finish(device) for _ in generate(model, sampling, 0, batch, batch)])
    forget_peak(device)
    began = time.perf_counter()
    images = torch.cat([drawn.images.cpu() for drawn in generate(model, sampling, 0, num, batch)])
    drawing_s = time.perf_counter() - began
    measuring_s, _ = once(lambda: measured(extractor, images, setting))
    in_proportion_s, constant_s = score(num, real)
    whole = (drawing_s + measuring_s + in_proportion_s) * WHOLE / num + constant_s + compiling_s
    floor_s = WHOLE / batch * sampling.nfe * forward_floor_s(shape, batch, ceilings(device, setting.tiny))
    first = f"{'compiled and a first batch' if compiling else 'a first batch'} drawn in {compiling_s:.1f} s"
    note = f"{first}; in proportion to {num:,} images: drawn in {drawing_s:.1f} s, measured in {measuring_s:.1f} s, "
    note += f"statistics and influences in {in_proportion_s:.1f} s; distances in {constant_s:.1f} s; "
    note += f"{peak_gib(device):.1f} GiB"
    report.measure(what, whole, "s", plain=costs.of_whole_way(), ceiling=floor_s, note=note)


def whole_sampling(setting: Setting, precision: Precision) -> SamplingConfig:
    """Return how images are drawn."""
    return SamplingConfig(sampler="euler", steps=2 if setting.tiny else STEPS, precision=precision)


def whole_model(setting: Setting, sampling: SamplingConfig) -> tuple[Denoiser, bool]:
    """Return the network, and whether it is compiled: by the rule of evaluations."""
    shape, device = network("mini", 32, setting.tiny), setting.torch_device
    compiling = pays_to_compile(WHOLE * sampling.nfe * forward_flops(shape), device)
    return (compiled_denoiser(model_of(shape, device)) if compiling else model_of(shape, device)), compiling


def programs(setting: Setting) -> dict[str, Callable[[], object]]:
    """Return what compiles the network in each precision, by name."""
    batch = 4 if setting.tiny else BATCH

    def first_batch(precision: Precision) -> object:
        sampling = whole_sampling(setting, precision)
        model, _ = whole_model(setting, sampling)
        return list(generate(model, replace(sampling, steps=1), 0, batch, batch))

    return {f"images in {precision}": partial(first_batch, precision) for precision in PRECISIONS}


def score(num: int, real: list[Statistics]) -> tuple[float, float]:
    """Score `num` features as evaluations do, with influences; return seconds in proportion to `num`, and the others.

    The features are random ones whose variances fall as those of real images do, which a random network's do not.
    """
    references = [Reference.of(found) for found in real]
    count = max(num, 2 * len(real[0].mean))
    features = 1.1 * random_features(count, len(real[0].mean), seed=len(SPLITS))
    statistics_s, statistics = once(lambda: Statistics.of(features))
    constant_s, found = once(lambda: [frechet(statistics, reference) for reference in references])
    influences_s, _ = once(lambda: [each.influences(features) for each in found])
    return (statistics_s + influences_s) * num / count, constant_s
