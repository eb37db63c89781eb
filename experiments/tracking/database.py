"""The MLflow database inside a store."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path

from experiments.tracking import mlflow_environment  # noqa: F401  isort: skip  (MLflow reads it as it is imported)
import mlflow
from mlflow.store.db.utils import _get_latest_schema_revision, _get_schema_version, _upgrade_db
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DatabaseError

from experiments.store.files import move_into_place, temporary_beside
from experiments.store.layout import DAMAGED
from experiments.store.store import Store

DATABASE = "mlflow.db"
log = logging.getLogger("edm_sweep.mlflow")


def embedded_uri(store: Store) -> str:
    """The tracking URI of the database inside a store."""
    return f"sqlite:///{store.root / DATABASE}"


def ensure_database(path: Path) -> None:
    """Have a whole database of this MLflow's, whatever was killed while it was made; for who holds the mirror's lease.

    MLflow makes its tables in dozens of steps, and refuses for ever what a kill has left of them. One of an older
    MLflow is brought up to date; what cannot be is set aside, as the store has all that it held.
    """
    if path.exists():
        if _is_up_to_date(path):
            return
        place = path.parent / DAMAGED / f"{path.stem}-{secrets.token_hex(4)}"
        place.mkdir(parents=True)
        for file in path.parent.glob(f"{path.name}*"):  # SQLite's own journal with it
            file.rename(place / file.name)
        log.warning("%s: was not a whole database, set aside in %s to be made again", path, place)
    temporary = temporary_beside(path)
    try:
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{temporary}").search_experiments(max_results=1)
        move_into_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_up_to_date(path: Path) -> bool:
    """Whether a database is this MLflow's, or could be made so; one that holds runs is never given up."""
    engine = create_engine(f"sqlite:///{path}")
    try:
        if _get_schema_version(engine) != _get_latest_schema_revision():
            _upgrade_db(engine)
        return True
    except Exception:  # whatever a migration over half a database may meet
        if _has_runs(engine):
            raise
        return False
    finally:
        engine.dispose()


def _has_runs(engine: Engine) -> bool:
    """Whether a database holds any run; raises where it cannot be asked now."""
    try:
        with engine.connect() as connection:
            return connection.execute(text("SELECT 1 FROM runs LIMIT 1")).first() is not None
    except DatabaseError as error:
        if "no such table" in str(error) or "not a database" in str(error):
            return False
        raise
