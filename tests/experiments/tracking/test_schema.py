"""The tables of MLflow's database: the private functions that are used, and the command in their place."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.store.db import utils

from experiments.store.files import temporary_beside
from experiments.store.layout import MLFLOW_DATABASE
from experiments.tracking import schema
from experiments.tracking.database import ensure_database
from tests.databases import make_empty

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own deprecations


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database with the tables of this MLflow."""
    path = tmp_path / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").create_experiment("kept")
    return path


def revision(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.close()
    return found


def set_revision(path: Path, number: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (number,))
    connection.close()


def test_this_mlflow_has_the_private_functions() -> None:
    assert [name for name in schema.PRIVATE if not hasattr(utils, name)] == [], "see schema.py: the command is slower"


def test_a_database_of_this_mlflow_stays_and_a_later_one_is_refused(database: Path) -> None:
    latest, uri = revision(database), f"sqlite:///{database}"
    schema.upgrade(uri)
    assert revision(database) == latest
    set_revision(database, "from-the-future")
    with pytest.raises(Exception, match="from-the-future"):
        schema.upgrade(uri)


@pytest.mark.slow  # each command takes seconds
def test_without_the_private_functions_the_command_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(utils, "_get_schema_version")
    path = tmp_path / "mlflow.db"
    sqlite3.connect(path).close()
    schema.upgrade(f"sqlite:///{path}")
    assert revision(path) == utils._get_latest_schema_revision()
    set_revision(path, "from-the-future")
    with pytest.raises(RuntimeError, match=r"mlflow db upgrade: .*from-the-future"):
        schema.upgrade(f"sqlite:///{path}")


def test_what_a_kill_left_of_a_database_that_was_being_made_is_removed(tmp_path: Path) -> None:
    path = tmp_path / MLFLOW_DATABASE
    begin = "import sys; from pathlib import Path; from experiments.store.files import temporary_beside\n"
    begin += "temporary = temporary_beside(Path(sys.argv[1])); temporary.with_name(f'{temporary.name}-journal').touch()"
    subprocess.run([sys.executable, "-c", begin, str(path)], check=True)
    own = temporary_beside(path)  # of a process that still runs
    assert len(list(tmp_path.iterdir())) == 3
    ensure_database(path)
    assert sorted(tmp_path.iterdir()) == sorted([own, path])


def test_a_database_is_made_in_a_folder_with_quotation_marks_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / 'l\'été "β"'
    place.mkdir()
    monkeypatch.chdir(place)  # MLflow's own default would be a folder in it
    make_empty(place / MLFLOW_DATABASE)
    (experiment,) = MlflowClient(tracking_uri=f"sqlite:///{place / MLFLOW_DATABASE}").search_experiments()
    location = experiment.artifact_location
    assert location == f"{(place / 'mlartifacts').as_uri()}/0" and not (place / "mlruns").exists()
