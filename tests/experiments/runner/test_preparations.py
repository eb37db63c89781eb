"""Preparations, such as the feature classifier: once for all that wait, beside trainings, in plans and forecasts."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from edm.data.catalogue import CATALOGUE
from experiments.cli.main import app
from experiments.cli.views.plan import plan_tables
from experiments.cli.views.plan_json import plan_json
from experiments.cli.views.status import status_view
from experiments.cli.views.status_json import status_json
from experiments.errors import UserError
from experiments.inspection.logs import logs_matching
from experiments.inspection.lookup import cells_sharing, find_preparation
from experiments.inspection.status import Status, StatusReader
from experiments.runner.data_costs import preparing_s, unprepared
from experiments.runner.downloads import downloads
from experiments.runner.durations import DurationModel
from experiments.runner.forecast import forecast
from experiments.runner.listener import RunListener
from experiments.runner.prepare import prepare_inputs
from experiments.runner.resume import open_schedule
from experiments.runner.schedule import Schedule
from experiments.store.failures import Failure
from experiments.store.progress import TaskProgress
from experiments.store.store import Store
from experiments.sweep.jobs import Outcome
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import FeatureClassifier
from experiments.sweep.tasks import Evaluation, Training
from experiments.tracking.records import record_plan
from experiments.trials.datasets import ensure_prepared, is_prepared
from tests.inprocess import execute
from tests.planning import load_sweep, plan_sweep


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store(tmp_path / "empty").create()


@pytest.fixture
def classifier(tiny_plan: Plan) -> FeatureClassifier:
    (made,) = (task for task in tiny_plan.preparations.values() if isinstance(task, FeatureClassifier))
    return made


def kinds(schedule: Schedule) -> list[str]:
    """Do all that there is to start; the kinds of the tasks in the order they were done."""
    found = []
    while (job := schedule.take()) is not None:
        for task in job.tasks:
            found.append(task.kind)
            schedule.ended(task.signature, Outcome("done"))
    return found


def test_a_classifier_starts_beside_the_trainings_and_evaluations_wait(tiny_plan: Plan, empty: Store) -> None:
    schedule = open_schedule(tiny_plan, empty)
    started = [schedule.take() for _ in range(4)]
    assert [job.tasks[0].kind for job in started[:3] if job is not None] == ["classifier", "training", "training"]
    assert started[3] is None
    training = next(iter(tiny_plan.trainings))
    schedule.ended(training, Outcome("done"))
    assert schedule.take() is None  # its images could not be measured
    classifier, references = tiny_plan.preparations
    schedule.ended(classifier, Outcome("done"))
    job = schedule.take()
    assert job is not None and job.tasks[0].signature == references and schedule.take() is None
    schedule.ended(references, Outcome("done"))
    job = schedule.take()
    assert job is not None and isinstance(job.tasks[0], Evaluation)
    assert job.tasks[0].training.signature == training


def test_without_its_classifier_no_evaluation_starts(
    tiny_plan: Plan, empty: Store, classifier: FeatureClassifier
) -> None:
    schedule = open_schedule(tiny_plan, empty)
    schedule.take()
    schedule.ended(classifier.signature, Outcome.failed(Failure("no labels", "input")))
    assert kinds(schedule) == ["training", "training"] and schedule.finished
    assert {task.kind for task in schedule.of("blocked")} == {"references", "evaluation"}


def test_a_plan_names_what_is_to_be_prepared_until_it_is_done(
    tiny_plan: Plan, empty: Store, store: Store, classifier: FeatureClassifier
) -> None:
    schedule, output = open_schedule(tiny_plan, empty), io.StringIO()
    Console(file=output, width=120).print(plan_tables(tiny_plan, schedule)[0])
    assert output.getvalue().split()[:6] == [
        "preparation", "images", "takes", "about", "feature-classifier/digits", "1,197",
    ]  # fmt: skip
    told = plan_json(tiny_plan, schedule, {None: forecast(tiny_plan, schedule.of("waiting"), empty)}, None)
    (made,) = (each for each in told["preparations"] if each["kind"] == "classifier")
    assert made["name"] == "feature-classifier/digits" and made["signature"] == classifier.signature
    assert made["estimate_s"] > 0 and not made["done"]
    assert classifier.signature in open_schedule(tiny_plan, store).present


def test_the_forecast_counts_preparations_and_learns_from_them(
    tiny_plan: Plan, empty: Store, store: Store, classifier: FeatureClassifier
) -> None:
    costs, training = DurationModel(empty, tiny_plan), next(iter(tiny_plan.trainings.values()))
    alone, both = (forecast(tiny_plan, tasks, empty, costs) for tasks in ([training], [training, classifier]))
    assert both.work_s == pytest.approx(alone.work_s + costs.seconds(classifier))
    costs.learn(classifier, 1000.0)
    assert costs.seconds(classifier) == pytest.approx(1000.0) and costs.measured(classifier)
    assert DurationModel(store, tiny_plan).measured(classifier)  # from the record of the one that is done


def test_the_last_cell_that_is_cancelled_takes_the_classifier_along(
    tiny_plan: Plan, empty: Store, classifier: FeatureClassifier
) -> None:
    schedule = open_schedule(tiny_plan, empty)
    schedule.take()
    *others, last = tiny_plan.evaluations
    for signature in others:
        assert schedule.cancel(signature) == []
    assert schedule.cancel(last) == [classifier.signature]


def test_only_what_is_left_to_evaluate_needs_a_classifier(tiny_plan: Plan, done: tuple[Plan, Store]) -> None:
    _, store = done
    shutil.rmtree(store.root / "classifiers")
    assert open_schedule(tiny_plan, store).of("waiting") == []


def look(plan: Plan, store: Store) -> Status:
    return StatusReader(plan, store).read()


def shown(status: Status) -> str:
    output = io.StringIO()
    Console(file=output, width=200).print(status_view(status))
    return output.getvalue()


def test_status_shows_a_classifier_and_who_waits_for_it(
    done: tuple[Plan, Store], classifier: FeatureClassifier
) -> None:
    plan, store = done
    for kind in ("classifiers", "evaluations", "drawings"):
        shutil.rmtree(store.root / kind)
    name = "feature-classifier/digits"
    with store.lock("classifiers", classifier.signature) as folder:
        TaskProgress(500.0, 1000.0, "images", 100.0).write(folder)
        status = look(plan, store)
        assert {(cell.status.state, cell.status.why) for cell in status.cells} == {("waiting", f"for {name}")}
        assert name in shown(status) and "50% of 1,000 images" in shown(status)
    told = {each["name"]: each for each in status_json(status)["preparations"]}
    assert told[name]["state"] == "running" and told[name]["left_s"] == 5.0
    Failure("no labels", "input").write(folder)
    assert {cell.status.why for cell in look(plan, store).cells} == {f"{name} failed: no labels"}


def test_status_counts_a_classifier_that_is_left(tiny_plan: Plan, empty: Store, store: Store) -> None:
    with_it, without = look(tiny_plan, empty).estimate, look(tiny_plan, store).estimate
    assert with_it is not None and without is not None and with_it.work_s > without.work_s


def test_its_log_and_its_cells_are_found_by_name(tiny_plan: Plan, store: Store, classifier: FeatureClassifier) -> None:
    record_plan(tiny_plan, store)
    (store.folder("classifiers", classifier.signature) / "log.txt").write_text("epoch 1\n")
    for text in ("feature-classifier/digits", "feature-cl", "tiny_digits:feature-classifier"):
        (log,) = logs_matching(text, store)
        assert (log.kind, log.signature, log.last(1)) == ("classifier", classifier.signature, ["epoch 1"])
    found = find_preparation("feature-classifier", store)
    assert found is not None
    assert [cell.name for cell in cells_sharing(found, store)] == [tiny_plan.cell_name(p) for p in tiny_plan.cells]
    assert find_preparation("attention/heun", store) is None and find_preparation("nothing", store) is None
    result = CliRunner().invoke(app, ["cancel", "feature-classifier", "--store", str(store.root)])
    assert result.exit_code == 0 and "no active run" in result.output


def test_two_data_sets_have_a_classifier_each(tiny_file: Path, tmp_path: Path) -> None:
    text = tiny_file.read_text().replace("model.attention: [false, true]", "data.name: [digits, fashion_mnist]")
    tiny_file.write_text(text)
    plan = plan_sweep(load_sweep(tiny_file))
    names = [plan.names[each] for each, task in plan.preparations.items() if isinstance(task, FeatureClassifier)]
    assert names == ["feature-classifier/digits", "feature-classifier/fashion_mnist"]
    first, second = plan.trainings.values()
    assert isinstance(first, Training) and first.data != second.data


def test_a_run_trains_the_classifier_first_and_once(tiny_plan: Plan, empty: Store, classifier) -> None:
    order = execute(open_schedule(tiny_plan, empty), empty)
    assert order == ["classifier", "references", *["training"] * 2, *["evaluation"] * 4]
    log = (empty.folder("classifiers", classifier.signature) / "log.txt").read_text()
    assert log.count("training the feature classifier") == 1


def test_a_plan_and_its_forecast_count_data_that_is_to_be_prepared(tiny_plan: Plan, empty: Store, store: Store) -> None:
    (data,) = unprepared(tiny_plan, empty)
    assert data.images == 1797 and unprepared(tiny_plan, store) == []
    tasks, costs = list(tiny_plan.trainings.values()), DurationModel(empty, tiny_plan)
    with_it, without = (forecast(tiny_plan, tasks, place, costs).wall_s for place in (empty, store))
    assert with_it - without == pytest.approx(preparing_s(tiny_plan, data))
    output = io.StringIO()
    Console(file=output, width=120).print(plan_tables(tiny_plan, open_schedule(tiny_plan, empty), [data])[0])
    assert "data/digits" in output.getvalue()
    told = plan_json(tiny_plan, open_schedule(tiny_plan, empty), {None: forecast(tiny_plan, [], empty)}, None, [data])
    assert [(each["name"], each["images"]) for each in told["data"]] == [("digits", 1797)]


def test_a_plan_and_its_forecast_count_files_that_are_to_be_fetched(
    tmp_path: Path, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDM_SWEEP_DATA", str(tmp_path / "data"))
    plan, place = plan_sweep(load_sweep(tiny_file, ("data.name=fashion_mnist",))), Store(tmp_path / "store").create()
    tasks, fetched = open_schedule(plan, place).of("waiting"), list(downloads(unprepared(plan, place), place))
    assert [file.file for file in fetched] == [file.name for file in CATALOGUE["fashion_mnist"].files]
    before = forecast(plan, tasks, place).wall_s
    for file in fetched:
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / file.file).touch()
    assert list(downloads(unprepared(plan, place), place)) == []
    assert before - forecast(plan, tasks, place).wall_s == pytest.approx(sum(file.seconds for file in fetched))
    output = io.StringIO()
    Console(file=output, width=120).print(plan_tables(plan, open_schedule(plan, place), [], fetched)[0])
    assert "download train-images-idx3-ubyte.gz (25.2 MiB)" in output.getvalue()
    told = plan_json(plan, open_schedule(plan, place), {None: forecast(plan, [], place)}, None, [], fetched)
    assert told["downloads"][0] == {"file": fetched[0].file, "bytes": 26_421_880, "estimate_s": 2.6}


def test_preparing_data_has_a_log_and_progress_and_status_shows_it(tiny_plan: Plan, empty: Store) -> None:
    (data,) = tiny_plan.sources.values()
    record_plan(tiny_plan, empty)
    seen: list[tuple[str, str]] = []

    def on_progress(step: str, _done: int, _total: int) -> None:
        status = look(tiny_plan, empty)
        seen.append((step, shown(status)))
        assert status.preparations[data.signature].state == "running"
        assert {(cell.status.state, cell.status.why) for cell in status.cells} == {("waiting", "for data/digits")}

    ensure_prepared(empty, data, on_progress=on_progress)
    views = dict(seen)
    assert "data/digits" in views["decoding"] and "decoding, 100% of 1,797 images" in views["decoding"]
    assert look(tiny_plan, empty).preparations[data.signature].state == "done"
    (log,) = logs_matching("data/digits", empty)
    assert log.kind == "data" and any("decoding" in line for line in log.last(9))
    found = find_preparation("data/digits", empty)
    assert found is not None and len(cells_sharing(found, empty)) == len(tiny_plan.cells)


def test_data_that_cannot_be_prepared_is_shown_as_failed_until_it_can(
    tiny_file: Path, empty: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDM_SWEEP_DATA", str(tmp_path / "files"))
    (tmp_path / "files").mkdir()
    for file in CATALOGUE["fashion_mnist"].files:
        (tmp_path / "files" / file.name).write_bytes(b"<html>")
    plan = plan_sweep(load_sweep(tiny_file, ("data.name=fashion_mnist",)))
    (data,) = plan.sources.values()
    with pytest.raises(UserError):
        ensure_prepared(empty, data)
    status = look(plan, empty)
    assert status.preparations[data.signature].state == "failed"
    assert all("data/fashion_mnist failed" in cell.status.why for cell in status.cells)
    assert "HTML" in shown(status)


def test_data_that_no_cell_wants_any_more_is_left(tiny_plan: Plan, empty: Store) -> None:
    empty.create()
    (data,) = tiny_plan.sources.values()
    for signature in tiny_plan.evaluations:
        empty.request_stop("run", signature)
    prepare_inputs(open_schedule(tiny_plan, empty), empty, RunListener(), "run")
    assert not is_prepared(empty, data)
    empty.request_stop("run")
    with pytest.raises(KeyboardInterrupt):
        prepare_inputs(open_schedule(tiny_plan, empty), empty, RunListener(), "run")
    empty.end_run("run")
    prepare_inputs(open_schedule(tiny_plan, empty), empty, RunListener(), "run")
    assert is_prepared(empty, data)
