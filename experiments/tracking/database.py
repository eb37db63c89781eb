"""The MLflow database inside a store."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

from experiments.tracking import mlflow_environment  # noqa: F401  isort: skip  (MLflow reads it as it is imported)
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DatabaseError

from experiments.store.files import move_into_place, remove_unfinished, temporary_beside
from experiments.store.layout import DAMAGED, MLFLOW_DATABASE
from experiments.store.store import Store
from experiments.tracking.artifacts import artifacts_folder, follow_store
from experiments.tracking.schema import upgrade

log = logging.getLogger("edm_sweep.mlflow")


def embedded_uri(store: Store) -> str:
    """Return the tracking URI of the database inside a store."""
    return f"sqlite:///{store.root / MLFLOW_DATABASE}"


def ensure_database(path: Path) -> None:
    """Make sure that there is a database with this MLflow's tables; the caller holds the mirror's lease.

    MLflow creates its tables in dozens of steps, and never accepts tables that a kill has left incomplete. A database
    of an older MLflow is brought up to date. If that fails, it is set aside, because the store has all that it held.
    """
    if path.exists():
        if _is_up_to_date(path):
            follow_store(path)
            return
        _set_aside(path)
    remove_unfinished(path)
    temporary = temporary_beside(path)
    try:
        make_empty(temporary)
        move_into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def make_empty(path: Path) -> None:
    """Give a file this MLflow's tables: it goes through all that they have ever been, which takes seconds."""
    # as an address, which has no quotation marks: MLflow writes this one into SQL as it is
    SqlAlchemyStore(f"sqlite:///{path}", artifacts_folder(path.parent).as_uri())


def _set_aside(path: Path) -> None:
    place = path.parent / DAMAGED / f"{path.stem}-{secrets.token_hex(4)}"
    place.mkdir(parents=True)
    for file in path.parent.glob(f"{path.name}*"):  # SQLite's own journal with it
        file.rename(place / file.name)
    log.warning("%s: was not a whole database, set aside in %s to be made again", path, place)


def _is_up_to_date(path: Path) -> bool:
    """Return whether a database has this MLflow's tables, or was given them just now.

    Raises the error of the upgrade where that fails and the database holds runs: such a one is never given up.
    """
    try:
        upgrade(f"sqlite:///{path}")
        return True
    except Exception:  # whatever a migration over half a database may meet
        if _has_runs(path):
            raise
        return False


def _has_runs(path: Path) -> bool:
    """Return whether a database holds any run; raises where it cannot be asked now."""
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            return connection.execute(text("SELECT 1 FROM runs LIMIT 1")).first() is not None
    except DatabaseError as error:
        if "no such table" in str(error) or "not a database" in str(error):
            return False
        raise
    finally:
        engine.dispose()
