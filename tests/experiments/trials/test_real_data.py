"""Real FashionMNIST, 60,000 photographs as Debian packs them: prepared, trained on and scored."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from edm.config import ClassifierConfig, DataConfig
from experiments.runner.resume import open_schedule
from experiments.store.results import ClassifierRecord
from experiments.store.store import Store
from experiments.sweep.tasks import classifier_of
from tests.commandline import invoke
from tests.edm.data.test_fashion_mnist import DEBIANS
from tests.inprocess import CONTEXT, execute
from tests.planning import load_sweep, plan_sweep, source_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),  # four minutes of CPU time, measured; a loaded machine takes several times as long
    pytest.mark.skipif(not DEBIANS.exists(), reason="needs the package dataset-fashion-mnist, which .ci/run installs"),
]

SWEEP = """\
name: real
data:       {name: fashion_mnist}
model:      {preset: nano, attention: false}
training:   {kimg: 12, batch_size: 64, lr: 2.0e-3, ema_halflife_kimg: 0.5, label_dropout: 0.1}
sampling:   {steps: 10}
evaluation: {images: 500, features: classifier, splits: [train, test]}
"""
PUBLISHED = "93e57d5214ae339865f7"  # the signature of the published files, whatever they are packed in


@pytest.fixture(autouse=True)
def one_epoch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Train the feature classifier for one epoch, which takes a minute and a half and reaches an accuracy of 0.90."""
    defaults = [1 if field.name == "epochs" else field.default for field in dataclasses.fields(ClassifierConfig)]
    monkeypatch.setattr(ClassifierConfig.__init__, "__defaults__", tuple(defaults))
    classifier_of.cache_clear()
    yield
    classifier_of.cache_clear()


def test_fashion_mnist_fills_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, file = tmp_path / "store", tmp_path / "real.yaml"
    file.write_text(SWEEP)
    prepared = invoke("data", "prepare", "fashion_mnist", "--from", DEBIANS, "--store", root, "--json")
    assert prepared.returncode == 0, prepared.stderr
    made = json.loads(prepared.stdout)
    assert made["signature"] == source_of(DataConfig("fashion_mnist")).signature == PUBLISHED
    assert made["source"]["checked"] == "content" and made["sigma_data"] == pytest.approx(0.66363, abs=1e-5)
    store, plan = Store(root), plan_sweep(load_sweep(file))
    execute(open_schedule(plan, store), store, dataclasses.replace(CONTEXT, sampling_batch=100))
    assert 0.85 < accuracy(store) < 0.95
    shown = invoke("report", file, "--store", root)
    assert shown.returncode == 0 and "class accuracy" in shown.stdout.lower()
    (row,) = pd.read_csv(root / "reports" / "real" / "results.csv").to_dict("records")
    for split in ("train", "test"):
        assert row[f"real_fid_{split}"] < row[f"fid_{split}"] < row[f"noise_fid_{split}"]
        assert 5 < row[f"fid_{split}"] < 40
    assert 0.2 < row["class_accuracy"] < 0.9
    print(row)


def accuracy(store: Store) -> float:
    """Of the feature classifier on the test split."""
    record = store.finished(ClassifierRecord, classifier_of(source_of(DataConfig("fashion_mnist"))))
    return record.accuracy["test"]
