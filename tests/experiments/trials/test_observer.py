"""What is measured of a training as it goes on."""

from pathlib import Path

import pytest
import torch

import edm
from edm.validation import VALIDATION_IMAGES, total_loss, validation_losses
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.trials.assets import ensure_data
from experiments.trials.perform import perform
from tests.trainings import CONTEXT, small_training


@pytest.mark.parametrize(("share", "sees_labels"), [(0.1, True), (1, False)])
def test_the_branch_that_was_trained_is_validated(
    store: Store, tmp_path: Path, share: float, sees_labels: bool
) -> None:
    training = small_training(tmp_path, f"training.label_dropout={share}", f"sampling.guidance={int(sees_labels)}")
    assert perform(store, training, CONTEXT).state == "done"
    model, data = edm.load(training.signature, store=store.root), ensure_data(store, training.data)
    rows = torch.tensor(data.splits["val"][:VALIDATION_IMAGES])
    labels = data.labels[rows] if sees_labels else torch.full((len(rows),), model.null_label)
    expected = total_loss(validation_losses(model, data.images[rows], labels))
    assert store.finished(TrainingResult, training.signature).val_loss == pytest.approx(expected, rel=1e-5)
