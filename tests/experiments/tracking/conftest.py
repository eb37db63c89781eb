"""A filled store and an empty record: MLflow needs longer to make its tables than these tests to fill them."""

import shutil
from pathlib import Path

import pytest

from experiments.store.layout import MLFLOW_DATABASE
from experiments.store.store import Store
from experiments.tracking.database import ensure_database
from tests.conftest import filled_once


@pytest.fixture(scope="session")
def empty_record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an MLflow database without any runs; to be copied."""
    return (
        filled_once(tmp_path_factory, "record", lambda folder: ensure_database(folder / MLFLOW_DATABASE))
        / MLFLOW_DATABASE
    )


@pytest.fixture
def filled(filled: Store, empty_record: Path) -> Store:
    """Return a store that the tiny sweep has filled and of which MLflow has nothing yet."""
    shutil.copy(empty_record, filled.root / MLFLOW_DATABASE)
    return filled
