"""Where MLflow's database in a store looks for pictures and logs: in the store, also after that was moved or copied."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

FOLDER = "mlartifacts"


def artifacts_folder(root: Path) -> Path:
    """Return where a store keeps the files of MLflow's runs."""
    return root / FOLDER


def follow_store(database: Path) -> None:
    """Have a database point to the files beside it, where it still points to an earlier place of its store.

    MLflow records absolute paths. Raises sqlite3.Error if the database cannot be changed.
    """
    with closing(sqlite3.connect(database)) as connection, connection:
        found = connection.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall()
        for experiment, old in found:
            new = _place_now(old or "", database.parent)
            if new == old:
                continue
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (new, experiment)
            )
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (new, len(old) + 1, experiment, len(old), old),
            )


def _place_now(location: str, root: Path) -> str:
    """Return what a location in any store's folder of artifacts is in the store at `root`; others stay as they are."""
    _, marker, name = location.rpartition(f"/{FOLDER}/")
    if not marker:
        return location
    here = artifacts_folder(root)
    return f"{here.as_uri()}/{name}" if location.startswith("file:") else f"{here}/{name}"
