"""A store that was moved or copied: MLflow finds its pictures where they are now, and times stay those of the work."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import mlflow
import pytest

from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking import artifacts
from experiments.tracking.artifacts import following_store
from experiments.tracking.database import embedded_uri
from experiments.tracking.mirror import Mirror
from tests.experiments.tracking.test_mirror import record


@pytest.fixture
def moved(tiny_plan: Plan, filled: Store, tmp_path: Path) -> Store:
    Mirror(filled, tiny_plan, embedded_uri(filled)).update(ended=True)
    place = tmp_path / "elsewhere" / "100% mine"
    shutil.copytree(filled.root, place, copy_function=shutil.copy)  # with times of now
    shutil.rmtree(filled.root)
    return Store(place)


def test_pictures_are_found_again_and_new_ones_go_there(tiny_plan: Plan, moved: Store, filled: Store) -> None:
    Mirror(moved, tiny_plan, embedded_uri(moved)).update(ended=True)
    uri = embedded_uri(moved)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(tiny_plan.sweep.name)
    assert experiment is not None
    assert experiment.artifact_location == (moved.root / "mlartifacts" / tiny_plan.sweep.name).as_uri()
    for run in client.search_runs([experiment.experiment_id]):
        assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {"log.txt"}
    assert not filled.root.exists()


def test_times_are_those_of_the_work(tiny_plan: Plan, moved: Store) -> None:
    uri = embedded_uri(moved)
    Mirror(moved, tiny_plan, uri).update(ended=True)
    before = record(uri, tiny_plan)
    (moved.root / "mlflow.db").unlink()
    Mirror(moved, tiny_plan, uri).update(ended=True)
    after = record(uri, tiny_plan)
    evaluations = tiny_plan.evaluations
    assert {name: after[name]["times"] for name in evaluations} == {name: before[name]["times"] for name in evaluations}


def test_places_outside_the_store_stay(tiny_plan: Plan, filled: Store, tmp_path: Path) -> None:
    client = mlflow.MlflowClient(tracking_uri=embedded_uri(filled))
    client.create_experiment("own", artifact_location=(tmp_path / "own").as_uri())
    Mirror(filled, tiny_plan, embedded_uri(filled)).update(ended=True)
    own = client.get_experiment_by_name("own")
    assert own is not None and own.artifact_location == (tmp_path / "own").as_uri()


def places(uri: str, name: str) -> list[str]:
    """Where a record says that the files of an experiment, of its runs and of their networks are."""
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None and experiment.artifact_location is not None
    runs = client.search_runs([experiment.experiment_id])
    models = client.search_logged_models([experiment.experiment_id])
    assert runs and models
    return [
        experiment.artifact_location,
        *(run.info.artifact_uri for run in runs),
        *(m.artifact_location for m in models),
    ]


def test_everything_that_has_files_is_in_the_store_now(tiny_plan: Plan, moved: Store) -> None:
    with following_store(moved.root / "mlflow.db") as database:
        assert database == moved.root / "mlflow.db"
        found = places(f"sqlite:///{database}", tiny_plan.sweep.name)
    assert all(place.startswith((moved.root / "mlartifacts").as_uri()) for place in found)


def test_a_copy_that_may_only_be_read_is_served_by_a_copy_that_follows_it(
    tiny_plan: Plan, moved: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, connect = moved.root / "mlflow.db", sqlite3.connect
    before = own.read_bytes()

    def read_only(place: Path | str, **options: Any) -> sqlite3.Connection:
        return artifacts.opened_to_read(own) if place == own else connect(place, **options)

    monkeypatch.setattr(artifacts.sqlite3, "connect", read_only)
    with following_store(own) as database:
        found = places(f"sqlite:///{database}", tiny_plan.sweep.name)
    assert all(place.startswith((moved.root / "mlartifacts").as_uri()) for place in found)
    assert own.read_bytes() == before and not database.exists()


def test_what_is_no_database_is_left_to_the_server(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database, but long enough to be looked at")
    with following_store(tmp_path / "mlflow.db") as database:
        assert database == tmp_path / "mlflow.db"
