"""What tests of tasks begin with."""

import pytest

from experiments.store.store import Store
from tests.trainings import store_with_digits


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that holds the digits and nothing else; to be copied."""
    return store_with_digits(tmp_path_factory.mktemp("digits") / "store")
