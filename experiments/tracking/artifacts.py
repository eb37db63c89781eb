"""Where MLflow's database in a store looks for pictures and logs: in the store, also after that was moved or copied."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

FOLDER = "mlartifacts"
# by table: the column of its key, and the one that has a place of files
PLACES = {
    "experiments": ("experiment_id", "artifact_location"),
    "runs": ("run_uuid", "artifact_uri"),
    "logged_models": ("model_id", "artifact_location"),
}


def artifacts_folder(root: Path) -> Path:
    """Return where a store keeps the files of MLflow's runs."""
    return root / FOLDER


def follow_store(database: Path, root: Path | None = None) -> None:
    """Have a database point to the files in the store at `root`, where it still points to an earlier place of it.

    root: by default the folder of the database. MLflow records absolute paths. Raises sqlite3.Error if the database
    cannot be changed.
    """
    root = root or database.parent
    with closing(sqlite3.connect(database)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        for table, (key, column) in PLACES.items():
            if table not in tables:  # of an older MLflow
                continue
            places = connection.execute(f"SELECT {column}, {key} FROM {table}").fetchall()  # noqa: S608  (constants)
            moved = [(new, name) for old, name in places if old and (new := _place_now(old, root)) != old]
            connection.executemany(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", moved)  # noqa: S608


@contextmanager
def following_store(database: Path) -> Iterator[Path]:
    """Yield a database that points to the files beside this one: itself, or a copy where it may only be read."""
    if _follows(database):
        yield database
        return
    with tempfile.TemporaryDirectory(prefix="edm-sweep-") as folder:
        copy = Path(folder) / database.name
        with closing(opened_to_read(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        follow_store(copy, database.parent)
        yield copy


def _follows(database: Path) -> bool:
    """Have a database point to the files beside it; False where it would have to be changed and may only be read."""
    try:
        follow_store(database)
    except sqlite3.OperationalError as error:
        return not error.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN"))
    except sqlite3.Error:  # no database; the server says so
        return True
    return True


def opened_to_read(database: Path) -> sqlite3.Connection:
    """Open a database without changing it. Raises sqlite3.Error."""
    return sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)


def _place_now(location: str, root: Path) -> str:
    """Return what a location in any store's folder of artifacts is in the store at `root`; others stay as they are."""
    _, marker, name = location.rpartition(f"/{FOLDER}/")
    if not marker:
        return location
    here = artifacts_folder(root)
    return f"{here.as_uri()}/{name}" if location.startswith("file:") else f"{here}/{name}"
