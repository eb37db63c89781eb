"""Times the training of the feature classifier on 50,000 images at 32x32, and says how good it gets."""

import time
from dataclasses import replace

import torch

from benchmarks.gpu.cases import network, pictures
from benchmarks.gpu.fashion import CLASSES, fashion_mnist
from benchmarks.gpu.measure import finish
from benchmarks.gpu.report import Report
from benchmarks.gpu.setting import Setting
from edm.config import ClassifierConfig
from edm.data.dataset import Dataset
from edm.metrics.classifier import ClassifierTraining, train_classifier
from edm.metrics.features import Classifier, extract

IMAGES = 50_000
LAST_S = 5.0  # left for the accuracy
LARGE_BATCHES = ClassifierConfig(batch_size=512, lr=8e-3)  # for comparison: a quarter of the steps


def run(setting: Setting, report: Report) -> None:
    """Time edm-sweep's own configuration, and one with larger batches, each as far as the time reaches."""
    data = fashion_mnist(setting, report) or made_up(setting)
    for name, config in (("edm-sweep's", ClassifierConfig()), ("batches of 512", LARGE_BATCHES)):
        chosen = replace(config, batch_size=32, check_steps=5, most_checks=2) if setting.tiny else config
        with report.attempt(f"classifier, {name}"):
            train(setting, report, name, chosen, data)


def made_up(setting: Setting) -> Dataset:
    """Return waves in place of FashionMNIST."""
    num = 320 if setting.tiny else IMAGES
    images, labels = pictures(num + 1000, replace(network("mini", 32, setting.tiny), resolution=32))
    held_out = list(range(num, num + 1000))
    splits = {"train": list(range(num)), "val": held_out, "test": held_out}
    return Dataset(images, labels, splits, 0.5)  # pyright: ignore[reportArgumentType]


def train(setting: Setting, report: Report, name: str, config: ClassifierConfig, data: Dataset) -> None:
    """Train until it gets no better or the time is up; report the seconds, and the accuracy on test images."""
    device, training = setting.torch_device, training_of(config, data, setting)
    began = time.perf_counter()
    checks = 0
    for _ in train_classifier(training, data):
        if training.checks > checks:
            checks = training.checks
            if report.time_left < LAST_S:
                break
    finish(device)
    seconds = time.perf_counter() - began
    found = f"accuracy {100 * accuracy(training.trained(), data, device):.1f} % on test images"
    ending = f"{training.step:,} steps" if training.ended else f"cut off after {training.step:,} steps"
    report.measure(
        f"feature classifier, {name}, {len(data.splits['train']):,} images", seconds, "s", note=f"{found}, {ending}"
    )


def training_of(config: ClassifierConfig, data: Dataset, setting: Setting) -> ClassifierTraining:
    """Return the training of a classifier, at its first step."""
    channels, side = data.images.shape[1:3]
    return ClassifierTraining(config, channels, side, CLASSES, len(data.splits["train"]), setting.torch_device)


def accuracy(model: Classifier, data: Dataset, device: torch.device) -> float:
    """Return the share of test images that it puts into their class."""
    images, labels = data.split("test")
    found = extract(model.eval(), images, device)[1]
    assert found is not None
    return float((found == labels).double().mean())
