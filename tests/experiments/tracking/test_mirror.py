"""MLflow mirrors the store, idempotently: a real SQLite database."""

import json
import os
import re
import shutil
import socket
import sqlite3
from collections import Counter
from datetime import datetime
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from experiments.errors import UserError
from experiments.store.journal import Journal
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking import runs as tracking_runs
from experiments.tracking.background import MirrorThread
from experiments.tracking.database import embedded_uri
from experiments.tracking.frames import results_frame, scores_in_store
from experiments.tracking.mirror import Mirror, sync
from experiments.tracking.own_notes import MARK
from experiments.tracking.remote import ServerRecord
from experiments.tracking.sync_state import CurveTail, SyncCounts
from experiments.trials.context import TrialContext
from experiments.trials.perform import perform
from tests.conftest import TINY
from tests.inprocess import run_all
from tests.planning import load_sweep, plan_sweep

SENDING = (
    *("create_experiment", "create_run", "log_batch", "log_artifact", "set_terminated"),
    *("create_logged_model", "log_inputs", "log_outputs", "set_experiment_tag"),
)


def all_runs(uri: str, plan: Plan) -> list:
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(plan.sweep.name)
    return list(client.search_runs([experiment.experiment_id])) if experiment is not None else []


def runs_of(uri: str, plan: Plan) -> dict:
    return {run.data.tags["edm.signature"]: run for run in all_runs(uri, plan)}


def history(uri: str, run_id: str, key: str) -> list[tuple[int, float]]:
    metrics = mlflow.MlflowClient(tracking_uri=uri).get_metric_history(run_id, key)
    return sorted((metric.step, metric.value) for metric in metrics)


def record(uri: str, plan: Plan) -> dict:
    """All that a record says of a plan, by signature, but for what MLflow itself numbers."""
    client, runs = mlflow.MlflowClient(tracking_uri=uri), all_runs(uri, plan)
    by_id = {run.info.run_id: run.data.tags["edm.signature"] for run in runs}
    counts = Counter(by_id.values())
    assert set(counts.values()) <= {1}, "a run is there twice"
    return {
        signature: {
            "status": run.info.status,
            "name": run.info.run_name,
            "times": (run.info.start_time, run.info.end_time),
            "parent": by_id.get(run.data.tags.get("mlflow.parentRunId", "")),
            "params": run.data.params,
            "metrics": {key: history(uri, run.info.run_id, key) for key in run.data.metrics},
            "tags": {key: value for key, value in run.data.tags.items() if key.startswith("edm.") and MARK not in key},
            "described": run.data.tags.get("mlflow.note.content", "").replace(run.info.run_id, "RUN"),
            "data": [(each.dataset.name, each.dataset.digest) for each in run.inputs.dataset_inputs],
            "models": models_of(client, run),
            "files": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
        }
        for run in runs
        for signature in [by_id[run.info.run_id]]
    }


def used_by(client: mlflow.MlflowClient, run) -> list:
    """The logged models that a run has used, which a search for runs leaves out."""
    return client.get_run(run.info.run_id).inputs.model_inputs


def models_of(client: mlflow.MlflowClient, run) -> dict[str, dict[str, float]]:
    """The logged models that a run has made or used, each with its scores."""
    linked = (*run.outputs.model_outputs, *used_by(client, run))
    models = [client.get_logged_model(each.model_id) for each in linked]
    assert len({model.name for model in models}) == len(models), "a model is there twice"
    return {model.name: {each.key: each.value for each in model.metrics or ()} for model in models}


def untimed(made: dict) -> dict:
    """The same without when runs of MLflow began, which for trainings is when they were first seen."""
    return {name: {key: value for key, value in of.items() if key != "times"} for name, of in made.items()}


def test_an_experiment_opens_as_one_of_trainings_and_says_what_it_is(tiny_plan: Plan, filled: Store) -> None:
    uri = embedded_uri(filled)
    Mirror(filled, tiny_plan, uri).update(ended=True)
    experiment = mlflow.MlflowClient(tracking_uri=uri).get_experiment_by_name(tiny_plan.sweep.name)
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert f"edm-sweep report {tiny_plan.sweep.name}" in experiment.tags["mlflow.note.content"]


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
        result = filled.result(EvaluationResult, planned.evaluation.signature)
        assert result is not None and result.metrics.items() <= child.data.metrics.items()
        assert child.data.tags["edm.label"] == "classifier features (version 2), 64-d"
        assert {a.path for a in client.list_artifacts(child.info.run_id)} == {"samples.png", "denoising.png", "log.txt"}
        assert child.info.end_time - child.info.start_time == int(result.seconds * 1000)
        assert parent.data.tags["edm.package.torch"] and "edm.git_commit" in parent.data.tags


def test_a_fine_tuned_training_has_used_the_network_it_began_with(
    tiny_plan: Plan, filled: Store, tmp_path: Path
) -> None:
    model = filled.folder("trainings", next(iter(tiny_plan.trainings)))
    text = (
        TINY.partition("grid:")[0].replace("tiny_digits", "tuned").replace("kimg: 0.64", f"from: {model}, kimg: 0.064")
    )
    (tmp_path / "tuned.yaml").write_text(re.sub(r"^model:.*\n", "", text, flags=re.MULTILINE))
    plan = plan_sweep(load_sweep(tmp_path / "tuned.yaml"))
    assert not run_all(plan, filled).failures
    uri = embedded_uri(filled)
    Mirror(filled, plan, uri).update(ended=True)
    client, runs = mlflow.MlflowClient(tracking_uri=uri), runs_of(uri, plan)
    assert set(runs) == {*plan.trainings, *plan.evaluations}
    (training,) = plan.trained.values()
    assert training.begins_with is not None
    start = runs[training.begins_with.signature]
    (used,) = used_by(client, runs[training.signature])
    assert [used.model_id] == [made.model_id for made in start.outputs.model_outputs]
    assert start.data.params["model.from"] == runs[training.signature].data.params["training.from"] == str(model)
    assert start.data.params["training.kimg"] == "None"


def test_curves_are_the_journals_lines_against_images_seen(tiny_plan: Plan, filled: Store) -> None:
    uri = embedded_uri(filled)
    Mirror(filled, tiny_plan, uri).update(ended=True)
    name, training = next(iter(tiny_plan.trainings.items()))
    history = mlflow.MlflowClient(tracking_uri=uri).get_metric_history(
        runs_of(uri, tiny_plan)[name].info.run_id, "loss/train"
    )
    lines = Journal(filled.folder("trainings", name) / "journal.jsonl").read()
    expected = [(line["step"] * training.config.batch_size, line["loss"]) for line in lines]
    assert sorted((m.step, m.value) for m in history) == expected and len(expected) == 20


def test_validation_is_there_by_noise_level_and_as_pictures(tiny_plan: Plan, filled: Store) -> None:
    uri = embedded_uri(filled)
    name, training = next(iter(tiny_plan.trainings.items()))
    (filled.folder("trainings", name) / "samples" / "kimg00000000.320.png").write_bytes(b"an earlier one")
    Mirror(filled, tiny_plan, uri).update(ended=True)
    client = mlflow.MlflowClient(tracking_uri=uri)
    run = runs_of(uri, tiny_plan)[name]
    lines = Journal(filled.folder("trainings", name) / "validation.jsonl").read()
    assert lines[-1]["kimg"] == training.config.kimg
    for metric, expected in (
        ("loss/val", lines[-1]["val_loss"]),
        ("loss_by_noise/0.5", lines[-1]["levels"]["0.5"]),
        ("loss_by_noise/20", lines[-1]["levels"]["20"]),
    ):
        assert run.data.metrics[metric] == expected
    assert run.data.metrics["system/memory_gib"] > 0 and run.data.tags["edm.computing.precision"] == "fp32"
    pictures = [file.path for file in client.list_artifacts(run.info.run_id, "samples")]
    assert pictures == ["samples/kimg00000000.320.png", "samples/kimg00000000.640.png"]


def test_intervals_prefixes_and_the_closest_pairs_are_there(tiny_file: Path, store: Store) -> None:
    overrides = ("evaluation.images=1100", "evaluation.metrics=[fid, memorisation]", "sampling.steps=1")
    plan = plan_sweep(load_sweep(tiny_file, overrides))
    run_all(plan, store)
    uri = embedded_uri(store)
    Mirror(store, plan, uri).update(ended=True)
    client, name = mlflow.MlflowClient(tracking_uri=uri), next(iter(plan.evaluations))
    run, result = runs_of(uri, plan)[name], store.result(EvaluationResult, name)
    assert result is not None
    metrics = run.data.metrics
    assert metrics["fid_test_low"] < metrics["fid_test"] < metrics["fid_test_high"]
    history = client.get_metric_history(run.info.run_id, "prefix/fid_test")
    assert [(m.step, m.value) for m in history] == [(row["images"], row["fid_test"]) for row in result.prefixes]
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
        assert len(client.get_metric_history(runs[name].info.run_id, "loss/train")) == 20
    experiment = next(iter(runs.values())).info.experiment_id
    pages = [run.info.run_id for run in tracking_runs.all_runs(client, experiment, page_size=4)]
    assert sorted(pages) == sorted(run.info.run_id for run in runs.values())


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


def test_a_training_is_followed_while_it_runs_and_through_an_interruption(tiny_plan: Plan, store: Store) -> None:
    uri = embedded_uri(store)
    name, training = next(iter(tiny_plan.trainings.items()))
    states = []

    class Following(Store):
        looks = 0

        def stop_requested(self, run_id: str, signature: str | None = None) -> bool:
            Mirror(Store(self.root), tiny_plan, uri).update()
            states.extend(run.info.status for run in runs_of(uri, tiny_plan).values())
            self.looks += 1
            return self.looks > 4

    assert perform(Following(store.root), training, TrialContext("s", report_s=0.0)).state == "interrupted"
    assert set(states) == {"RUNNING"}
    Mirror(store, tiny_plan, uri).update(ended=True)
    assert runs_of(uri, tiny_plan)[name].info.status == "KILLED"
    assert perform(store, training, TrialContext("s")).state == "done"
    Mirror(store, tiny_plan, uri).update(ended=True)
    run = runs_of(uri, tiny_plan)[name]
    history = mlflow.MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "loss/train")
    assert run.info.status == "FINISHED" and len(history) == len({m.step for m in history}) == 20


def test_a_run_that_was_seen_late_begins_when_its_task_did(tiny_plan: Plan, filled: Store) -> None:
    """A task may be done in less time than it takes to see that it has begun; results are dated in whole seconds."""
    uri, name = embedded_uri(filled), next(iter(tiny_plan.trainings))
    folder = filled.folder("trainings", name)
    (folder / "result.json").rename(folder / "later.json")
    begun_s = datetime.fromisoformat(json.loads((folder / "later.json").read_text())["provenance"]["time"]).timestamp()
    os.utime(folder / "config.yaml", (begun_s + 0.9, begun_s + 0.9))
    Mirror(filled, tiny_plan, uri).update()
    (folder / "later.json").rename(folder / "result.json")
    Mirror(filled, tiny_plan, uri).update(ended=True)
    info = runs_of(uri, tiny_plan)[name].info
    assert info.status == "FINISHED" and info.start_time == info.end_time == begun_s * 1000


def test_a_loss_that_was_measured_again_is_one_point(tiny_plan: Plan, filled: Store) -> None:
    """As after a full disk: the last losses are there, their training is not, and both are made again."""
    uri = embedded_uri(filled)
    name = next(iter(tiny_plan.trainings))
    folder = filled.folder("trainings", name)
    result, journal = folder / "result.json", Journal(folder / "validation.jsonl")
    result.rename(folder / "later.json")
    Mirror(filled, tiny_plan, uri).update()
    lines = journal.read()
    journal.keep_rising(below=lines[-1]["step"])
    journal.append({**lines[-1], "time": lines[-1]["time"] + 5})
    (folder / "later.json").rename(result)
    Mirror(filled, tiny_plan, uri).update(ended=True)
    for key in ("loss/val", "loss_by_noise/0.5"):
        steps = [step for step, _ in history(uri, runs_of(uri, tiny_plan)[name].info.run_id, key)]
        assert len(steps) == len(set(steps)) == len(lines)


def test_a_run_duplicated_by_a_lost_answer_is_merged_with_its_children(tiny_plan: Plan, filled: Store) -> None:
    uri = embedded_uri(filled)
    training = next(iter(tiny_plan.trainings))
    evaluation = next(e for e in tiny_plan.evaluations.values() if e.training.signature == training)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment(tiny_plan.sweep.name)
    first, second = (
        client.create_run(experiment, start_time=began, tags={"edm.signature": training}).info.run_id
        for began in (1000, 2000)
    )
    child = {"edm.signature": evaluation.signature, "mlflow.parentRunId": second}
    client.create_run(experiment, tags=child)
    Mirror(filled, tiny_plan, uri).update(ended=True)
    runs = runs_of(uri, tiny_plan)
    assert len(all_runs(uri, tiny_plan)) == 6 and {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs[training].info.run_id == first
    assert runs[evaluation.signature].data.tags["mlflow.parentRunId"] == first
    assert client.get_run(second).info.lifecycle_stage == "deleted"


def test_answers_that_are_lost_leave_everything_there_once(
    tiny_plan: Plan, filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is killed between writing something and saying so: the first, third and fifth of each kind."""
    uri, calm = embedded_uri(filled), f"sqlite:///{tmp_path / 'calm.db'}"
    Mirror(filled, tiny_plan, calm).update(ended=True)
    mirror, calls, losses = Mirror(filled, tiny_plan, uri), Counter(), []

    def losing(name: str):
        method = getattr(mirror.client, name)

        def call(*arguments, **named):
            answer = method(*arguments, **named)
            calls[name] += 1
            if calls[name] % 2 and calls[name] <= 5:
                losses.append(name)
                raise MlflowException("Connection aborted")
            return answer

        return call

    for name in SENDING:
        monkeypatch.setattr(mirror.client, name, losing(name))
    lost = 0
    for _ in range(30):
        try:
            mirror.update(ended=True)
            break
        except MlflowException:
            lost += 1
    assert lost == len(losses) and set(losses) == set(SENDING)
    assert untimed(record(uri, tiny_plan)) == untimed(record(calm, tiny_plan))


def test_what_is_told_is_not_read_again_until_it_changes(
    tiny_plan: Plan, filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(filled, tiny_plan, embedded_uri(filled))
    mirror.update()
    read, result = [], Store.result

    def counting(store: Store, kind, signature: str):
        read.append(signature)
        return result(store, kind, signature)

    monkeypatch.setattr(Store, "result", counting)
    mirror.update()
    assert not read
    name = next(iter(tiny_plan.evaluations))
    redone = filled.folder("evaluations", name) / "result.json"
    redone.write_bytes(redone.read_bytes())
    mirror.update(ended=True)
    assert read == [name]


def test_a_mirror_learns_what_another_wrote_without_reading_everything(
    tiny_plan: Plan, filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = embedded_uri(filled)
    hidden = filled.folder("evaluations", next(iter(tiny_plan.evaluations)))
    aside = hidden.with_name("aside")
    hidden.rename(aside)
    one, two = Mirror(filled, tiny_plan, uri), Mirror(filled, tiny_plan, uri)
    one.update()
    two.update()
    aside.rename(hidden)
    two.update()
    monkeypatch.setattr(one, "_look", lambda: pytest.fail("it looked at everything"))
    one.update(ended=True)
    assert len(record(uri, tiny_plan)) == 6
    assert not one.experiment.sent & {hidden.name} and one.counts.finished == 6


def test_a_journal_is_read_from_where_it_was_left_unless_replaced(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    tail = CurveTail(journal.path)
    assert tail.fresh() == []
    for step in range(4):
        journal.append({"step": step})
    assert [line["step"] for line in tail.fresh()] == [0, 1, 2, 3] and tail.fresh() == []
    journal.keep_rising(below=2)  # as a training does that goes on from an earlier checkpoint
    for step in range(2, 6):
        journal.append({"step": step, "again": True})
    assert [line["step"] for line in tail.fresh()] == [0, 1, 2, 3, 4, 5] and tail.fresh() == []


def test_a_journal_longer_than_a_call_takes_arrives_whole_and_once(tiny_plan: Plan, store: Store) -> None:
    name, training = next(iter(tiny_plan.trainings.items()))
    folder, uri = store.folder("trainings", name), embedded_uri(store)
    folder.mkdir(parents=True)
    journal = Journal(folder / "journal.jsonl")
    for step in range(1, 1001):
        journal.append({"step": step, "kimg": step / 10, "loss": 1 / step, "images_per_s": 5.0, "time": 1e9 + step})
    for _ in range(2):
        Mirror(store, tiny_plan, uri).update()
    (run,) = all_runs(uri, tiny_plan)
    steps = [step * training.config.batch_size for step in range(1, 1001)]
    for key in ("loss/train", "kimg", "system/images_per_s"):
        assert [step for step, _ in history(uri, run.info.run_id, key)] == steps


def test_a_pruned_training_is_told_as_such_until_it_goes_on(tiny_plan: Plan, filled: Store) -> None:
    uri, name = embedded_uri(filled), next(iter(tiny_plan.trainings))
    folder = filled.folder("trainings", name)
    result = (folder / "result.json").read_bytes()
    (folder / "result.json").unlink()
    pruned = folder / "pruned.json"
    pruned.write_text(json.dumps({"kimg": 0.32, "val_loss": 1.23456, "time": 0}))
    mirror = Mirror(filled, tiny_plan, uri)
    mirror.update()
    run = runs_of(uri, tiny_plan)[name]
    assert (run.info.status, run.data.tags["edm.status"]) == (
        "KILLED",
        "pruned at 0.32 kimg (loss on the val split 1.235)",
    )
    assert len(history(uri, run.info.run_id, "loss/train")) == 20
    pruned.unlink()
    mirror.update()
    run = runs_of(uri, tiny_plan)[name]
    assert (run.info.status, run.data.tags["edm.pruned_at"]) == ("RUNNING", "null")
    (folder / "result.json").write_bytes(result)
    mirror.update(ended=True)
    run = runs_of(uri, tiny_plan)[name]
    assert (run.info.status, run.data.tags["edm.status"]) == ("FINISHED", "done")


def test_what_another_run_is_still_at_stays_as_running(tiny_plan: Plan, filled: Store) -> None:
    uri, name = embedded_uri(filled), next(iter(tiny_plan.trainings))
    (filled.folder("trainings", name) / "result.json").unlink()
    with filled.lock("trainings", name):
        Mirror(filled, tiny_plan, uri).update(ended=True)
        assert runs_of(uri, tiny_plan)[name].info.status == "RUNNING"
    Mirror(filled, tiny_plan, uri).update(ended=True)
    assert runs_of(uri, tiny_plan)[name].info.status == "KILLED"


def test_what_a_smaller_grid_no_longer_asks_for_does_not_stay_as_running(
    tiny_file: Path, tiny_plan: Plan, filled: Store
) -> None:
    uri = embedded_uri(filled)
    tiny_file.write_text(TINY.replace("[false, true]", "[false]"))
    smaller = plan_sweep(load_sweep(tiny_file))
    (dropped,) = tiny_plan.trainings.keys() - smaller.trainings.keys()
    (filled.folder("trainings", dropped) / "result.json").unlink()
    Mirror(filled, tiny_plan, uri).update()
    Mirror(filled, smaller, uri).update()  # while the run goes on nobody knows
    with filled.lock("trainings", dropped):
        Mirror(filled, smaller, uri).update(ended=True)
        assert runs_of(uri, tiny_plan)[dropped].info.status == "RUNNING"
    Mirror(filled, smaller, uri).update(ended=True)
    assert {run.info.status for name, run in runs_of(uri, tiny_plan).items() if name != dropped} == {"FINISHED"}
    assert runs_of(uri, tiny_plan)[dropped].info.status == "KILLED"


def test_sync_fills_an_empty_record_then_has_nothing_to_send(tiny_plan: Plan, filled: Store, tmp_path: Path) -> None:
    own, other = embedded_uri(filled), f"sqlite:///{tmp_path / 'other.db'}"
    Mirror(filled, tiny_plan, own).update(ended=True)
    seen = []
    assert sync(tiny_plan, filled, other, lambda done, total: seen.append((done, total))) == SyncCounts(6, 6, 6)
    assert seen == [(done, 6) for done in range(1, 7)]
    assert record(other, tiny_plan) == record(own, tiny_plan)
    before = record(other, tiny_plan)
    assert sync(tiny_plan, filled, other) == SyncCounts(6, 6, 0)
    assert record(other, tiny_plan) == before


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "carrier://pigeon"])
def test_sync_with_a_server_that_does_not_answer_is_an_error_for_people(
    tiny_plan: Plan, store: Store, uri: str
) -> None:
    with pytest.raises(UserError, match=f"{uri}: does not answer .*; nothing is lost"):
        sync(tiny_plan, store, uri)


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
    offline = results_frame(tiny_plan, scores_in_store(tiny_plan, filled)).to_csv()
    assert results_frame(tiny_plan, ServerRecord(tiny_plan, uri).scores(filled)).to_csv() == offline


def test_a_server_that_is_down_is_a_problem_and_not_an_error(tiny_plan: Plan, filled: Store) -> None:
    mirror = MirrorThread(filled, tiny_plan, "http://127.0.0.1:9")
    mirror.start()
    problem = mirror.finish(timeout_s=60)
    assert problem is not None and "127.0.0.1" in problem
    own = MirrorThread(filled, tiny_plan, None)
    own.start()
    assert own.finish(timeout_s=60) is None
    assert len(runs_of(embedded_uri(filled), tiny_plan)) == 6


def test_a_mirror_knows_the_page_of_every_run_once_mlflow_has_it(tiny_plan: Plan, filled: Store) -> None:
    mirror = MirrorThread(filled, tiny_plan, embedded_uri(filled))
    assert mirror.run_links(timeout_s=0) == {} and not mirror.is_server
    mirror.start()
    links = mirror.run_links(timeout_s=600)
    assert mirror.finish(timeout_s=600) is None
    runs = {signature: run.info.run_id for signature, run in runs_of(embedded_uri(filled), tiny_plan).items()}
    assert {signature: link.partition("/runs/")[2] for signature, link in links.items()} == {
        signature: f"{run}?workflowType=machine_learning" for signature, run in runs.items()
    }


def test_a_mirror_that_was_never_started_has_nothing_to_end(tiny_plan: Plan, filled: Store) -> None:
    assert MirrorThread(filled, tiny_plan, "http://127.0.0.1:9").finish(timeout_s=0) is None


def test_a_server_that_never_answers_blocks_only_the_mirrors_thread(
    tiny_plan: Plan, filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        mirror = MirrorThread(filled, tiny_plan, f"http://127.0.0.1:{silent.getsockname()[1]}")
        mirror.start()
        assert mirror.finish(timeout_s=0.01) is not None  # whoever ends does not wait for an answer
        assert "127.0.0.1" in (mirror.finish(timeout_s=60) or "")


def test_asking_mlflow_for_a_sweep_it_does_not_have_is_an_error_for_people(tiny_plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no experiment 'tiny_digits'; run the sweep with it first"):
        ServerRecord(tiny_plan, f"sqlite:///{tmp_path / 'empty.db'}").scores(Store(tmp_path))


@pytest.mark.parametrize("left", ["half a database", "no database at all"])
def test_a_database_that_a_kill_left_half_made_is_made_again(
    tiny_plan: Plan, store: Store, tmp_path: Path, left: str
) -> None:
    made, path = Store(tmp_path / "made"), store.root / "mlflow.db"
    Mirror(made, tiny_plan, embedded_uri(made))  # elsewhere, as MLflow remembers what it has opened
    shutil.copy(made.root / "mlflow.db", path)
    with sqlite3.connect(path) as database:
        if left == "half a database":  # at the revision of a kill, with tables of later ones
            database.execute("UPDATE alembic_version SET version_num = '75868b020152'")
    database.close()
    if left == "no database at all":
        path.write_bytes(b"not what it was")
    run_all(tiny_plan, store)
    mirror = Mirror(store, tiny_plan, embedded_uri(store))
    mirror.update(ended=True)
    assert mirror.counts.finished == 6
    assert not list(store.root.glob(".mlflow.db*"))
    assert len(list(store.root.glob("damaged/mlflow-*/mlflow.db"))) == 1


def test_a_database_that_cannot_be_upgraded_and_holds_runs_is_left_alone(tiny_plan: Plan, tmp_path: Path) -> None:
    made, store = Store(tmp_path / "made"), Store(tmp_path / "store")
    mirror = Mirror(made, tiny_plan, embedded_uri(made))
    mirror.client.create_run("0")
    store.create()
    shutil.copy(made.root / "mlflow.db", store.root / "mlflow.db")
    with sqlite3.connect(store.root / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'from-the-future'")
    database.close()
    with pytest.raises(Exception, match="from-the-future"):
        Mirror(store, tiny_plan, embedded_uri(store))
    assert (store.root / "mlflow.db").exists()
