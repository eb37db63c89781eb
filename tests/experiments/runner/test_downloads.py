"""Weights are downloaded by a task of their own, beside the trainings, once for all that wait for them."""

import dataclasses
import hashlib
import io
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from edm.metrics.weights import PUBLISHED, find_weights
from experiments.cli.views.live import live_view, plain_summary
from experiments.cli.views.plan import plan_tables
from experiments.cli.views.plan_json import plan_json
from experiments.errors import UserError
from experiments.inspection.logs import logs_matching
from experiments.inspection.lookup import cells_sharing, find_preparation
from experiments.inspection.status import StatusReader
from experiments.runner.allocation import NOTHING, Allocator
from experiments.runner.forecast import forecast
from experiments.runner.listener import RunListener
from experiments.runner.prepare import prepare_inputs
from experiments.runner.progress import RunningTask
from experiments.runner.resume import open_schedule
from experiments.runner.schedule import Schedule
from experiments.store.progress import TaskProgress
from experiments.store.results import WeightsRecord
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import ReferenceStatistics, WeightsDownload
from experiments.tracking.records import record_plan
from experiments.trials.perform import perform
from tests.inprocess import CONTEXT, WATCHFUL
from tests.planning import load_sweep, plan_sweep

CONTENT = bytes(range(256)) * 4096  # 1 MiB
NAME = "weights/inception"


class Server(ThreadingHTTPServer):
    """Serves CONTENT; holds the second half back until `ready` is set."""

    daemon_threads, block_on_close = True, False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.ready, self.refuses = 0, threading.Event(), False
        self.ready.set()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.server.refuses:
            self.send_error(404)
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        half = max(start, len(CONTENT) // 2)
        self.wfile.write(CONTENT[start:half])
        self.wfile.flush()
        self.server.ready.wait(20)
        self.wfile.write(CONTENT[half:])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """Publishes the weights of Inception, of which this machine has none."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("EDM_SWEEP_WEIGHTS", str(tmp_path / "weights"))
    with Server() as server:
        digest, url = hashlib.sha256(CONTENT).hexdigest(), f"http://127.0.0.1:{server.server_port}/file"
        ours = dataclasses.replace(PUBLISHED["inception"], url=url, bytes=len(CONTENT), sha256=digest)
        monkeypatch.setitem(PUBLISHED, "inception", ours)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.ready.set()
        server.shutdown()


@pytest.fixture
def plan(server: Server, tiny_file: Path) -> Plan:
    del server
    return plan_sweep(load_sweep(tiny_file, ("evaluation.features=inception", "evaluation.metrics=[kid]")))


@pytest.fixture
def task(plan: Plan) -> WeightsDownload:
    (made,) = (task for task in plan.preparations.values() if isinstance(task, WeightsDownload))
    return made


@pytest.fixture
def place(tmp_path: Path) -> Store:
    return Store(tmp_path / "store").create()


def test_weights_are_downloaded_beside_trainings_and_others_wait(plan: Plan, place: Store, task) -> None:
    schedule = open_schedule(plan, place)
    job = schedule.take()
    assert job is not None and job.tasks == (task,) and schedule.name(task) == NAME
    assert [next_job.tasks[0].kind for next_job in iter(schedule.take, None)] == ["training", "training"]
    (references,) = (one for one in plan.preparations.values() if isinstance(one, ReferenceStatistics))
    assert schedule.graph.dependencies(references.signature) == (task.signature,)


def test_a_download_takes_no_core_and_no_gpu_from_trainings(plan: Plan, place: Store, task: WeightsDownload) -> None:
    allocator = Allocator(plan, plan.sweep.resources, {"CPU": 1, "GPU": 1}, place)
    training = next(iter(plan.trainings.values()))
    assert allocator.of(task) == NOTHING and allocator.has_room(allocator.of(training) + allocator.of(task))


def test_a_plan_lists_a_download_until_its_file_is_there(plan: Plan, place: Store, task: WeightsDownload) -> None:
    schedule, output = open_schedule(plan, place), io.StringIO()
    Console(file=output, width=120).print(plan_tables(plan, schedule)[0])
    assert f"download {NAME} (1.0 MiB)" in output.getvalue()
    told = plan_json(plan, schedule, {None: forecast(plan, schedule.of("waiting"), place)}, None)
    assert [one["done"] for one in told["preparations"] if one["kind"] == "download"] == [False]
    find_weights(task.file, place.root.parent / "weights")
    assert task.signature in open_schedule(plan, place).present


def test_a_long_download_lasts_as_long_as_it_takes_but_is_no_work(plan: Plan, place: Store, monkeypatch) -> None:
    ours = dataclasses.replace(PUBLISHED["inception"], bytes=10**12)
    before = forecast(plan, open_schedule(plan, place).of("waiting"), place)
    monkeypatch.setitem(PUBLISHED, "inception", ours)
    after = forecast(plan, open_schedule(plan, place).of("waiting"), place)
    assert after.wall_s > 1e5 > before.wall_s and after.work_s == pytest.approx(before.work_s)


def test_progress_log_result_and_status_of_a_download(plan: Plan, place: Store, task, server: Server) -> None:
    server.ready.clear()
    record_plan(plan, place)
    worker = threading.Thread(target=perform, args=(place, task, WATCHFUL))
    worker.start()
    folder = place.folder("weights", task.signature)
    progress = wait_for(lambda: TaskProgress.read(folder), lambda seen: seen is not None and seen.done == 0.5)
    assert (progress.total, progress.unit) == (1.0, "MiB")
    assert StatusReader(plan, place).read().preparations[task.signature].state == "running"
    server.ready.set()
    worker.join()
    record = place.result(WeightsRecord, task.signature)
    assert record is not None and Path(record.path).read_bytes() == CONTENT and record.bytes == len(CONTENT)
    assert StatusReader(plan, place).read().preparations[task.signature].state == "done"
    (log,) = logs_matching(NAME, place)
    assert log.kind == "download" and task.file.url in "".join(log.last(9)) and record.path in "".join(log.last(9))
    found = find_preparation(NAME, place)
    assert found is not None and len(cells_sharing(found, place)) == len(plan.cells)


def wait_for(read, good, seconds: float = 20.0):
    ends = time.monotonic() + seconds
    while not good(found := read()):
        assert time.monotonic() < ends, found
        time.sleep(0.01)
    return found


def test_a_download_that_is_stopped_goes_on_where_it_was(plan: Plan, place: Store, task, server: Server) -> None:
    place.create()
    server.ready.clear()
    outcome = []
    worker = threading.Thread(target=lambda: outcome.append(perform(place, task, WATCHFUL)))
    worker.start()
    folder = place.folder("weights", task.signature)
    wait_for(lambda: TaskProgress.read(folder), lambda seen: seen is not None and seen.done == 0.5)
    place.request_stop(WATCHFUL.run_id, task.signature)
    server.ready.set()
    worker.join()
    assert outcome[0].state == "interrupted" and not open_schedule(plan, place).present
    place.end_run(WATCHFUL.run_id)
    assert perform(place, task, CONTEXT).state == "done" and server.asked == 2
    assert task.signature in open_schedule(plan, place).present


def test_the_last_cell_that_is_cancelled_takes_the_download_along(plan: Plan, place: Store, task) -> None:
    schedule = open_schedule(plan, place)
    schedule.take()
    *others, last = plan.evaluations
    assert [schedule.cancel(signature) for signature in others] == [[]] * len(others)
    assert schedule.cancel(last) == [task.signature]


def test_no_run_starts_whose_weights_cannot_be_had(plan: Plan, place: Store, server: Server) -> None:
    schedule: Schedule = open_schedule(plan, place)
    prepare_inputs(schedule, place, RunListener())
    assert server.asked == 1 and not (place.root.parent / "weights").exists()
    server.refuses = True
    with pytest.raises(UserError, match=r"could not be fetched .*404.*EDM_SWEEP_WEIGHTS"):
        prepare_inputs(schedule, place, RunListener())


def test_a_download_that_fails_says_what_to_do(plan: Plan, place: Store, task, server: Server) -> None:
    place.create()
    server.refuses = True
    outcome = perform(place, task, CONTEXT)
    assert outcome.failure is not None and outcome.failure.kind == "input"
    assert "could not be fetched" in outcome.message and task.file.url in outcome.message


def test_the_speed_of_a_download_is_said_in_its_unit(task: WeightsDownload) -> None:
    running = RunningTask(task, NAME, "", TaskProgress(30.0, 91.2, "MiB", 10.24))
    assert plain_summary([running], "").endswith(f"; download {NAME}: 30/91.2 MiB, 10.2 MiB/s, 6 s left")
    output = io.StringIO()
    Console(file=output, width=120).print(live_view([running], ""))
    assert "10.2 MiB/s" in output.getvalue()
