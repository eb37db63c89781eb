"""A training reports its validation losses, ends early on request, and continues another time."""

import json
from pathlib import Path

import pytest
import torch

from experiments.store.journal import Journal
from experiments.store.layout import PRUNE, PRUNED
from experiments.store.store import Store
from experiments.trials.context import TrialContext
from experiments.trials.perform import perform
from experiments.trials.training.checkpoints import CheckpointManager
from tests.trainings import CONTEXT, WATCHFUL, at_step, copy_of, small_training, weights

pytestmark = pytest.mark.usefixtures("few_statistics")
VALIDATING = "training.validate_kimg=0.16"  # after steps 5, 10, 15 and 20


def test_whoever_wants_is_told_every_validation_loss(digits: Store, tmp_path: Path) -> None:
    store, training = copy_of(digits, tmp_path / "store"), small_training(tmp_path, VALIDATING)
    reported: list[tuple[float, float]] = []
    context = TrialContext(run_id="test", on_validated=lambda kimg, loss: reported.append((kimg, loss)))
    assert perform(store, training, context).state == "done"
    lines = Journal(store.folder("trainings", training.signature) / "validation.jsonl").read()
    assert reported == [(line["kimg"], line["val_loss"]) for line in lines]
    assert [kimg for kimg, _ in reported] == [0.16, 0.32, 0.48, 0.64]


@pytest.mark.parametrize("step", [3, 12])
def test_a_training_ends_early_where_asked_and_goes_on_to_the_same_weights(
    digits: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    store, training = copy_of(digits, tmp_path / "store"), small_training(tmp_path, VALIDATING)
    whole = copy_of(store, tmp_path / "whole")
    assert perform(whole, training, CONTEXT).state == "done"
    folder = store.folder("trainings", training.signature)
    with monkeypatch.context() as patch:
        patch.setattr(
            CheckpointManager, "record_loss", at_step(step, (folder / PRUNE).touch, CheckpointManager.record_loss)
        )
        outcome = perform(store, training, WATCHFUL)
    pruned = json.loads((folder / PRUNED).read_text())
    lines = Journal(folder / "validation.jsonl").read()
    assert outcome.state == "pruned" and f"{step * 0.032:g} kimg" in outcome.message
    assert pruned["kimg"] == pytest.approx(step * 0.032)
    assert pruned["val_loss"] == (lines[-1]["val_loss"] if step > 5 else None)
    assert not (folder / PRUNE).exists() and list(folder.glob("checkpoints/*.safetensors"))

    (folder / PRUNE).touch()  # of a run that is over
    assert perform(store, training, CONTEXT).state == "done"
    assert not (folder / PRUNED).exists() and not (folder / PRUNE).exists()
    assert f"from step {step}" in (folder / "log.txt").read_text()
    found, expected = weights(store, training), weights(whole, training)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
