"""The real thing, smaller: real digits, real Ray, a real MLflow database and server."""

import json
import os
import re
import shutil
import signal
import time
import urllib.request

import mlflow
import pandas as pd
import psutil
import pytest

from experiments.store.store import Store
from experiments.tracking.database import embedded_uri
from tests.commandline import invoke, start
from tests.conftest import Filled
from tests.waiting import free_port

pytestmark = pytest.mark.slow

TABLES = {f"{name}.{suffix}" for name in ("results", "tables") for suffix in ("csv", "parquet")}
REPORT = {"report.html", "report.md", "report.tex", "columns.csv", *TABLES}


@pytest.fixture
def filled(undisturbed: Filled) -> Filled:
    return undisturbed


def test_a_run_prints_the_plan_what_it_did_and_the_whole_table(filled: Filled) -> None:
    assert "4 cells from 2 trainings (0 in the store) and 4 evaluations (0 in the store)" in filled.output
    assert len(re.findall(r"done train (?:no-)?attention", filled.output)) == 2
    assert len(re.findall(r"done evaluate (?:no-)?attention.*FID test \d", filled.output)) == 4
    entry = r" +[\d.]+ ± [\d.]+(?: %)?(?: +[≈*])?"
    rows = re.findall(rf"^(?:yes|no) +(?:euler|heun)(?:{entry}){{4}} *$", filled.output, re.MULTILINE)
    assert len(rows) == 4
    words = " ".join(filled.output.split())  # a title may be broken
    assert "classifier features (version 2), 64-d; 1,500 images drawn; 300 real images of each split; digits" in words
    assert "—" not in words and "897 real train images" in words
    assert f"Report: {filled.store}/reports/tiny_digits/report.html" in filled.output
    assert f"edm-sweep ui --store {filled.store}" in filled.output


def test_no_library_chatters(filled: Filled) -> None:
    assert not re.search(r"ray|tune|alembic|warning|INFO", filled.output.replace("starting Ray", ""), re.IGNORECASE)


def test_other_packages_of_our_names_and_a_long_tmpdir_do_no_harm(filled: Filled) -> None:
    assert (filled.file.parent / "experiments" / "__init__.py").read_text().startswith("raise ImportError")
    assert len(list(filled.store.glob("evaluations/*/result.json"))) == 4
    left = [path.name for path in filled.file.parent.glob("temporary*/*")]
    assert [name for name in left if not name.startswith("torchinductor_")] == []  # torch's cache, which is to stay


def test_files_of_a_store_may_be_read_by_whoever_the_umask_allows(filled: Filled) -> None:
    umask = os.umask(0)
    os.umask(umask)
    passing = (".lease", "mlflow.db-")  # there and gone again, as another test has MLflow serve this store
    paths = [path for path in filled.store.rglob("*") if not any(part in path.name for part in passing)]
    files = [path for path in paths if path.is_file()]
    unlike = {path.name: oct(path.stat().st_mode) for path in files if path.stat().st_mode & 0o777 != 0o666 & ~umask}
    assert files and not unlike


def test_run_again_does_nothing_and_shows_the_table(filled: Filled) -> None:
    before = {path: path.stat().st_mtime_ns for path in filled.store.glob("[et]*/*/*")}
    done = invoke("run", filled.file, "--store", filled.store, "--json")
    assert done.returncode == 0 and "Nothing is left to do." in done.stderr
    made = json.loads(done.stdout)
    assert made["started"] == 0 and len(made["cells"]) == 4 and made["mlflow_problem"] is None
    assert {path: path.stat().st_mtime_ns for path in filled.store.glob("[et]*/*/*")} == before


def test_the_report_is_rebuilt_the_same_from_the_store_and_from_mlflow(filled: Filled) -> None:
    folder = filled.store / "reports" / "tiny_digits"
    before = (folder / "results.csv").read_bytes()
    for options in ((), ("--tracking-uri", embedded_uri(Store(filled.store)))):
        shutil.rmtree(folder)
        assert invoke("report", filled.file, "--store", filled.store, *options).returncode == 0
        assert (folder / "results.csv").read_bytes() == before
        assert {path.name for path in folder.iterdir()} == REPORT
    frame = pd.read_csv(folder / "results.csv")
    assert frame[["fid_train", "fid_val", "fid_test", "class_accuracy"]].notna().all().all()


def test_mlflow_has_every_run_finished(filled: Filled) -> None:
    client = mlflow.MlflowClient(tracking_uri=embedded_uri(Store(filled.store)))
    experiment = client.get_experiment_by_name("tiny_digits")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 7 and {run.info.status for run in runs} == {"FINISHED"}  # the report among them
    assert sum("fid_test" in run.data.metrics for run in runs) == 4
    (report,) = (run.info.run_id for run in runs if run.data.tags["edm.kind"] == "report")
    sent = {file.path for folder in ("report", "report/figures") for file in client.list_artifacts(report, folder)}
    assert {f"report/{name}" for name in (*REPORT, "figures/scores.pdf", "figures/loss.svg")} <= sent


@pytest.mark.parametrize("ends", ["Ctrl-C", "kill -9"])
def test_mlflows_ui_is_served_on_loopback_and_leaves_no_process(ends: str, filled: Filled) -> None:
    port = free_port()
    server = start("ui", "--store", filled.store, "--port", port)
    try:
        page = ""
        for _ in range(360):  # MLflow starts slowly where others want the cores
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).read().decode()
                break
            except OSError:
                time.sleep(0.5)
        assert "MLflow" in page
        client = mlflow.MlflowClient(tracking_uri=f"http://127.0.0.1:{port}")
        assert client.get_experiment_by_name("tiny_digits") is not None
        taken = invoke("ui", "--store", filled.store, "--port", port)
        assert taken.returncode == 2 and f"--port {port}: cannot be served" in taken.stderr
        family = psutil.Process(server.pid).children(recursive=True)
        server.send_signal(signal.SIGINT if ends == "Ctrl-C" else signal.SIGKILL)
        assert server.wait(timeout=30) == (0 if ends == "Ctrl-C" else -signal.SIGKILL)
        assert len(family) > 2 and not psutil.wait_procs(family, timeout=60)[1], "it left processes behind"
    finally:
        server.kill()
        server.communicate()
