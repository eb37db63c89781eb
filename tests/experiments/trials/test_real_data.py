"""Real FashionMNIST, 60,000 photographs as Debian packs them: prepared, trained on and scored."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from edm.config import ClassifierConfig, DataConfig
from experiments.store.results import ClassifierRecord
from experiments.store.store import Store
from experiments.sweep import tasks
from tests.commandline import invoke
from tests.edm.data.test_fashion_mnist import DEBIANS
from tests.inprocess import without_ray
from tests.planning import source_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),  # it took seven minutes on two cores that did four times as much beside it
    pytest.mark.skipif(not DEBIANS.exists(), reason="needs the package dataset-fashion-mnist, which .ci/run installs"),
]

SWEEP = """\
name: real
data:       {name: fashion_mnist}
model:      {preset: nano, channels: 8, attention: false}
training:   {kimg: 6, batch_size: 16, lr: 3.0e-3, ema_halflife_kimg: 0.5, label_dropout: 0.1}
sampling:   {steps: 8, guidance: 5}
evaluation: {images: 300, features: classifier, splits: [train, test]}
"""
PUBLISHED = "93e57d5214ae339865f7"  # the signature of the published files, whatever they are packed in


@dataclass(frozen=True)
class Brief(ClassifierConfig):
    """One pass over the images at most, with half of the channels."""

    channels: int = 16
    most_checks: int = 1


@pytest.fixture(autouse=True)
def quick_classifier(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tasks, "ClassifierConfig", Brief)
    tasks.classifier_of.cache_clear()
    yield
    tasks.classifier_of.cache_clear()


def test_fashion_mnist_fills_a_table(tmp_path: Path) -> None:
    root, file = tmp_path / "store", tmp_path / "real.yaml"
    file.write_text(SWEEP)
    prepared = invoke("data", "prepare", "fashion_mnist", "--from", DEBIANS, "--store", root, "--json")
    assert prepared.returncode == 0, prepared.stderr
    made = json.loads(prepared.stdout)
    assert made["signature"] == PUBLISHED and made["source"]["checked"] == "content"
    assert made["sigma_data"] == pytest.approx(0.66363, abs=1e-5)
    with without_ray():
        done = invoke("run", file, "--store", root)
    assert done.returncode == 0, done.stdout
    assert 0.85 < accuracy(Store(root)) < 0.95
    assert re.search(r"FID test \d+\.\d", done.stdout) and "class accuracy" in done.stdout
    (row,) = pd.read_csv(root / "reports" / "real" / "results.csv").to_dict("records")
    for split in ("train", "test"):  # it gives 22, noise 52
        assert row[f"real_fid_{split}"] < 2 < 8 < row[f"fid_{split}"] < 40 < row[f"noise_fid_{split}"]
    assert 0.15 < row["class_accuracy"] < 0.7  # it is 0.21; chance is 0.1


def accuracy(store: Store) -> float:
    """Of the feature classifier on the test split."""
    record = store.finished(ClassifierRecord, tasks.classifier_of(source_of(DataConfig("fashion_mnist"))))
    return record.accuracy["test"]
