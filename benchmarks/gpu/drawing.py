"""Compares the images of a trained network: bf16 and fp16 with fp32, and one batch size and shard with another."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.gpu.cases import model_of, network, new_state, pictures, training_set
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from edm.config import ClassifierConfig, NetworkConfig, Precision, SamplingConfig, TrainingConfig
from edm.generate import compiled_denoiser, generate, labels_of
from edm.metrics.features import Classifier, extract
from edm.metrics.fid import Reference, Statistics, frechet
from edm.metrics.uncertainty import standard_error, within_classes
from edm.networks.device import full_precision
from edm.networks.initialise import initialise
from edm.precondition import Denoiser
from edm.train import averaged_model, train

SEEDS = 1000
LEVELS = 4.0  # root mean square of grey levels by which images in 16 bits may differ: a 64th of the range
COMPILE_S = 60.0  # what compiling for two batch sizes may take
COMPILED = "compiled images"
SHARE = 0.02  # of the FID by which such images may differ


def run(setting: Setting, report: Report) -> None:
    """Train a network for some seconds, then draw from it in every way."""
    device = setting.torch_device
    shape = shape_of(setting)
    model, sampling = trained(setting, shape), sampling_of(setting)
    num = 80 if setting.tiny else SEEDS
    with report.attempt("precisions"):
        compare_precisions(report, model, sampling, num, device)
    with report.attempt("batch sizes and shards"), full_precision():
        compare_batches(report, model, sampling, num_of(setting))
    if report.has_time(COMPILED, setting.compiling_s(COMPILED, COMPILE_S)):
        with report.attempt(COMPILED):
            compare_compiled(report, model, replace(sampling, precision="bf16"), num_of(setting))


def shape_of(setting: Setting) -> NetworkConfig:
    """Return the network."""
    return network("micro", 16, setting.tiny)


def sampling_of(setting: Setting) -> SamplingConfig:
    """Return how images are drawn."""
    return SamplingConfig(steps=3 if setting.tiny else 18, guidance=1.5)


def num_of(setting: Setting) -> int:
    """Return how many images are drawn to compare batch sizes."""
    return 24 if setting.tiny else 200


def programs(setting: Setting) -> dict[str, Callable[[], object]]:
    """Return what compiles the network for both batch sizes, by name."""
    sampling, num = replace(sampling_of(setting), precision="bf16", steps=1), num_of(setting)

    def draw_both() -> None:
        model = compiled_denoiser(model_of(shape_of(setting), setting.torch_device))
        for batch in batches_of(num):
            drawn(model, sampling, 0, batch, batch)

    return {COMPILED: draw_both}


def batches_of(num: int) -> tuple[int, int]:
    """Return the batch sizes of `num` images that a compiled network draws."""
    return num // 4, num // 8 + 1


def trained(setting: Setting, shape: NetworkConfig) -> Denoiser:
    """Return a network that draws waves."""
    config = TrainingConfig(kimg=1000, batch_size=8 if setting.tiny else 128, lr=2e-3, ema_halflife_kimg=5)
    data = training_set(64 if setting.tiny else 4000, shape, setting.torch_device)
    state = new_state(shape, config, setting.torch_device)
    for _ in itertools.islice(train(state, data), 4 if setting.tiny else 600):
        pass
    return averaged_model(state, data, num_batches=2 if setting.tiny else 32)


def drawn(model: Denoiser, sampling: SamplingConfig, start: int, stop: int, batch: int) -> Tensor:
    """Return images start to stop - 1 on the CPU."""
    return torch.cat([part.images.cpu() for part in generate(model, sampling, start, stop, batch)])


# precisions ---------------------------------------------------------------------------------------


def compare_precisions(
    report: Report, model: Denoiser, sampling: SamplingConfig, num: int, device: torch.device
) -> None:
    """Draw the same seeds in fp32 without TF32 and in every other precision: grey levels, and the FID."""
    with full_precision():
        exact = drawn(model, sampling, 0, num, num)
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
    for precision in precisions:
        name = "fp32 by default" if precision == "fp32" else precision
        with report.attempt(f"images in {name}"):
            found = drawn(model, replace(sampling, precision=precision), 0, num, num)
            away = (found.double() - exact.double()).flatten(1).square().mean(dim=1).sqrt()
            what = f"images of {num:,} seeds in {name}"
            note = f"the worst image differs by {float(away.max()):.2f}"
            report.check(f"{what}: median difference from fp32", float(away.median()), LEVELS, "grey levels", note)
            compare_scores(report, what, model, found, exact, device)


def compare_scores(
    report: Report, what: str, model: Denoiser, found: Tensor, exact: Tensor, device: torch.device
) -> None:
    """Compare the FID of two sets of images of the same seeds, with the interval of their difference."""
    shape = model.config
    extractor = Classifier(ClassifierConfig(), shape.image_channels, shape.resolution, shape.num_classes).eval()
    initialise(extractor, torch.Generator().manual_seed(0))
    extractor.to(device)
    real = extract(extractor, pictures(len(exact) * 2, shape, seed=5)[0], device)[0]
    reference, labels = Reference.of(Statistics.of(real)), labels_of(torch.arange(len(exact)), shape.num_classes)
    distances, influences = [], []
    for images in (found, exact):
        features = extract(extractor, images, device)[0]
        scored = frechet(Statistics.of(features), reference)
        distances.append(scored.distance)
        influences.append(within_classes(scored.influences(features), labels))
    difference, reach = distances[0] - distances[1], 1.96 * standard_error(influences[0] - influences[1])
    relative = max(0.0, abs(difference) - reach) / distances[1]
    note = f"FID {distances[1]:.4g} in fp32, difference {difference:+.2g} ± {reach:.2g} (95 %)"
    report.check(f"{what}: FID, what its interval leaves of the relative difference", relative, SHARE, note=note)


# batch sizes and shards ---------------------------------------------------------------------------


def compare_batches(report: Report, model: Denoiser, sampling: SamplingConfig, num: int) -> None:
    """Draw images in one batch, in shards of the same batch size, and in other batch sizes."""
    whole, batch = drawn(model, sampling, 0, num, num // 4), num // 4
    for start, stop in ((num // 2, num), (3, 3 + batch), (num - 5, num)):
        part = drawn(model, sampling, start, stop, batch)
        differing = int((part != whole[start:stop]).sum())
        report.check(f"pixels of images {start} to {stop - 1} drawn by themselves that differ", differing, 0)
    again = drawn(model, sampling, 0, num, batch)
    report.check("pixels that differ when drawn again", int((again != whole).sum()), 0)
    for other in (num, batch // 2 + 1, 7):
        found = drawn(model, sampling, 0, num, other)
        levels = (found.int() - whole.int()).abs()
        what = f"images in batches of {other} instead of {batch}"
        note = f"the largest difference is {int(levels.max())} grey levels"
        # kernels for other batch sizes add in another order: a last bit may carry a value over the edge of a grey level
        report.check(f"{what}: share of pixels that differ", float((levels > 0).double().mean()), 1e-2, note=note)
        report.check(f"{what}: largest difference", int(levels.max()), 2, "grey levels")


def compare_compiled(report: Report, model: Denoiser, sampling: SamplingConfig, num: int) -> None:
    """Draw images by a compiled network: beside one that is not, again, and in another batch size."""
    batch, smaller = batches_of(num)
    plain, fast = drawn(model, sampling, 0, num, batch), compiled_denoiser(model)
    whole = drawn(fast, sampling, 0, num, batch)
    away = (whole.double() - plain.double()).flatten(1).square().mean(dim=1).sqrt()
    report.check("compiled images: median difference from others", float(away.median()), LEVELS, "grey levels")
    part = drawn(fast, sampling, num // 2, num, batch)
    report.check("compiled images drawn by themselves: pixels that differ", int((part != whole[num // 2 :]).sum()), 0)
    other = drawn(fast, sampling, 0, num, smaller)
    levels = (other.int() - whole.int()).abs()
    what, note = "compiled images in another batch size", f"the largest difference is {int(levels.max())} grey levels"
    report.check(f"{what}: share of pixels that differ", float((levels > 0).double().mean()), 1e-2, note=note)
