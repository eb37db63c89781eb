"""How long the feature classifier trains, and how good it gets.

    uv run python benchmarks/classifier.py fashion_mnist [FOLDER] [--threads 2]

FOLDER has the published files, such as /usr/share/datasets; without it they are downloaded. Prints CPU and wall time at
each check of the accuracy, and in the end the accuracy on every split.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import cast

import torch

from edm.config import SPLITS, ClassifierConfig, DataConfig, DatasetName, Split
from edm.data.dataset import Dataset, open_prepared
from edm.data.prepare import prepare
from edm.data.sources import Origin
from edm.metrics.classifier import ClassifierTraining, train_classifier
from edm.metrics.features import Classifier, extract


def main() -> None:
    """Prepare a data set in a temporary folder and train on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["digits", "fashion_mnist", "cifar10"])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        config, place = DataConfig(cast(DatasetName, options.name)), Path(folder)
        given = Origin.given(options.folder) if options.folder is not None else None
        record = prepare(config, place, given)
        data = open_prepared(place, cast(float, record["sigma_data"]))
        train(data, int(cast(int, record["num_classes"])))


def train(data: Dataset, num_classes: int) -> None:
    """Train a classifier until it gets no better, and print what that took and what it reached."""
    channels, side = data.images.shape[1:3]
    state = ClassifierTraining(ClassifierConfig(), channels, side, num_classes, len(data.splits["train"]))
    cpu, wall, checks = time.process_time(), time.perf_counter(), 0
    for _ in train_classifier(state, data):
        if state.checks > checks:
            checks = state.checks
            print(f"check {checks}: best accuracy on val {state.best_accuracy:.4f}, {since(cpu, wall)}", flush=True)
    accuracies = ", ".join(f"{accuracy(state.trained(), data, split):.4f} on {split}" for split in SPLITS)
    print(f"{state.step:,} steps, {state.images_seen:,} images; {accuracies}")


def since(cpu: float, wall: float) -> str:
    """Say how long it has been since two moments."""
    return f"{time.process_time() - cpu:.0f} s of CPU time, {time.perf_counter() - wall:.0f} s"


def accuracy(classifier: Classifier, data: Dataset, split: Split) -> float:
    """Return the share of a split's images that the classifier puts into their class."""
    images, labels = data.split(split)
    found = extract(classifier, images)[1]
    assert found is not None
    return float((found == labels).double().mean())


if __name__ == "__main__":
    main()
