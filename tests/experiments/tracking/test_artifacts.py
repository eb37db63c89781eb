"""A store that was moved or copied: MLflow finds its pictures where they are now, and times stay those of the work."""

import shutil
from pathlib import Path

import mlflow
import pytest

from experiments.store.store import Store
from experiments.sweep.plan import Plan
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
