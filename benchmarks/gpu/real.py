"""Trains the study's three networks on FashionMNIST, draws from them, and scores them in a classifier's features."""

import importlib.util
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.gpu.classifier import accuracy, training_of
from benchmarks.gpu.fashion import CLASSES, fashion_mnist
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from edm.batches import TrainingSet
from edm.config import SPLITS, ClassifierConfig, ModelConfig, NetworkConfig, SamplingConfig, TrainingConfig
from edm.data.dataset import Dataset
from edm.generate import generate, labels_of
from edm.metrics.classifier import train_classifier
from edm.metrics.features import Classifier, extract
from edm.metrics.fid import Reference, Statistics, frechet
from edm.metrics.uncertainty import standard_error, within_classes
from edm.pictures import save_grid
from edm.precondition import Denoiser
from edm.train import Computing, TrainState, averaged_model, train
from edm.typed_torch import floats

CLASSIFIER_CHECKS = 6  # passes over the images at most
SCORED = 5_000  # images drawn, and real ones of every split that they are compared with
BATCH = 1000
AFTER_S = 12.0  # to draw and score the images of one network
POINTS = 60  # of a loss curve
OF_NOISE = 0.25  # share of pure noise's FID that a trained network stays below


@dataclass(frozen=True)
class Case:
    """One of the study's networks on FashionMNIST (sweeps/fashion_mnist.yaml)."""

    name: str
    file: str
    model: ModelConfig
    label_dropout: float
    guidance: float


CASES = (
    Case("conditional", "conditional", ModelConfig("mini"), 0.2, 1.0),
    Case("without attention", "without_attention", ModelConfig("mini", attention=False), 0.2, 1.0),
    Case("unconditional", "unconditional", ModelConfig("mini"), 1.0, 0.0),
)


def run(setting: Setting, report: Report) -> None:
    """Train the classifier, then each network for its share of the time; loss curves go to real_curves.json."""
    data = fashion_mnist(setting, report)
    if data is None:
        return
    device = setting.torch_device
    classifier = trained_classifier(setting, report, data)
    references = [Reference.of(statistics_of(classifier, data.split(split)[0][:SCORED], device)) for split in SPLITS]
    noise = torch.randint(0, 256, (min(SCORED, 2000), 1, 32, 32), generator=torch.Generator().manual_seed(0))
    worst = frechet(statistics_of(classifier, noise.to(torch.uint8), device), references[-1]).distance
    report.measure("FID of pure noise, test", worst, "")
    curves: dict[str, list[tuple[float, float]]] = {}
    for number, case in enumerate(CASES):
        seconds = 3.0 if setting.tiny else report.time_left / (len(CASES) - number) - AFTER_S
        with report.attempt(case.name):
            model, curves[case.name] = trained(setting, report, case, data, seconds)
            score(setting, report, case, model, classifier, references, worst)
        (setting.out / "real_curves.json").write_text(json.dumps(curves))


def trained_classifier(setting: Setting, report: Report, data: Dataset) -> Classifier:
    """Return a feature classifier, trained on the device in a few seconds."""
    brief = ClassifierConfig(batch_size=50, check_steps=2, most_checks=1)
    config = brief if setting.tiny else ClassifierConfig(most_checks=CLASSIFIER_CHECKS)
    training = training_of(config, data, setting)
    for _ in train_classifier(training, data):
        pass
    classifier = training.trained()
    share = 100 * accuracy(classifier, data, setting.torch_device)
    report.measure(f"accuracy of the feature classifier after {training.step:,} steps", share, "%")
    return classifier


def statistics_of(classifier: Classifier, images: Tensor, device: torch.device) -> Statistics:
    """Return the statistics of the features of images."""
    return Statistics.of(extract(classifier, images, device)[0])


def trained(
    setting: Setting, report: Report, case: Case, data: Dataset, seconds: float
) -> tuple[Denoiser, list[tuple[float, float]]]:
    """Train a network for some seconds; return its averaged model and its loss curve, (kimg, loss)."""
    device = setting.torch_device
    network = small(case.model) if setting.tiny else case.model.network(1, 32, CLASSES)
    config = TrainingConfig(
        kimg=1e6,
        batch_size=8 if setting.tiny else 128,
        lr=5e-4,
        warmup_kimg=5,
        ema_halflife_kimg=20,
        label_dropout=case.label_dropout,
    )
    # compiling takes longer than it saves in so short a training
    computing = Computing.choose(config, device, compiled=False)
    state = TrainState(network, config, data.sigma_data, 0, device, computing)
    losses: list[Tensor] = []
    examples, deadline = TrainingSet.of(data, device), time.monotonic() + seconds
    for loss in train(state, examples):
        losses.append(loss)
        if state.step % 20 == 0:
            float(loss)  # without waiting now and then, the host would run ahead of the clock
            if time.monotonic() > deadline or (setting.tiny and state.step >= 20):
                break
    curve = smoothed(losses, state)
    report.check(f"{case.name}: losses that are not finite", int((~torch.stack(losses).isfinite()).sum()), 0)
    report.measure(f"{case.name}: loss after {state.kimg:,.0f} kimg", curve[-1][1], "", note=f"{seconds:.0f} s")
    return averaged_model(state, examples), curve


def small(model: ModelConfig) -> NetworkConfig:
    """Return a network of few channels for the same images."""
    heads = None if model.attention else (0, 0)
    return replace(model, preset="nano", channels=8, heads=heads).network(1, 32, CLASSES)


def smoothed(losses: list[Tensor], state: TrainState) -> list[tuple[float, float]]:
    """Return means over equal spans of steps."""
    values = torch.stack(losses).double().cpu()
    spans = torch.tensor_split(values, min(POINTS, len(values)))
    kimg = torch.cumsum(torch.tensor([len(span) for span in spans]), 0) * state.config.batch_size / 1000
    return list(zip(floats(kimg), (float(span.mean()) for span in spans), strict=True))


def score(
    setting: Setting,
    report: Report,
    case: Case,
    model: Denoiser,
    classifier: Classifier,
    references: list[Reference],
    worst: float,
) -> None:
    """Draw images, write the first as a grid, and report their FIDs with standard errors."""
    device = setting.torch_device
    num, batch = (80, 40) if setting.tiny else (SCORED, BATCH)
    steps, precision = (2, "fp32") if setting.tiny else (18, "bf16" if setting.is_gpu else "fp32")
    sampling = SamplingConfig(steps=steps, guidance=case.guidance, precision=precision)
    images = torch.cat([drawn.images.cpu() for drawn in generate(model, sampling, 0, num, batch)])
    draw_grid(setting.out / f"real_{case.file}.png", images, report)
    features, classes = extract(classifier, images, device)
    labels = labels_of(torch.arange(num), CLASSES)
    for split, reference in zip(SPLITS, references, strict=True):
        found = frechet(Statistics.of(features), reference)
        error = standard_error(within_classes(found.influences(features), labels))
        report.measure(f"{case.name}: FID, {split}", found.distance, "", note=f"± {error:.2g}, {num:,} images")
    if not setting.tiny:
        report.check(f"{case.name}: test FID as a share of pure noise's", found.distance / worst, OF_NOISE)
    if case.guidance != 0 and classes is not None:
        share = 100 * float((classes == labels).double().mean())
        report.measure(f"{case.name}: images of the class that was asked for", share, "%")


def draw_grid(path: Path, images: Tensor, report: Report) -> None:
    """Write the first hundred images, a class in every column, where Pillow is there."""
    if importlib.util.find_spec("PIL") is None:
        report.skip(path.name, "a picture needs Pillow, which is not importable here.")
        return
    save_grid(images[:100], path)
