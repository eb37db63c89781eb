"""MLflow as a server: a real one, killed and started again, while a sweep goes on."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking.background import MirrorThread
from experiments.tracking.database import embedded_uri
from experiments.tracking.frames import results_frame, scores_in_store
from experiments.tracking.mirror import Mirror, sync
from experiments.tracking.records import record_plan
from experiments.tracking.remote import ServerRecord
from experiments.tracking.sync_state import SyncCounts
from experiments.trials.perform import perform
from tests.commandline import invoke
from tests.conftest import TINY
from tests.experiments.tracking.test_mirror import all_runs, record, untimed
from tests.inprocess import WATCHFUL, run_all, without_ray
from tests.planning import load_sweep, plan_sweep
from tests.reports.frames import data_of
from tests.table import reproducible
from tests.waiting import free_port, until

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


class Server:
    """A tracking server on one port of loopback, whose database and files stay when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self.folder / 'm.db'}"]
        command += ["--artifacts-destination", str(self.folder / "files"), "--port", str(self.port), "--workers", "1"]
        with (self.folder / "log.txt").open("a") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | QUIET, stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )
        for _ in range(240):
            assert self.process.poll() is None, (self.folder / "log.txt").read_text()[-2000:]
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return
            time.sleep(0.25)
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        """As a power cut would: it and all its children at once."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def server(machine: Server) -> Server:
    """One that runs, whatever the test before did to it."""
    if machine.process is None or machine.process.poll() is not None:
        machine.start()
    return machine


def named(folder: Path, name: str) -> Plan:
    """The tiny sweep under a name of its own, as all tests share a server: the same work, another experiment."""
    file = folder / f"{name}.yaml"
    file.write_text(TINY.replace("tiny_digits", name))
    return plan_sweep(load_sweep(file))


@pytest.fixture
def plan(request: pytest.FixtureRequest, tmp_path: Path) -> Plan:
    return named(tmp_path, request.function.__name__)


def test_a_thread_waits_for_a_server_that_comes_later(machine: Server, plan: Plan, filled: Store) -> None:
    machine.kill()  # nobody has started it yet, unless tests run in another order
    mirror = MirrorThread(filled, plan, machine.uri)
    mirror.start()
    try:
        while mirror.problem is None:
            time.sleep(0.05)
        assert "127.0.0.1" in mirror.problem
    finally:
        machine.start()
        assert mirror.finish(timeout_s=120) is None
    assert {run.info.status for run in all_runs(machine.uri, plan)} == {"FINISHED"}


def test_a_server_killed_during_a_training_slows_nothing_and_catches_up(
    server: Server, plan: Plan, store: Store
) -> None:
    mirror = Mirror(store, plan, server.uri)
    seen: list[str] = []

    class Disturbing(Store):
        def stop_requested(self, run_id: str, signature: str | None = None) -> bool:
            if len(seen) == 3:
                server.kill()
            try:
                mirror.update()
                seen.extend(run.info.status for run in all_runs(server.uri, plan))
            except MlflowException:
                seen.append("no answer")
            return False

    training = next(iter(plan.trainings.values()))
    assert perform(Disturbing(store.root), training, WATCHFUL).state == "done"
    assert seen[:3] == ["RUNNING"] * 3 and set(seen[3:]) == {"no answer"}
    run_all(plan, store)
    with pytest.raises(MlflowException):
        mirror.update(ended=True)
    server.start()
    mirror.update(ended=True)
    made = record(server.uri, plan)
    embedded = embedded_uri(store)
    Mirror(store, plan, embedded).update(ended=True)
    assert untimed(made) == untimed(record(embedded, plan))
    assert {of["status"] for of in made.values()} == {"FINISHED"} and len(made) == 6
    for name in plan.trainings:
        steps = [step for step, _ in made[name]["metrics"]["loss/train"]]
        assert len(steps) == len(set(steps)) == 20
    offline = results_frame(plan, scores_in_store(plan, store)).to_csv()
    assert results_frame(plan, ServerRecord(plan, server.uri).scores(store)).to_csv() == offline


def test_sync_brings_another_server_up_to_date_files_and_all(server: Server, plan: Plan, filled: Store) -> None:
    own = embedded_uri(filled)
    assert sync(plan, filled, own) == sync(plan, filled, server.uri) == SyncCounts(6, 6, 6)
    assert record(server.uri, plan) == record(own, plan)
    assert sync(plan, filled, server.uri) == SyncCounts(6, 6, 0)


def test_a_machine_with_only_the_server_makes_the_whole_report(
    server: Server, plan: Plan, filled: Store, tmp_path: Path
) -> None:
    name, there = plan.sweep.name, tmp_path / "there"
    record_plan(plan, filled)
    assert invoke("report", name, "--store", filled.root).returncode == 0
    sync(plan, filled, server.uri)
    (tmp_path / f"{name}.yaml").unlink()
    done = invoke("report", name, "--store", tmp_path / "none", "--tracking-uri", server.uri, "--out", there)
    assert done.returncode == 0, done.stderr
    here = filled.report_folder(name)
    assert (there / "results.csv").read_text() == (here / "results.csv").read_text()
    page = (there / "report.html").read_text()
    assert page.count('alt="samples of') == len(plan.cells) and 'id="figure-loss"' in page
    assert not (tmp_path / "none").exists()


def test_the_page_of_a_run_links_cells_to_the_server(server: Server, plan: Plan, filled: Store, tmp_path: Path) -> None:
    command = ("run", tmp_path / f"{plan.sweep.name}.yaml", "--store", filled.root, "--tracking-uri", server.uri)
    assert invoke(*command).returncode == 0
    page = (filled.report_folder(plan.sweep.name) / "report.html").read_text()
    links = {cell["name"]: cell["link"] for cell in data_of(page)["cells"]}
    made = {run.data.tags["edm.signature"]: run.info for run in all_runs(server.uri, plan)}
    for planned in plan.cells:
        info = made[planned.evaluation.signature]
        place = f"{server.uri}/#/experiments/{info.experiment_id}/runs/{info.run_id}?workflowType=machine_learning"
        assert links[plan.cell_name(planned)] == place
    client = MlflowClient(server.uri)
    copy = client.download_artifacts(made["report"].run_id, "report/report.html", str(tmp_path))
    assert Path(copy).read_text() == page


@pytest.mark.slow
def test_a_run_goes_on_without_its_server_and_the_next_catches_up(
    server: Server, filled: Store, prepared: Path, tmp_path: Path
) -> None:
    file, store = tmp_path / "tiny_digits.yaml", tmp_path / "fresh"
    file.write_text(TINY)
    shutil.copytree(prepared, store)
    plan = plan_sweep(load_sweep(file))

    def kill_once_it_has_a_run() -> None:
        assert server.process is not None
        if server.process.poll() is not None:
            return
        until(lambda: all_runs(server.uri, plan))
        server.kill()

    command = ("run", file, "--store", store, "--tracking-uri", server.uri)
    with without_ray(kill_once_it_has_a_run):
        done = invoke(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MLflow is not up to date" in done.stdout and "nothing is lost" in done.stdout
    assert invoke("report", file, "--store", filled.root).returncode == 0
    table = Path("reports") / "tiny_digits" / "results.csv"
    assert reproducible(store / table) == reproducible(filled.root / table)
    server.start()
    again = invoke(*command)
    assert again.returncode == 0 and "MLflow is not up to date" not in again.stdout
    made = record(server.uri, plan)
    assert len(made) == 7 and {of["status"] for of in made.values()} == {"FINISHED"}  # the report among them
