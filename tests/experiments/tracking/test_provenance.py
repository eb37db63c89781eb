"""What a report says of where its numbers come from."""

import re
from dataclasses import replace
from pathlib import Path

from experiments.store.results import ClassifierRecord
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import FeatureClassifier
from experiments.tracking.provenance import classifier_notes

RECORD = ClassifierRecord(
    accuracy={"train": 1.0, "val": 0.95, "test": 0.9321}, config={}, images=1197, seconds=75.2, device="cpu"
)


def stored(plan: Plan, store: Store, record: ClassifierRecord) -> list[str]:
    """The notes on a plan whose classifier left a record."""
    (task,) = (task for task in plan.preparations.values() if isinstance(task, FeatureClassifier))
    with store.lock("classifiers", task.signature):
        store.finish(task.signature, record)
    return classifier_notes(plan, store, {})


def test_a_classifier_is_described(tiny_plan: Plan, tmp_path: Path) -> None:
    assert classifier_notes(tiny_plan, Store(tmp_path), {}) == []
    (note,) = stored(tiny_plan, Store(tmp_path), RECORD)
    assert note == (
        "The feature classifier of digits (version 2) reaches an accuracy of 100.0% on train, 95.0% on val, "
        "93.2% on test; trained on 1,197 images in 1 min 15 s on cpu"
    )


def test_a_classifier_of_an_old_record_is_described_as_far_as_it_is_known(tiny_plan: Plan, tmp_path: Path) -> None:
    (note,) = stored(tiny_plan, Store(tmp_path), replace(RECORD, images=None, device=""))
    assert re.search(r"93\.2% on test$", note)


def test_classifiers_of_data_sets_with_one_name_are_told_apart(tiny_plan: Plan, tmp_path: Path) -> None:
    stored(tiny_plan, Store(tmp_path), RECORD)
    (source,) = tiny_plan.sources
    (note,) = classifier_notes(tiny_plan, Store(tmp_path), {source: "birds (resolution=16)"})
    assert note.startswith("The feature classifier of birds (resolution=16) (version 2) reaches")
