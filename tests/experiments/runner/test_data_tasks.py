"""Data sets that may take long are prepared by tasks of their own, beside those that need them not."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from edm.config import DataConfig
from edm.data import prepare as preparation
from edm.data.decoded import JOURNAL, Decoded
from experiments.cli.views.live import live_view, plain_summary
from experiments.cli.views.plan import plan_tables
from experiments.cli.views.plan_json import plan_json
from experiments.errors import UserError
from experiments.inspection.status import StatusReader
from experiments.runner import data_costs
from experiments.runner.allocation import NOTHING, Allocator
from experiments.runner.data_costs import data_tasks, unprepared, whole_s
from experiments.runner.dispatch import Dispatcher
from experiments.runner.downloads import downloads
from experiments.runner.forecast import forecast
from experiments.runner.listener import RunListener
from experiments.runner.options import Options
from experiments.runner.prepare import prepare_data_set, prepare_inputs
from experiments.runner.progress import RunningTask
from experiments.runner.resume import open_schedule
from experiments.runner.timing import Timing
from experiments.store.failures import Failure
from experiments.store.layout import DECODED
from experiments.store.progress import TaskProgress
from experiments.store.results import DatasetRecord
from experiments.store.store import Store
from experiments.sweep.jobs import Job, Outcome
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import DataSource
from experiments.trials import datasets
from experiments.trials.datasets import ensure_prepared
from experiments.trials.perform import perform, perform_job
from tests.datafiles import image_tree
from tests.inprocess import CONTEXT, WATCHFUL
from tests.planning import load_sweep, plan_sweep, source_of


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store on a machine without the files of any data set."""
    monkeypatch.setenv("EDM_SWEEP_DATA", str(tmp_path / "files"))
    return Store(tmp_path / "store").create()


@pytest.fixture
def plan(tiny_file: Path) -> Plan:
    """One training on digits, which are ready at once, and one on CIFAR-10, whose files are to be fetched."""
    text = tiny_file.read_text().replace("model.attention: [false, true]", "data.name: [digits, cifar10]")
    tiny_file.write_text(text)
    return plan_sweep(load_sweep(tiny_file))


@pytest.fixture
def cifar(plan: Plan) -> DataSource:
    return next(source for source in plan.sources.values() if source.config.name == "cifar10")


@pytest.fixture
def digits_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_costs, "TASK_S", 0.0)


def started(jobs: Iterator[Job]) -> list[tuple[str, str]]:
    """Return the kind and the data set of each job."""
    found = []
    for job in jobs:
        (task,) = job.tasks
        source = task if isinstance(task, DataSource) else getattr(task, "data")  # noqa: B009
        found.append((task.kind, str(source.config.name)))
    return found


def test_a_data_set_is_prepared_beside_trainings_that_do_not_need_it(plan: Plan, place: Store, cifar) -> None:
    schedule = open_schedule(plan, place)
    assert list(data_tasks(plan, place)) == [cifar.signature] and schedule.name(cifar) == "data/cifar10"
    first = started(iter(schedule.take, None))
    assert first == [("data", "cifar10"), ("classifier", "digits"), ("training", "digits")]
    schedule.ended(cifar.signature, Outcome("done"))
    assert started(iter(schedule.take, None)) == [("classifier", "cifar10"), ("training", "cifar10")]


def test_without_a_data_set_only_what_needs_it_is_blocked(plan: Plan, place: Store, cifar: DataSource) -> None:
    schedule = open_schedule(plan, place)
    schedule.take()
    schedule.ended(cifar.signature, Outcome.failed(Failure("an HTML page", "input")))
    blocked = {task.training.data if hasattr(task, "training") else task.data for task in schedule.of("blocked")}
    assert blocked == {cifar} and {task.kind for task in schedule.of("waiting")} == {
        "classifier", "references", "training", "evaluation",
    }  # fmt: skip


def test_a_data_set_takes_no_core_and_no_gpu_from_trainings(plan: Plan, place: Store, cifar: DataSource) -> None:
    allocator = Allocator(plan, plan.sweep.resources, {"CPU": 1, "GPU": 1}, place)
    training = next(iter(plan.trainings.values()))
    assert allocator.of(cifar) == NOTHING and allocator.has_room(allocator.of(training) + allocator.of(cifar))


def test_plan_and_forecast_count_a_data_set_once(plan: Plan, place: Store, cifar: DataSource) -> None:
    schedule, output = open_schedule(plan, place), io.StringIO()
    left, data = schedule.of("waiting"), unprepared(plan, place)
    assert schedule.costs.seconds(cifar) == whole_s(plan, cifar, place) > data_costs.TASK_S
    whole = forecast(plan, left, place)
    without = forecast(plan, [task for task in left if task is not cifar], place)
    assert whole.work_s - without.work_s == pytest.approx(whole_s(plan, cifar, place))
    assert whole.wall_s <= without.wall_s + 1e-6  # where it comes before all others
    Console(file=output, width=120).print(plan_tables(plan, schedule, data, list(downloads(data, place)))[0])
    assert output.getvalue().count("data/cifar10") == 1
    told = plan_json(plan, schedule, {None: whole}, None, data)
    assert [each["name"] for each in told["data"]] == ["digits", "cifar10"] and told["left"] == len(left)


def test_a_run_prepares_a_data_set_by_a_task_once(tiny_plan: Plan, place: Store, digits_take_long: None) -> None:
    (data,) = tiny_plan.sources.values()
    schedule = open_schedule(tiny_plan, place)
    prepare_inputs(schedule, place, RunListener())  # leaves it to its task
    assert unprepared(tiny_plan, place) == [data]
    job = schedule.take()
    assert job is not None and job.tasks == (data,) and schedule.take() is None
    for signature, outcome in perform_job(place, job, CONTEXT):
        schedule.ended(signature, outcome)
    assert started(iter(schedule.take, None)) == [("classifier", "digits"), *[("training", "digits")] * 2]
    folder = place.folder("data", data.signature)
    log = (folder / "log.txt").read_text()
    assert log.count("decoding") == 1 and not (folder / DECODED).exists() and not (folder / "progress.json").exists()
    record = place.result(DatasetRecord, data.signature)
    assert record is not None and record.preparing_s > 0 and record.provenance.began is not None


def test_a_data_set_that_is_stopped_goes_on_where_it_was(tiny_plan: Plan, place: Store, monkeypatch) -> None:
    (data,) = tiny_plan.sources.values()
    monkeypatch.setattr(preparation, "MAX_CHUNK", 100)
    added: list[int] = []
    original = Decoded.add

    def add(self: Decoded, chunk) -> None:
        original(self, chunk)
        added.append(len(chunk.content))
        if len(added) == 3:
            place.request_stop(WATCHFUL.run_id, data.signature)

    monkeypatch.setattr(Decoded, "add", add)
    assert perform(place, data, WATCHFUL).state == "interrupted"
    assert StatusReader(tiny_plan, place).read().preparations[data.signature].state == "interrupted"
    kept = (place.folder("data", data.signature) / DECODED / JOURNAL).read_text().splitlines()
    place.end_run(WATCHFUL.run_id)
    ensure_prepared(place, data)  # by whatever process
    assert len(kept) == 1 + 3 and len(added) == 18
    assert sum(added) == 1797 * 64


def test_a_run_waits_for_the_data_set_of_another_run_and_says_so(plan: Plan, place: Store, cifar: DataSource) -> None:
    changes: list[tuple[str, str]] = []
    schedule = open_schedule(plan, place)
    dispatcher = Dispatcher(
        schedule, place, lambda task: changes.append((task.kind, schedule.states[task.signature])),
        options=Options(timing=Timing(look_s=0.0)),
    )  # fmt: skip
    with place.lock("data", cifar.signature) as folder:
        TaskProgress(20.0, 40.0, "MiB", 10.0, phase="downloading cifar.tar.gz").write(folder)
        job = dispatcher.next("1")
        assert job is not None and job.tasks[0].kind == "classifier" and changes[0] == ("data", "elsewhere")
        status = StatusReader(plan, place).read()
        waiting = [cell.status.why for cell in status.cells if cell.status.state == "waiting"]
        assert waiting == ["for data/cifar10"] * 2 and status.preparations[cifar.signature].state == "running"
    (job,) = (job for key in "234" if (job := dispatcher.next(key)) and isinstance(job.tasks[0], DataSource))
    assert job.tasks == (cifar,), "the other run has left it undone"


def test_the_last_cell_that_is_cancelled_takes_its_data_set_along(plan: Plan, place: Store, cifar: DataSource) -> None:
    schedule = open_schedule(plan, place)
    schedule.take()
    *others, last = (name for name, task in plan.evaluations.items() if task.training.data == cifar)
    assert [schedule.cancel(signature) for signature in others] == [[]] * len(others)
    assert schedule.cancel(last) == [cifar.signature]


def test_no_run_starts_whose_files_of_data_cannot_be_had(plan: Plan, place: Store, monkeypatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(datasets, "require_reachable", asked.append)
    datasets_before = open_schedule(plan, place)
    prepare_inputs(datasets_before, place, RunListener())
    assert len(asked) == 1 and "cifar-10" in asked[0]

    def refuse(url: str) -> None:
        raise OSError("404 Not Found")

    monkeypatch.setattr(datasets, "require_reachable", refuse)
    with pytest.raises(UserError, match=r"cifar10: .* could not be downloaded \(404 Not Found\).*EDM_SWEEP_DATA"):
        prepare_inputs(datasets_before, place, RunListener())


def test_wrong_files_fail_the_task_with_a_sentence(plan: Plan, place: Store, cifar: DataSource, tmp_path) -> None:
    (tmp_path / "files").mkdir()
    for file in downloads([cifar], place):
        (tmp_path / "files" / file.file).write_bytes(b"<html>")
    outcome = perform(place, cifar, CONTEXT)
    assert outcome.failure is not None and outcome.failure.kind == "input" and "HTML" in outcome.message
    assert str(place.root) not in outcome.message or DECODED not in outcome.message
    assert not (place.folder("data", cifar.signature) / DECODED).exists()


def test_a_live_table_shows_the_step_of_a_data_set(cifar: DataSource) -> None:
    progress = TaskProgress(30.0, 60.0, "images", 10.0, phase="decoding")
    running, output = RunningTask(cifar, "data/cifar10", "decoding", progress), io.StringIO()
    assert plain_summary([running], "").endswith(
        "; prepare data/cifar10: decoding, 30/60 images, 10 images/s, 3 s left"
    )
    Console(file=output, width=120).print(live_view([running], ""))
    assert "decoding, 30/60 images" in output.getvalue()


def test_old_records_of_data_sets_are_written_as_they_were() -> None:
    assert "preparing_s" not in DatasetRecord(name="digits", sigma_data=0.5).to_json()
    assert DatasetRecord(name="digits", sigma_data=0.5, preparing_s=9.0).to_json()["preparing_s"] == 9.0


def test_all_that_reads_a_data_set_depends_on_it(tiny_plan: Plan, place: Store, digits_take_long) -> None:
    (data,) = tiny_plan.sources.values()
    graph = open_schedule(tiny_plan, place).graph
    others = {name for name, task in graph.tasks.items() if task is not data}
    assert {name for name in others if data.signature in graph.dependencies(name)} == others


def test_a_run_says_what_decoding_showed(place: Store, tmp_path: Path) -> None:
    folder = image_tree(tmp_path / "images", *(f"{i:02d}.png" for i in range(20)))
    source = source_of(DataConfig("folder", resolution=32, path=str(folder)))
    said: list[str] = []

    class Listening(RunListener):
        def notice(self, text: str) -> None:
            said.append(text)

    for _ in range(2):  # the second time there is nothing to do, and nothing is said
        prepare_data_set(place, source, Listening())
    assert said == [
        f"Warning: {folder}: 20 of 20 images (00.png first) are smaller than 32x32 and were enlarged, which blurs"
    ]
