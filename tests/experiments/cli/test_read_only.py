"""A store that one may only read: another user's, or one on a disk that is mounted read-only."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.store.active_runs import announced
from experiments.store.leases import acquire
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking.database import embedded_uri
from experiments.tracking.mirror import sync
from experiments.tracking.records import record_plan
from tests.commandline import EDM_SWEEP, environment
from tests.waiting import free_port

pytestmark = pytest.mark.slow

NOBODY = 65534
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2

Run = Callable[..., subprocess.CompletedProcess[str]]


def obey_modes() -> None:
    """Take from root, before a program is started, what lets it write into other users' files."""
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def contents(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def reading(done: tuple[Plan, Store], tmp_path: Path) -> tuple[Store, Run]:
    """A finished sweep in a store that this process may only read, and what runs a command on it."""
    plan, store = done
    record_plan(plan, store)
    for path in (store.root, *store.root.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        path.chmod(0o555 if path.is_dir() else 0o444)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(EDM_SWEEP), *map(str, arguments), "--store", str(store.root)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment(),
            preexec_fn=obey_modes if os.geteuid() == 0 else None,
            timeout=280,
        )

    return store, run


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("status",), "tiny_digits"),
        (("status", "tiny_digits"), "4 done"),
        (("why", "no-attention/heun"), "done"),
        (("diff", "no-attention/heun", "no-attention/euler"), "sampler"),
        (("logs", "no-attention/heun"), "==>"),
        (("export", "tiny_digits", "bundle.zip"), "Wrote bundle.zip"),
        (("gc",), ""),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_only_reads_works_and_changes_nothing(
    reading: tuple[Store, Run], arguments: tuple[str, ...], shown: str
) -> None:
    store, run = reading
    before = contents(store.root)
    done = run(*arguments)
    assert done.returncode == 0 and shown in done.stdout, done.stdout + done.stderr
    assert contents(store.root) == before


def test_a_report_goes_to_the_current_folder_or_where_it_is_told(reading: tuple[Store, Run], tmp_path: Path) -> None:
    _, run = reading
    done = run("report", "tiny_digits")
    assert done.returncode == 0 and "Report: tiny_digits-report/report.html" in done.stdout, done.stdout + done.stderr
    told = run("report", "tiny_digits", "--out", "out")
    assert told.returncode == 0, told.stderr
    tables = [tmp_path / name / "results.csv" for name in ("tiny_digits-report", "out")]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_mlflows_ui_is_served(done: tuple[Plan, Store], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Its log, which has its place in the store, goes to the folder for temporary files."""
    plan, store = done
    record_plan(plan, store)
    sync(plan, store, embedded_uri(store))
    request.getfixturevalue("reading")
    assert (store.root / "mlflow.db").exists()
    before = contents(store.root)
    command = [str(EDM_SWEEP), "ui", "--store", str(store.root), "--port", str(free_port())]
    server = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment() | {"TMPDIR": str(tmp_path)},
        preexec_fn=obey_modes if os.geteuid() == 0 else None,
    )
    printed: list[str] = []
    assert server.stdout is not None
    for line in server.stdout:  # to its end, if the server did not start
        printed.append(line)
        if "Open an address" in line:
            break
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=30) == 0 and "Scores of tiny_digits" in "".join(printed), printed
    assert f"its log is {tmp_path}/edm-sweep-" in printed[0] and contents(store.root) == before


def test_a_run_there_is_one_sentence(reading: tuple[Store, Run]) -> None:
    done = reading[1]("run", "tiny_digits")
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "the store cannot be written" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("gc", "--forget", "tiny_digits", "--yes"), ("cancel", "tiny_digits"), ("accept", "tiny_digits")]
)
def test_what_would_change_it_is_refused_in_one_sentence(
    done: tuple[Plan, Store], request: pytest.FixtureRequest, arguments: tuple[str, ...]
) -> None:
    plan, store = done
    signature = next(iter(plan.evaluations))
    result = store.result(EvaluationResult, signature)
    assert result is not None
    store.finish(signature, replace(result, code=dict.fromkeys(result.code, "of other code")), result.files)
    with announced(store, "s", "tiny_digits") if arguments[0] == "cancel" else nullcontext():
        _, run = request.getfixturevalue("reading")
        refused = run(*arguments)
    assert refused.returncode == 2 and len(refused.stderr.strip().splitlines()) == 1, refused.stderr
    assert "ermission denied" in refused.stderr and "Traceback" not in refused.stderr


def test_a_damaged_result_is_left_where_it_is(done: tuple[Plan, Store], request: pytest.FixtureRequest) -> None:
    plan, store = done
    path = store.folder("evaluations", next(iter(plan.evaluations))) / "result.json"
    path.write_text(path.read_text().replace("0", "1"))
    _, run = request.getfixturevalue("reading")
    reported = run("report", "tiny_digits")
    assert reported.returncode == 0 and "1 of them missing" in reported.stdout, reported.stdout + reported.stderr
    assert path.exists()


def test_a_task_that_another_run_holds_is_shown_as_running(
    done: tuple[Plan, Store], request: pytest.FixtureRequest
) -> None:
    plan, store = done
    folder = store.folder("evaluations", next(iter(plan.evaluations)))
    (folder / "result.json").unlink()
    lease = acquire(folder)
    _, run = request.getfixturevalue("reading")
    shown = run("status", "tiny_digits")
    lease.release()
    assert shown.returncode == 0 and "running" in shown.stdout, shown.stdout + shown.stderr
