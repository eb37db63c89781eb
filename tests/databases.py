"""MLflow databases without any runs: made once by each process, as MLflow takes seconds for its tables, and copied."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

import pytest

from experiments.store.layout import MLFLOW_DATABASE
from experiments.tracking import database

make_empty = database.make_empty


FOLDER = tempfile.TemporaryDirectory(prefix="edm-mlflow-")  # for as long as this process runs


@cache
def _made() -> Path:
    made = Path(FOLDER.name) / MLFLOW_DATABASE
    make_empty(made)
    return made


def copied(patch: pytest.MonkeyPatch) -> None:
    """Let new stores get a copy of an empty database that MLflow has made."""
    patch.setattr(database, "make_empty", lambda path: shutil.copyfile(_made(), path))
