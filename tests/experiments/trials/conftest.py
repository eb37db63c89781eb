"""What tests of tasks begin with."""

import pytest

from edm.train import averaged_model
from experiments.store.store import Store
from experiments.trials.training import observer
from tests.trainings import store_with_digits


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that holds the digits and nothing else; to be copied."""
    return store_with_digits(tmp_path_factory.mktemp("digits") / "store")


@pytest.fixture
def few_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute batch-norm statistics over few batches, which else take longer than a training of a test."""
    monkeypatch.setattr(observer, "averaged_model", lambda state, data, *_: averaged_model(state, data, 4))
