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
LARGE_BATCH = 512
LAST_S = 5.0  # left for the accuracy
FAST = ClassifierConfig(batch_size=LARGE_BATCH, lr=8e-3)  # as many epochs as edm-sweep's, an eighth of the steps


def run(setting: Setting, report: Report) -> None:
    """Time edm-sweep's own configuration, as far as the time reaches, and one with larger batches to the end."""
    data = fashion_mnist(setting, report) or made_up(setting)
    for name, config in (("batches of 512", FAST), ("batches of 64, edm-sweep's", ClassifierConfig())):
        chosen = replace(config, epochs=2, batch_size=32) if setting.tiny else config
        with report.attempt(f"classifier, {name}"):
            train(setting, report, name, chosen, data)


def made_up(setting: Setting) -> Dataset:
    """Return waves in place of FashionMNIST."""
    num = 320 if setting.tiny else IMAGES
    images, labels = pictures(num + 1000, replace(network("mini", 32, setting.tiny), resolution=32))
    splits = {"train": list(range(num)), "val": [], "test": list(range(num, num + 1000))}
    return Dataset(images, labels, splits, 0.5)  # pyright: ignore[reportArgumentType]


def train(setting: Setting, report: Report, name: str, config: ClassifierConfig, data: Dataset) -> None:
    """Train until the end or until the time is up; report the seconds of all epochs, and the accuracy at the end."""
    device, training = setting.torch_device, training_of(config, data, setting)
    began = time.perf_counter()
    for _ in train_classifier(training, data):
        if training.step % training.steps_per_epoch == 0:
            finish(device)
            if report.time_left < LAST_S:
                break
    seconds, share = time.perf_counter() - began, training.step / training.num_steps
    what = f"feature classifier, {name}, {len(data.splits['train']):,} images, {config.epochs} epochs"
    note = f"in proportion to {100 * share:.0f} % of the steps"
    if share == 1:
        note = f"accuracy {100 * accuracy(training.model, data, device):.1f} % on test images"
    report.measure(what, seconds / share, "s", note=note)


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
