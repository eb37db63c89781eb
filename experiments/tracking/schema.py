"""The tables of an MLflow database: the only module that uses private functions of MLflow.

MLflow offers `mlflow db upgrade` to people, and nothing to programs. Its functions are used where a version has them,
as a second process takes seconds; the command is used where a later version has renamed them.
"""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

from experiments.environment import inherited

from experiments.tracking import mlflow_environment  # noqa: F401  isort: skip  (MLflow reads it as it is imported)
from mlflow.store.db import utils
from sqlalchemy import create_engine

PRIVATE = ("_get_schema_version", "_get_latest_schema_revision", "_upgrade_db")


def upgrade(uri: str) -> None:
    """Bring a database's tables to the revision of this MLflow; raises where that is not possible."""
    if all(hasattr(utils, name) for name in PRIVATE):
        _upgrade_here(uri, utils)
    else:
        _upgrade_by_command(uri)


def _upgrade_here(uri: str, functions: ModuleType) -> None:
    engine = create_engine(uri)
    try:
        if functions._get_schema_version(engine) != functions._get_latest_schema_revision():
            functions._upgrade_db(engine)
    finally:
        engine.dispose()


def _upgrade_by_command(uri: str) -> None:
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", uri]
    done = subprocess.run(command, env=inherited(), capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(f"mlflow db upgrade: {lines[-1] if lines else f'exit code {done.returncode}'}")
