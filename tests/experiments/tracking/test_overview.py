"""What MLflow shows of a whole sweep and of each run: descriptions, report, views, data sets and models."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND

from experiments.store.results import EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking.background import MirrorThread
from experiments.tracking.database import embedded_uri
from experiments.tracking.descriptions import describe_evaluation
from experiments.tracking.mirror import Mirror
from experiments.tracking.overview import REPORT
from experiments.tracking.report_files import main_table
from experiments.tracking.views import saved_views
from tests.experiments.tracking.test_mirror import all_runs, runs_of, used_by

NOTE = "mlflow.note.content"
MAIN = "4 cells, all done.\n\n**tiny** (of digits)\n\n| attention | FID test |\n| --- | ---: |\n| yes | 3.1 |"
TABLE = f"# tiny\n\n{MAIN}\n"


@pytest.fixture
def reported(tiny_plan: Plan, filled: Store) -> Store:
    """A filled store with a report, as a run leaves it."""
    folder = filled.report_folder(tiny_plan.sweep.name)
    (folder / "figures").mkdir(parents=True)
    for name, text in (("report.md", TABLE), ("report.html", "<p>page"), ("figures/scores.svg", "<svg/>")):
        (folder / name).write_text(text)
    (folder / ".report.html.1.part").write_text("half of it")
    return filled


def updated(store: Store, plan: Plan) -> mlflow.MlflowClient:
    Mirror(store, plan, embedded_uri(store)).update(ended=True)
    return mlflow.MlflowClient(tracking_uri=embedded_uri(store))


def tags_of(client: mlflow.MlflowClient, plan: Plan) -> dict[str, str]:
    experiment = client.get_experiment_by_name(plan.sweep.name)
    assert experiment is not None
    return experiment.tags


def files_of(client: mlflow.MlflowClient, run: Run, folder: str) -> set[str]:
    return {file.path for file in client.list_artifacts(run.info.run_id, folder)}


# the experiment -----------------------------------------------------------------------------------


def test_the_report_is_files_of_a_run_and_the_note_has_its_table(tiny_plan: Plan, reported: Store) -> None:
    client = updated(reported, tiny_plan)
    run = runs_of(embedded_uri(reported), tiny_plan)[REPORT]
    assert run.info.status == "FINISHED" and run.info.run_name == "report"
    assert files_of(client, run, "report") == {"report/report.md", "report/report.html", "report/figures"}
    assert files_of(client, run, "report/figures") == {"report/figures/scores.svg"}
    assert "| yes | 3.1 |" in run.data.tags[NOTE]
    note = tags_of(client, tiny_plan)[NOTE]
    assert "4 cells, all done." in note and "| yes | 3.1 |" in note
    page = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/report/report.html"
    assert page in note and f"#/experiments/{run.info.experiment_id}/runs?" in note


def test_a_new_report_takes_the_place_of_the_old_one(tiny_plan: Plan, reported: Store, tmp_path: Path) -> None:
    uri, mirror = embedded_uri(reported), Mirror(reported, tiny_plan, embedded_uri(reported))
    mirror.update()
    file = reported.report_folder(tiny_plan.sweep.name) / "report.md"
    file.write_text(TABLE.replace("3.1", "2.7"))
    mirror.update()
    client, run = mlflow.MlflowClient(tracking_uri=uri), runs_of(uri, tiny_plan)[REPORT]
    assert len(all_runs(uri, tiny_plan)) == 7
    sent = Path(client.download_artifacts(run.info.run_id, "report/report.md", str(tmp_path)))
    assert sent.read_text() == file.read_text()
    assert "| yes | 2.7 |" in tags_of(client, tiny_plan)[NOTE] and "| yes | 2.7 |" in run.data.tags[NOTE]


def test_a_report_that_is_there_is_not_sent_again(
    tiny_plan: Plan, reported: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    updated(reported, tiny_plan)
    mirror = Mirror(reported, tiny_plan, embedded_uri(reported))
    for name in ("log_artifact", "set_experiment_tag", "log_batch"):
        monkeypatch.setattr(mirror.client, name, lambda *rest, name=name, **named: pytest.fail(f"{name} was called"))
    mirror.update(ended=True)


def test_views_are_tags_that_a_person_may_change(tiny_plan: Plan, filled: Store) -> None:
    client = updated(filled, tiny_plan)
    views = saved_views(tiny_plan)
    assert views.items() <= tags_of(client, tiny_plan).items()
    experiment = client.get_experiment_by_name(tiny_plan.sweep.name)
    assert experiment is not None
    mine = {next(iter(views)): "my own view", NOTE: "my own words"}
    for key, value in mine.items():
        client.set_experiment_tag(experiment.experiment_id, key, value)
    updated(filled, tiny_plan)
    assert mine.items() <= tags_of(client, tiny_plan).items()


@pytest.mark.parametrize(
    ("text", "longest", "expected"),
    [
        ("# title\n\nnothing done.\n", 100, ""),
        (TABLE, 1000, MAIN),
        (f"{TABLE}| no | 4.2 |\n| a | 5 |\n", 140, "| yes | 3.1 |\n\nNot shown here: 2 rows."),
        (f"{TABLE}| no | 4 ≈ |\n\n- ≈: the same\n- s: seeds\n- ±: half\n", 1000, "| no | 4 ≈ |\n\n- ≈: the same"),
    ],
)
def test_a_main_table_is_cut_where_it_is_too_long(text: str, longest: int, expected: str) -> None:
    made = main_table(text, longest)
    assert made.endswith(expected) and len(made) <= longest and bool(made) == bool(expected)


# runs ---------------------------------------------------------------------------------------------


def test_a_description_has_numbers_intervals_and_a_picture(tiny_plan: Plan, filled: Store) -> None:
    updated(filled, tiny_plan)
    runs = runs_of(embedded_uri(filled), tiny_plan)
    for signature in tiny_plan.evaluations:
        run = runs[signature]
        note = run.data.tags[NOTE]
        assert note.startswith("**FID train ")
        assert f"![Samples](get-artifact?path=samples.png&run_uuid={run.info.run_id})" in note
        assert re.search(r"^\| FID test \| \S+ ± \S+ \| \S+ to \S+ \|", note, re.MULTILINE)
    for signature in tiny_plan.trainings:
        run = runs[signature]
        assert "| Loss on the val split | " in run.data.tags[NOTE]
        assert f"path=samples%2Fkimg00000000.640.png&run_uuid={run.info.run_id}" in run.data.tags[NOTE]


def test_an_interval_without_width_is_not_shown_as_a_margin(tiny_plan: Plan, filled: Store, tmp_path: Path) -> None:
    evaluation = next(iter(tiny_plan.evaluations.values()))
    result = filled.result(EvaluationResult, evaluation.signature)
    assert result is not None
    same = {"class_accuracy": 0.1, "class_accuracy_se": 1e-17, "class_accuracy_low": 0.1, "class_accuracy_high": 0.1}
    text = describe_evaluation(evaluation, replace(result, metrics=same), "run", tmp_path)
    assert text.startswith("**class accuracy 10.0 %**")


def test_a_margin_is_a_tables_where_an_interval_ends_at_1(tiny_plan: Plan, filled: Store, tmp_path: Path) -> None:
    evaluation = next(iter(tiny_plan.evaluations.values()))
    result = filled.result(EvaluationResult, evaluation.signature)
    assert result is not None
    close = {"class_accuracy_se": 0.001, "class_accuracy_low": 0.99704, "class_accuracy_high": 1.0}
    made = replace(result, metrics={"class_accuracy": 0.999, **close})
    text = describe_evaluation(evaluation, made, "run", tmp_path)
    assert text.startswith("**class accuracy 99.90 ± 0.20 %**") and "| 99.70 % to 100.00 % |" in text


def test_a_description_says_what_stopped_an_evaluation(tiny_plan: Plan, filled: Store, tmp_path: Path) -> None:
    evaluation = next(iter(tiny_plan.evaluations.values()))
    result = filled.result(EvaluationResult, evaluation.signature)
    assert result is not None
    stopped = replace(result, stopped_at=80, stopped_by="x", notes=("a note",))
    text = describe_evaluation(evaluation, stopped, "run", tmp_path)
    assert "stopped after 80 images" in text and "- a note" in text and "![" not in text


def test_a_description_follows_the_result_but_not_over_a_persons(tiny_plan: Plan, filled: Store) -> None:
    client, uri = updated(filled, tiny_plan), embedded_uri(filled)
    one, other, *_ = tiny_plan.evaluations
    client.set_tag(runs_of(uri, tiny_plan)[other].info.run_id, NOTE, "the best one")
    for signature in (one, other):
        result = filled.result(EvaluationResult, signature)
        assert result is not None
        # larger, as MLflow shows the largest of several values from one moment
        metrics = {**result.metrics, "fid_test": 777.0, "fid_test_se": 0.51}
        filled.finish(signature, replace(result, metrics=metrics), result.files)
    updated(filled, tiny_plan)
    runs = runs_of(uri, tiny_plan)
    assert "777.0 ± 1.0," in runs[one].data.tags[NOTE] and runs[one].data.metrics["fid_test"] == 777
    assert runs[other].data.tags[NOTE] == "the best one" and runs[other].data.metrics["fid_test"] == 777


def test_data_sets_and_models_are_linked_to_their_runs(tiny_plan: Plan, filled: Store) -> None:
    client = updated(filled, tiny_plan)
    runs = runs_of(embedded_uri(filled), tiny_plan)
    for planned in tiny_plan.cells:
        parent, child = runs[planned.training.signature], runs[planned.evaluation.signature]
        for run, context in ((parent, "training"), (child, "evaluation")):
            (used,) = run.inputs.dataset_inputs
            assert (used.dataset.name, used.dataset.digest) == ("digits", planned.training.data.signature)
            assert [tag.value for tag in used.tags] == [context]
        (made,), (used,) = parent.outputs.model_outputs, used_by(client, child)
        assert used.model_id == made.model_id
        model = client.get_logged_model(made.model_id)
        result = filled.result(TrainingResult, planned.training.signature)
        assert result is not None and str(model.status) == "READY" and model.source_run_id == parent.info.run_id
        metrics = {metric.key: metric.value for metric in model.metrics or ()}
        assert metrics["loss/val"] == result.val_loss and metrics["parameters"] == result.parameters
        assert model.params["model.attention"] == str(planned.cell.model.attention)
        assert not client.list_logged_model_artifacts(made.model_id)  # the weights stay in the store


def test_a_server_without_logged_models_gets_all_the_rest(
    tiny_plan: Plan, filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(filled, tiny_plan, embedded_uri(filled))

    def unknown(*arguments: object, **named: object) -> None:
        raise MlflowException("API request failed with error code 404", error_code=ENDPOINT_NOT_FOUND)

    monkeypatch.setattr(mirror.client, "search_logged_models", unknown)
    mirror.update(ended=True)
    runs = runs_of(embedded_uri(filled), tiny_plan)
    assert {run.info.status for run in runs.values()} == {"FINISHED"} and mirror.counts.finished == 6
    client = mlflow.MlflowClient(tracking_uri=embedded_uri(filled))
    assert not any(run.outputs.model_outputs or used_by(client, run) for run in runs.values())


def test_a_record_of_an_earlier_version_is_brought_up_to_date(tiny_plan: Plan, filled: Store) -> None:
    client, uri = updated(filled, tiny_plan), embedded_uri(filled)
    before = runs_of(uri, tiny_plan)
    for run in before.values():
        for tag in ("edm.content", NOTE, f"edm.wrote.{NOTE}"):
            client.delete_tag(run.info.run_id, tag)
    gone = next(iter(tiny_plan.trainings))
    shutil.rmtree(filled.folder("trainings", gone))  # of a store that was tidied since
    updated(filled, tiny_plan)
    runs = runs_of(uri, tiny_plan)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert NOTE not in runs[gone].data.tags
    assert all(runs[name].data.tags[NOTE] == before[name].data.tags[NOTE] for name in runs if name != gone)
    assert all(len(run.outputs.model_outputs) + len(used_by(client, run)) == 1 for run in runs.values())


def test_a_mirror_thread_sends_the_report_that_a_run_ends_with(tiny_plan: Plan, reported: Store) -> None:
    folder = reported.report_folder(tiny_plan.sweep.name)
    later = folder.with_name("later")
    folder.rename(later)
    mirror = MirrorThread(reported, tiny_plan, None)
    mirror.start()
    later.rename(folder)
    assert mirror.finish(timeout_s=120) is None
    assert REPORT in runs_of(embedded_uri(reported), tiny_plan)
