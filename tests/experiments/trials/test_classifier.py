"""The feature classifier as a task: its progress, its checkpoints, and what its record says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edm.config import ClassifierConfig
from edm.files import load_tensors
from experiments.store.layout import STATE
from experiments.store.progress import TaskProgress
from experiments.store.results import ClassifierRecord
from experiments.store.store import Store
from experiments.sweep.jobs import Outcome
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import FeatureClassifier, classifier_for
from experiments.trials import classifier
from experiments.trials.classifier import ensure_classifier
from experiments.trials.context import TrialContext
from experiments.trials.perform import perform
from tests.inprocess import WATCHFUL


@pytest.fixture
def task(tiny_plan: Plan) -> FeatureClassifier:
    (made,) = (each for each in tiny_plan.preparations.values() if isinstance(each, FeatureClassifier))
    return replace(made, config=ClassifierConfig(channels=4, batch_size=64, check_steps=10, most_checks=2))  # 36 steps


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store(tmp_path / "empty").create()


def stopped_after(store: Store, task: FeatureClassifier, steps: int, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Perform a task whose run is asked to stop after so many steps."""
    original = classifier.train_classifier

    def train(state, data):
        for done in original(state, data):
            if state.step == steps:
                store.request_stop(WATCHFUL.run_id)
            yield done

    with monkeypatch.context() as patch:
        patch.setattr(classifier, "train_classifier", train)
        outcome = perform(store, task, WATCHFUL)
    store.end_run(WATCHFUL.run_id)
    return outcome


def test_a_classifier_that_was_interrupted_ends_in_the_same_weights(
    task: FeatureClassifier, empty: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stopped_after(empty, task, 25, monkeypatch).state == "interrupted"
    folder = empty.folder("classifiers", task.signature)
    assert list(folder.glob(f"{STATE}-*")) and empty.result(ClassifierRecord, task.signature) is None
    assert perform(empty, task, WATCHFUL).state == "done"
    assert "from step 25," in (folder / "log.txt").read_text()
    assert not list(folder.glob(f"{STATE}-*"))
    other = Store(tmp_path / "other").create()
    assert perform(other, task, WATCHFUL).state == "done"
    undisturbed = load_tensors(other.folder("classifiers", task.signature) / "model.safetensors")
    resumed = load_tensors(folder / "model.safetensors")
    assert undisturbed.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in undisturbed.items())


def test_a_classifier_tells_how_far_it_is_and_what_it_reached(
    task: FeatureClassifier, empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TaskProgress] = []
    original = TaskProgress.write

    def write(self: TaskProgress, folder: Path) -> None:
        seen.append(self)
        original(self, folder)

    monkeypatch.setattr(TaskProgress, "write", write)
    assert perform(empty, task, WATCHFUL).state == "done"
    counted = [each for each in seen if each.unit == "images" and each.phase != "decoding"]
    assert counted[0].done == 64 and counted[-1].done == counted[-1].total == 36 * 64
    record = empty.result(ClassifierRecord, task.signature)
    assert record is not None and record.images == 1197 and record.threads == WATCHFUL.threads
    assert 0.2 < record.accuracy["test"] <= 1 and record.device == "cpu"
    assert record.flops == task.flops_of(36 * 64) and 0 < record.seconds < 1000


def test_an_evaluation_that_finds_no_classifier_continues_its_checkpoint(
    task: FeatureClassifier, empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_after(empty, task, 30, monkeypatch)
    phases: list[str] = []
    ensure_classifier(empty, task, torch.device("cpu"), phases.append)
    checked, measured = 1, 4  # parts of the split that is checked, and of all splits, whose accuracy is measured
    assert phases.count("training the feature classifier") == 36 - 30 + checked + measured


def test_a_checkpoint_is_written_as_often_as_the_run_says(
    task: FeatureClassifier, empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def write(folder: Path, stem: str, tensors: dict[str, torch.Tensor]) -> None:
        steps.append(int(tensors["step"]))

    monkeypatch.setattr(classifier, "write_checksummed", write)
    often: TrialContext = replace(WATCHFUL, checkpoint_s=0.0)
    perform(empty, task, often)
    checks = (18, 36)  # each looks at one part of the held-out images
    assert steps == sorted([*range(1, 37), *checks])


def test_a_classifier_trains_on_the_device_of_its_trial(
    task: FeatureClassifier, empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[str] = []

    class Training(classifier.ClassifierTraining):
        def __init__(self, *given: Any) -> None:
            devices.append(str(given[-1]))
            super().__init__(*given[:-1], "cpu")

    monkeypatch.setattr(classifier, "ClassifierTraining", Training)
    monkeypatch.setattr(TrialContext, "device", torch.device("meta"))
    monkeypatch.setattr(classifier, "device_name", str)
    perform(empty, task, WATCHFUL)
    ensure_classifier(Store(empty.root.parent / "other").create(), task, torch.device("cpu"), lambda _phase: None)
    assert devices == ["meta", "cpu"]


def test_a_lost_classifier_of_version_1_says_what_to_do(task: FeatureClassifier, empty: Store) -> None:
    former = classifier_for(replace(task.data, classifier_version=1))
    outcome = perform(empty, former, WATCHFUL)
    assert outcome.state == "failed" and "another store with --store" in outcome.message
    assert "feature classifier of digits" in outcome.message
