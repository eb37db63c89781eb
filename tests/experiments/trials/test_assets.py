"""Damaged data, classifiers, references and models are set aside and made again."""

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from edm.data.dataset import Dataset
from edm.metrics.classifier import ClassifierTraining
from experiments.store.damage import DamagedFile
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.trials import classifier
from experiments.trials.assets import ensure_data, ensure_published, load_averaged, load_published
from experiments.trials.assets import published_signature as published
from experiments.trials.extractors import ensure_extractor
from tests.results import training_result

CPU = torch.device("cpu")


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "splits.json"])
def test_damaged_data_are_prepared_again(tiny_plan: Plan, tmp_path: Path, name: str) -> None:
    store, source = Store(tmp_path / "store").create(), next(iter(tiny_plan.sources.values()))
    before = copy.deepcopy(ensure_data(store, source))  # which maps the file
    damage(store.folder("data", source.signature) / name)
    after = ensure_data(store, source)
    assert torch.equal(after.images, before.images) and torch.equal(after.labels, before.labels)
    assert after.splits == before.splits
    (line,), _ = store.damages_since(0)
    assert line.kind == "data" and set(line.files) == {name, "result.json"}
    assert (store.root / "damaged" / "data" / source.signature / "1" / name).exists()


def test_a_damaged_classifier_is_trained_again(
    tiny_plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation, begun = next(iter(tiny_plan.evaluations.values())), []
    store, source, space = Store(tmp_path / "store").create(), evaluation.training.data, evaluation.features

    def train(state: ClassifierTraining, _data: Dataset) -> Iterator[torch.Tensor]:
        begun.append(state)
        return iter(())

    monkeypatch.setattr(classifier, "train_classifier", train)
    before = ensure_extractor(store, source, space, CPU)
    assert space.classifier is not None
    damage(store.folder("classifiers", space.classifier) / "model.safetensors")
    for _ in range(2):
        assert ensure_extractor(store, source, space, CPU).fingerprint == before.fingerprint
    assert len(begun) == 2


def test_damaged_published_statistics_are_read_again_by_the_driver(tmp_path: Path) -> None:
    np.savez(tmp_path / "published.npz", mu=np.zeros(4), sigma=np.eye(4))
    store = Store(tmp_path / "store").create()
    ensure_published(store, tmp_path / "published.npz", "0123", 4)
    path = store.folder("references", published("0123", 4)) / "statistics.safetensors"
    damage(path)
    with pytest.raises(DamagedFile, match=f"{path}: is damaged"):
        load_published(store, "0123", 4)
    with pytest.raises(DamagedFile, match="run again"):
        load_published(store, "0123", 4)
    ensure_published(store, tmp_path / "published.npz", "0123", 4)
    damage(path)
    ensure_published(store, tmp_path / "published.npz", "0123", 4)
    assert torch.equal(load_published(store, "0123", 4).covariance, torch.eye(4, dtype=torch.float64))


def test_a_damaged_model_undoes_its_training(tiny_plan: Plan, tmp_path: Path) -> None:
    store, training = Store(tmp_path / "store").create(), next(iter(tiny_plan.trainings.values()))
    with store.lock("trainings", training.signature) as folder:
        (folder / "model.safetensors").write_bytes(b"weights")
        store.finish(training.signature, training_result(), ["model.safetensors"])
    damage(folder / "model.safetensors")
    with pytest.raises(DamagedFile, match=f"{folder}/model.safetensors: is damaged"):
        load_averaged(store, training, None, CPU)
    assert store.result(TrainingResult, training.signature) is None
