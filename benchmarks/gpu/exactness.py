"""Compares a GPU with the CPU: noise, network, loss, gradient, samplers, features and scores."""

import itertools
from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor

from benchmarks.gpu.cases import model_of, network, pictures, random_inception, relative
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from edm.augment import augment
from edm.config import Architecture, ClassifierConfig, ModelConfig, NetworkConfig, Precision, Sampler, SamplingConfig
from edm.data.dataset import to_unit
from edm.generate import draw, labels_of
from edm.kernels.available import have_kernels, torch_only
from edm.loss import denoising_loss
from edm.metrics.features import Classifier, extract
from edm.metrics.fid import Reference, Statistics, frechet_distance
from edm.metrics.kid import kernel_distance
from edm.metrics.neighbours import prdc
from edm.networks.attention import attend
from edm.networks.device import autocast, full_precision
from edm.networks.initialise import initialise
from edm.noise import Stream, normals, permutation, uniforms
from edm.precondition import Denoiser
from edm.validation import validation_losses

CPU = torch.device("cpu")
GREY_LEVELS = 127.5
# float32 sums in another order; a convolution of 64 x 9 terms is off by some 1e-6, and 20 layers add up
NETWORK_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3
TF32_TOLERANCE = 2e-2  # 10 bits of mantissa, 20 layers
ATTENTION_TOLERANCES = {torch.bfloat16: 1e-2, torch.float16: 2e-3}  # 8 and 11 bits of mantissa
# of outputs and losses, and of gradients, in 16 bits: 8 and 11 bits of mantissa, and what 20 to 80 layers add up
MIXED_TOLERANCES: dict[Precision, tuple[float, float]] = {"bf16": (5e-2, 0.2), "fp16": (1e-2, 5e-2)}
OTHER_ARCHITECTURES: tuple[Architecture, ...] = ("ddpmpp", "ncsnpp", "adm", "edm2")
PIXEL_TOLERANCE = 0.05  # root mean square of grey levels: a twentieth of what quantising changes

Computed = tuple[Tensor, Tensor, Tensor]  # outputs, losses, gradient


def run(setting: Setting, report: Report) -> None:
    """Compare everything; an error in one comparison leaves the others."""
    device = setting.torch_device
    for name, compare in (
        ("noise", compare_noise),
        ("attention", compare_attention),
        ("network, loss and gradient", compare_network),
        ("other networks", compare_architectures),
        ("samplers", compare_samplers),
        ("augmentation", compare_augmentation),
        ("features", compare_features),
        ("scores", compare_scores),
    ):
        with report.attempt(name):
            compare(setting, report, device)


def compare_noise(setting: Setting, report: Report, device: torch.device) -> None:
    """Every bit of the generator, and the normal numbers made of it, over the whole range of indices."""
    num = 100 if setting.tiny else 100_000
    index = torch.cat([torch.arange(num // 2), 2**40 + torch.arange(num // 2)])  # beyond a 32-bit counter
    differing = sum(
        int((uniforms(seed, stream, index.to(device), step).cpu() != uniforms(seed, stream, index, step)).sum())
        for seed, stream, step in ((0, Stream.SAMPLING, 0), (2**32 - 1, Stream.DROPOUT, 17))
    )
    report.check(f"uniform numbers that differ, of {2 * num:,}", differing, 0)
    found, expected = (normals(7, Stream.TRAINING_NOISE, index.to(place), (9, 9), 3).cpu() for place in (device, CPU))
    # computed in float64 and rounded, so that a last bit of a cosine shows in one of 10**8 numbers
    report.check(f"normal numbers that differ, of {found.numel():,}", int((found != expected).sum()), 2)
    _compare_kernels(report, index.to(device))
    with torch.device(device):  # a permutation is made on the CPU whatever the default device
        order = permutation(1, 2, num)
    report.check("places of an epoch's order that differ", int((order.cpu() != permutation(1, 2, num)).sum()), 0)


def _compare_kernels(report: Report, index: Tensor) -> None:
    """Random numbers of our own kernels and of torch's functions, on one device, for shapes with other remainders."""
    shapes = (), (3,), (2, 5, 5)

    def drawn() -> tuple[Tensor, Tensor]:
        numbers = [normals(2**32 - 1, Stream.SAMPLING, index, shape, 17).flatten() for shape in shapes]
        return uniforms(2**32 - 1, Stream.DROPOUT, index, 17), torch.cat(numbers)

    found = drawn()
    with torch_only():
        expected = drawn()
    note = "" if have_kernels(index.device) else "no kernel of ours runs here: torch's functions both times"
    for kind, most, ours, of_torch in zip(("uniform", "normal"), (0, 2), found, expected, strict=True):
        name = f"{kind} numbers of our kernel that differ from torch's, of {ours.numel():,}"
        report.check(name, int((ours != of_torch).sum()), most, note=note)


def compare_attention(setting: Setting, report: Report, device: torch.device) -> None:
    """Attention and its gradient in 16 bits by our kernels, where they run, against float64 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    note = "" if have_kernels(device) else "no kernel of ours runs here: torch's functions"
    for kind, channels, size in itertools.product(ATTENTION_TOLERANCES, (16, 32), (1.0, 30.0)):
        qkv = torch.randn(3, 256 if setting.tiny else 1024, 3, 2, channels, generator=generator)
        qkv, grad = (size**0.5 * qkv).to(kind), torch.randn(3, 2 * channels, len(qkv[0]), 1, generator=generator)
        found = _attended(qkv.to(device), grad.to(device, kind))
        expected = _attended(qkv.double(), grad.to(kind).double())
        what = f"in {str(kind).removeprefix('torch.')}, heads of {channels} channels, scores of {size:g}"
        for name, ours, exact in zip(("attention", "its gradient"), found, expected, strict=True):
            report.check(f"{name} {what}", relative(ours, exact), ATTENTION_TOLERANCES[kind], note=note)
        alone = _attended(qkv[1:2].to(device), grad[1:2].to(device, kind))
        differing = sum(int((one[0] != among[1]).sum()) for one, among in zip(alone, found, strict=True))
        report.check(f"numbers of an image alone that differ, {what}", differing, 0, note=note)


def _attended(qkv: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is attended to and the gradient of the queries, keys and values."""
    qkv = qkv.clone().requires_grad_()
    output = attend(qkv, (qkv.shape[1], 1))
    output.backward(grad)
    assert qkv.grad is not None
    return output.detach(), qkv.grad


def compare_network(setting: Setting, report: Report, device: torch.device) -> None:
    """The network's output, the loss and its gradient, in float32 and with TF32 as torch has it by default."""
    shape = network("mini", 32, setting.tiny)
    expected = _loss_and_gradient(shape, CPU)
    with full_precision():
        exact = _loss_and_gradient(shape, device)
    default = _loss_and_gradient(shape, device)
    for name, tolerance, place in (("output", NETWORK_TOLERANCE, 0), ("loss", NETWORK_TOLERANCE, 1)):
        report.check(f"{name} of a network, fp32", relative(exact[place], expected[place]), tolerance)
    report.check("gradient, fp32", relative(exact[2], expected[2]), GRADIENT_TOLERANCE)
    note = "convolutions in TF32, torch's default"
    report.check("output of a network, fp32 by default", relative(default[0], expected[0]), TF32_TOLERANCE, note=note)
    report.check("gradient, fp32 by default", relative(default[2], expected[2]), 5 * TF32_TOLERANCE, note=note)
    images, labels = pictures(20, shape, seed=1)
    with full_precision():
        losses = [validation_losses(model_of(shape, place), images, labels) for place in (device, CPU)]
    worst = max(abs(losses[0][sigma] / losses[1][sigma] - 1) for sigma in losses[1])
    report.check("validation losses, fp32", worst, NETWORK_TOLERANCE)


def compare_architectures(setting: Setting, report: Report, device: torch.device) -> None:
    """Every other network: outputs, losses and gradients in float32 against the CPU, and in 16 bits against float32."""
    models = {"group norm": ModelConfig("nano", norm="group", resample="residual", init="edm")}
    models |= {name: ModelConfig(architecture=name, channels=16) for name in OTHER_ARCHITECTURES}
    for name, model in models.items():
        with report.attempt(name), full_precision():
            shape = model.network(3, 8 if setting.tiny else 16, 10)
            expected, exact = (_loss_and_gradient(shape, place, perturbed=True) for place in (CPU, device))
            _compare_parts(report, f"{name}, fp32", exact, expected, (NETWORK_TOLERANCE, GRADIENT_TOLERANCE))
            for precision, tolerances in MIXED_TOLERANCES.items():
                found = _loss_and_gradient(shape, device, perturbed=True, precision=precision)
                _compare_parts(report, f"{name}, {precision}", found, exact, tolerances)


def _compare_parts(
    report: Report, what: str, found: Computed, expected: Computed, tolerances: tuple[float, float]
) -> None:
    """Compare outputs, losses and gradients; tolerances: of the first two, and of gradients."""
    for part, ours, theirs in zip(("output", "loss", "gradient"), found, expected, strict=True):
        report.check(f"{part}, {what}", relative(ours, theirs), tolerances[part == "gradient"])


def _loss_and_gradient(
    shape: NetworkConfig, device: torch.device, perturbed: bool = False, precision: Precision = "fp32"
) -> Computed:
    """Return the output in evaluation mode, the losses in training mode, and the gradient of their mean.

    perturbed: whether weights are moved at random, as some networks start with zeros.
    """
    num = 8
    images, labels = (values.to(device) for values in pictures(num, shape))
    index = torch.arange(num, device=device)
    noise = normals(3, Stream.TRAINING_NOISE, index, tuple(images.shape[1:]))
    sigma = torch.logspace(-1.5, 1.5, num, device=device)
    model = model_of(shape, device).requires_grad_(True)
    if perturbed:
        _perturb(model)
    with autocast(precision, device):
        with torch.no_grad():
            output = model(to_unit(images) + sigma[:, None, None, None] * noise, sigma, labels)
        losses = denoising_loss(model.train(), to_unit(images), labels, sigma, noise)
    losses.mean().backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return output, losses, gradient


@torch.no_grad()
def _perturb(model: Denoiser) -> None:
    """Move all weights a little; equally on every device."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator).to(parameter.device)


def compare_samplers(setting: Setting, report: Report, device: torch.device) -> None:
    """Images of every sampler from the same noise, guided, before they are quantised."""
    shape = network("nano", 16, setting.tiny)
    for sampler in get_args(Sampler):
        config = SamplingConfig(sampler=sampler, steps=4 if setting.tiny else 12, guidance=1.5)
        found, expected = (_drawn(model_of(shape, place), config, place) for place in (device, CPU))
        away = float((found.cpu() - expected).square().mean().sqrt()) * GREY_LEVELS
        size = float(expected.square().mean().sqrt()) * GREY_LEVELS
        # a network with random weights draws large numbers, which float32 rounds in proportion
        report.check(f"images by {sampler}", away, PIXEL_TOLERANCE * max(1, size / GREY_LEVELS), "grey levels")


def _drawn(model: Denoiser, config: SamplingConfig, device: torch.device) -> Tensor:
    index = torch.arange(8, device=device)
    with full_precision():
        return draw(model, config, index, labels_of(index, model.config.num_classes))


def compare_augmentation(setting: Setting, report: Report, device: torch.device) -> None:
    """Augmented images and the numbers that condition the network on them."""
    shape = network("mini", 32, setting.tiny, channels=3)
    images, index = to_unit(pictures(64, shape)[0]), torch.arange(64)
    found, expected = (augment(images.to(place), 5, index.to(place), 0.8) for place in (device, CPU))
    report.check("augmented images, largest difference", float((found[0].cpu() - expected[0]).abs().max()), 1e-3)
    report.check("augmentation labels, largest difference", float((found[1].cpu() - expected[1]).abs().max()), 1e-5)


def compare_features(setting: Setting, report: Report, device: torch.device) -> None:
    """Features of the small classifier and of Inception, both with random weights."""
    shape = network("mini", 32, setting.tiny)
    images = pictures(4 if setting.tiny else 200, shape, seed=2)[0]
    classifier = Classifier(ClassifierConfig(), 1, shape.resolution, 10).eval()
    initialise(classifier, torch.Generator().manual_seed(0))
    expected = extract(classifier, images)[0]
    report.check(
        "features of the classifier", relative(extract(classifier.to(device), images, device)[0], expected), 1e-4
    )
    few = images[:4]
    with full_precision(), torch.no_grad():
        expected = random_inception(CPU)(few)[0]
        report.check("features of Inception", relative(random_inception(device)(few.to(device))[0], expected), 1e-3)


def compare_scores(setting: Setting, report: Report, device: torch.device) -> None:
    """Statistics, Frechet distance, KID, precision and recall of the same features."""
    dimension, num = (16, 100) if setting.tiny else (256, 2000)
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.arange(1, dimension + 1) ** -1.0
    real, drawn = (torch.randn(num, dimension, generator=generator) * spectrum for _ in range(2))
    drawn = 1.1 * drawn + 0.1 * spectrum
    on_gpu, on_cpu = (Statistics.of(drawn.to(place)) for place in (device, CPU))
    report.check("covariance", relative(on_gpu.covariance, on_cpu.covariance), 1e-10)
    for name, tolerance, score in (
        ("Frechet distance", 1e-6, lambda place: _frechet(drawn, real, place)),
        ("kernel distance", 1e-8, lambda place: kernel_distance([drawn], [real], place).value),
        ("precision", 0, lambda place: prdc([drawn], [real], 5, place).precision),
        ("recall", 0, lambda place: prdc([drawn], [real], 5, place).recall),
        ("density", 0, lambda place: prdc([drawn], [real], 5, place).density),
        ("coverage", 0, lambda place: prdc([drawn], [real], 5, place).coverage),
    ):
        _compare(report, name, tolerance, score, device)


def _compare(
    report: Report, name: str, tolerance: float, score: Callable[[torch.device], float], device: torch.device
) -> None:
    with report.attempt(name):
        expected = score(CPU)
        report.check(
            f"{name}, relative difference", abs(score(device) - expected) / max(abs(expected), 1e-12), tolerance
        )


def _frechet(drawn: Tensor, real: Tensor, device: torch.device) -> float:
    return frechet_distance(Statistics.of(drawn.to(device)), Reference.of(Statistics.of(real.to(device))))
