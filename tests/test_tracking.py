"""MLflow mirrors the store, idempotently: a real SQLite database."""

import json
from pathlib import Path

import mlflow
import pytest

from experiments import trial
from experiments.errors import UserError
from experiments.plan import Plan, plan_sweep
from experiments.results import found_in_store, results_frame
from experiments.spec import load_sweep
from experiments.store import Journal, Store
from experiments.tracking import Mirror, MirrorThread, embedded_uri, found_in_mlflow
from experiments.trial import Setting
from experiments.work import perform
from tests.inprocess import run_all

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own deprecations


def runs_of(uri: str, plan: Plan) -> dict:
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(plan.sweep.name)
    assert experiment is not None
    return {run.data.tags["edm.signature"]: run for run in client.search_runs([experiment.experiment_id])}


@pytest.fixture
def filled(tiny_plan: Plan, store: Store) -> Store:
    run_all(tiny_plan, store)
    return store


def test_parents_children_parameters_metrics_tags_and_pictures(tiny_plan: Plan, filled: Store) -> None:
    uri = embedded_uri(filled)
    Mirror(filled, tiny_plan, uri).update(ended=True)
    runs = runs_of(uri, tiny_plan)
    assert set(runs) == {*tiny_plan.trainings, *tiny_plan.evaluations}
    client = mlflow.MlflowClient(tracking_uri=uri)
    for planned in tiny_plan.cells:
        parent, child = runs[planned.training.signature], runs[planned.evaluation.signature]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.info.run_name == tiny_plan.cell_name(planned)
        assert (parent.info.status, child.info.status) == ("FINISHED", "FINISHED")
        assert child.data.params == {key: str(value) for key, value in planned.cell.parameters().items()}
        assert parent.data.params.items() <= child.data.params.items()
        result = filled.result("evaluations", planned.evaluation.signature)
        assert result is not None and result["metrics"].items() <= child.data.metrics.items()
        assert child.data.tags["edm.label"] == "classifier features, 64-d"
        assert {a.path for a in client.list_artifacts(child.info.run_id)} == {"samples.png", "log.txt"}
        assert child.info.end_time - child.info.start_time == int(result["seconds"] * 1000)
        assert parent.data.tags["edm.package.torch"] and "edm.git_commit" in parent.data.tags


def test_curves_are_the_journals_lines_against_images_seen(tiny_plan: Plan, filled: Store) -> None:
    uri = embedded_uri(filled)
    Mirror(filled, tiny_plan, uri).update(ended=True)
    name, training = next(iter(tiny_plan.trainings.items()))
    history = mlflow.MlflowClient(tracking_uri=uri).get_metric_history(
        runs_of(uri, tiny_plan)[name].info.run_id, "loss"
    )
    lines = Journal(filled.folder("trainings", name) / "journal.jsonl").read()
    expected = [(line["step"] * training.config.batch_size, line["loss"]) for line in lines]
    assert sorted((m.step, m.value) for m in history) == expected and len(expected) == 20


def test_what_was_seen_along_the_way_is_there_by_noise_level_and_as_pictures(tiny_plan: Plan, filled: Store) -> None:
    uri = embedded_uri(filled)
    name, training = next(iter(tiny_plan.trainings.items()))
    (filled.folder("trainings", name) / "samples" / "kimg00000000.320.png").write_bytes(b"an earlier one")
    Mirror(filled, tiny_plan, uri).update(ended=True)
    client = mlflow.MlflowClient(tracking_uri=uri)
    run = runs_of(uri, tiny_plan)[name]
    lines = Journal(filled.folder("trainings", name) / "validation.jsonl").read()
    assert lines[-1]["kimg"] == training.config.kimg
    for metric, expected in (
        ("val_loss", lines[-1]["val_loss"]),
        ("val_loss_at/0.5", lines[-1]["levels"]["0.5"]),
        ("val_loss_at/20", lines[-1]["levels"]["20"]),
    ):
        assert run.data.metrics[metric] == expected
    assert run.data.metrics["memory_gib"] > 0 and run.data.tags["edm.computing.precision"] == "fp32"
    pictures = [file.path for file in client.list_artifacts(run.info.run_id, "samples")]
    assert pictures == ["samples/kimg00000000.320.png", "samples/kimg00000000.640.png"]


def test_intervals_prefixes_and_the_closest_pairs_are_there(tiny_file: Path, store: Store) -> None:
    overrides = ("evaluation.images=1100", "evaluation.metrics=[fid, memorisation]", "sampling.steps=1")
    plan = plan_sweep(load_sweep(tiny_file, overrides))
    run_all(plan, store)
    uri = embedded_uri(store)
    Mirror(store, plan, uri).update(ended=True)
    client, name = mlflow.MlflowClient(tracking_uri=uri), next(iter(plan.evaluations))
    run, result = runs_of(uri, plan)[name], store.result("evaluations", name)
    assert result is not None
    metrics = run.data.metrics
    assert metrics["fid_test_low"] < metrics["fid_test"] < metrics["fid_test_high"]
    history = client.get_metric_history(run.info.run_id, "prefix/fid_test")
    assert [(m.step, m.value) for m in history] == [(row["images"], row["fid_test"]) for row in result["prefixes"]]
    assert {m.step for m in history} == {1000, 1100}
    assert "closest.png" in {a.path for a in client.list_artifacts(run.info.run_id)}


def test_mirroring_again_changes_nothing(tiny_plan: Plan, filled: Store) -> None:
    uri = embedded_uri(filled)
    for _ in range(3):  # a fresh mirror each time, as a fresh process has
        Mirror(filled, tiny_plan, uri).update(ended=True)
    runs = runs_of(uri, tiny_plan)
    assert len(runs) == 6
    client = mlflow.MlflowClient(tracking_uri=uri)
    for name in tiny_plan.trainings:
        assert len(client.get_metric_history(runs[name].info.run_id, "loss")) == 20


def test_two_runs_that_mirror_at_once_make_every_run_once(tiny_plan: Plan, filled: Store) -> None:
    uri = embedded_uri(filled)
    one, two = Mirror(filled, tiny_plan, uri), Mirror(filled, tiny_plan, uri)
    hidden = filled.folder("evaluations", next(iter(tiny_plan.evaluations))) / "result.json"
    hidden.rename(hidden.with_suffix(".later"))
    one.update()
    two.update()
    hidden.with_suffix(".later").rename(hidden)
    two.update()
    one.update(ended=True)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(tiny_plan.sweep.name)
    assert experiment is not None
    signatures = [run.data.tags["edm.signature"] for run in client.search_runs([experiment.experiment_id])]
    assert sorted(signatures) == sorted([*tiny_plan.trainings, *tiny_plan.evaluations])


def test_a_training_is_followed_while_it_runs_and_through_an_interruption(
    tiny_plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = embedded_uri(store)
    name, training = next(iter(tiny_plan.trainings.items()))
    states = []

    class Following(Store):
        looks = 0

        def stop_requested(self, session: str) -> bool:
            Mirror(Store(self.root), tiny_plan, uri).update()
            states.extend(run.info.status for run in runs_of(uri, tiny_plan).values())
            self.looks += 1
            return self.looks > 4

    monkeypatch.setattr(trial, "PULSE_S", 0.0)
    assert perform(Following(store.root), training, Setting("s")).state == "stopped"
    assert set(states) == {"RUNNING"}
    Mirror(store, tiny_plan, uri).update(ended=True)
    assert runs_of(uri, tiny_plan)[name].info.status == "KILLED"
    assert perform(store, training, Setting("s")).state == "done"
    Mirror(store, tiny_plan, uri).update(ended=True)
    run = runs_of(uri, tiny_plan)[name]
    history = mlflow.MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "loss")
    assert run.info.status == "FINISHED" and len(history) == len({m.step for m in history}) == 20


def test_failures_are_shown_and_lifted(tiny_plan: Plan, filled: Store) -> None:
    uri = embedded_uri(filled)
    name = next(iter(tiny_plan.evaluations))
    folder = filled.folder("evaluations", name)
    result = (folder / "result.json").read_text()
    (folder / "result.json").unlink()
    (folder / "failure.json").write_text(json.dumps({"message": "RuntimeError: no", "time": 0}))
    Mirror(filled, tiny_plan, uri).update(ended=True)
    run = runs_of(uri, tiny_plan)[name]
    assert run.info.status == "FAILED" and run.data.tags["edm.status"] == "RuntimeError: no"
    (folder / "failure.json").unlink()
    (folder / "result.json").write_text(result)
    Mirror(filled, tiny_plan, uri).update(ended=True)
    run = runs_of(uri, tiny_plan)[name]
    assert run.info.status == "FINISHED" and run.data.tags["edm.status"] == "done"


def test_the_frame_from_mlflow_equals_the_frame_from_the_store(tiny_plan: Plan, filled: Store) -> None:
    uri = embedded_uri(filled)
    Mirror(filled, tiny_plan, uri).update(ended=True)
    offline = results_frame(tiny_plan, found_in_store(tiny_plan, filled)).to_csv()
    assert results_frame(tiny_plan, found_in_mlflow(tiny_plan, uri)).to_csv() == offline


def test_a_server_that_is_down_is_a_problem_and_not_an_error(tiny_plan: Plan, filled: Store) -> None:
    mirror = MirrorThread(filled, tiny_plan, "http://127.0.0.1:9")
    problem = mirror.finish(timeout_s=60)
    assert problem is not None and "127.0.0.1" in problem
    uri = embedded_uri(filled)
    assert MirrorThread(filled, tiny_plan, uri).finish(timeout_s=60) is None
    assert len(runs_of(uri, tiny_plan)) == 6


def test_asking_mlflow_for_a_sweep_it_does_not_have_is_an_error_for_people(tiny_plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no experiment 'tiny_digits'; run the sweep with it first"):
        found_in_mlflow(tiny_plan, f"sqlite:///{tmp_path / 'empty.db'}")
