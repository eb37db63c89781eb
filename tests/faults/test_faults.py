"""Whatever happens to a run, in any of its processes: the same command again completes the same table, byte for byte.

`pytest -m faults` runs all cases of cases.py; the slow tests include those in QUICK. docs/faults.md has how all ended.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest

from experiments.store.store import Store
from experiments.tracking.database import embedded_uri
from tests.commandline import invoke
from tests.conftest import TINY
from tests.experiments.tracking.test_server import Server
from tests.faults.cases import CASES, PHASES, QUICK, STARTING, TABLES, WRITES, Beginning, Case, killed
from tests.faults.harness import Scene, mounted, require_whole_record
from tests.faults.machines import MACHINES, OTHER
from tests.finished import fill
from tests.table import reproducible

OUTCOMES = "EDM_FAULTS_OUTCOMES"  # a file that gets a line for every case that was run
SWEEP = TINY.replace("label_dropout: 0.1", "label_dropout: 0.1, checkpoint_kimg: 0.16, validate_kimg: 0.16")
DISK = "size=96m"


@dataclass(frozen=True)
class Calm:
    """What a run to which nothing happens leaves, and stores to begin with that were taken from it."""

    results: str
    beginnings: dict[Beginning, Path]


@pytest.fixture(scope="module")
def calm(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    folder = tmp_path_factory.mktemp("calm")
    plan, store = fill(folder, prepared, SWEEP)  # in this process, to the same numbers
    done = invoke("report", folder / f"{plan.sweep.name}.yaml", "--store", store.root)
    assert done.returncode == 0, done.stdout + done.stderr
    results = reproducible(store.report_folder(plan.sweep.name) / "results.csv")
    shutil.rmtree(store.root / "reports")  # of another name than the cases'
    empty, ready = folder / "empty", folder / "ready"
    empty.mkdir()
    shutil.copytree(prepared, ready)
    for beginning in (ready, store.root):
        empty_record(beginning)
    return Calm(results, {"empty": empty, "prepared": ready, "complete": store.root})


@pytest.fixture(scope="module")
def halfway(calm: Calm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose trainings were killed when they had saved their state, but for the last time."""
    folder = tmp_path_factory.mktemp("halfway")
    shutil.copytree(calm.beginnings["prepared"], folder / "store")
    scene = a_scene(folder, folder / "store", "halfway")
    try:
        killed("driver", "writing a checkpoint", nth=5)(scene)
    finally:
        scene.sweep_up()
    shutil.rmtree(scene.store / "mlartifacts", ignore_errors=True)
    (scene.store / "mlflow.db").unlink()
    empty_record(scene.store)
    return scene.store


def empty_record(store: Path) -> None:
    """MLflow's database without anything in it: to make its tables takes longer than the whole sweep."""
    mlflow.MlflowClient(tracking_uri=embedded_uri(Store(store))).search_experiments()


def a_scene(folder: Path, store: Path, name: str) -> Scene:
    """The tiny sweep under a name of its own, as cases share a server: the same work, another experiment."""
    file = folder / f"{name}.yaml"
    file.write_text(SWEEP.replace("tiny_digits", name))
    return Scene(folder, file, store)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def scene(case: Case, calm: Calm, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A store in the state that the case begins with, on a small disk where it is to be filled."""
    with ExitStack() as stack:
        disk = stack.enter_context(mounted(tmp_path / "disk", DISK if case.needs == "disk" else "ro"))
        if disk is None and case.needs in ("disk", "home"):
            pytest.skip("this user may not mount a file system in memory")
        store = (disk if disk is not None and case.needs == "disk" else tmp_path) / "store"
        half = case.beginning == "halfway"
        shutil.copytree(request.getfixturevalue("halfway") if half else calm.beginnings[case.beginning], store)
        scene = a_scene(tmp_path, store, re.sub(r"\W+", "_", case.name).lower())
        scene.read_only = disk
        if case.needs == "server":
            scene.server = request.getfixturevalue("server")
            started(scene.server)
        stack.callback(scene.sweep_up)
        yield scene


def started(server: Server | None) -> None:
    """See that a server runs, whatever was done to it."""
    if server is not None and (server.process is None or server.process.poll() is not None):
        server.start()


def marked(case: Case) -> object:
    return pytest.param(case, id=case.name, marks=() if case.name in QUICK else pytest.mark.matrix)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("case", [marked(case) for case in (*CASES, *MACHINES)])
def test_the_same_command_again_completes_the_same_table(case: Case, scene: Scene, calm: Calm) -> None:
    began, ending = time.monotonic(), "FAILS"
    try:
        ending_now = case.disturb(scene)
        started(scene.server)
        scene.again()
        assert scene.results == calm.results
        require_whole_record(scene)
        case.require(scene)
        ending = ending_now
    finally:
        note_outcome(case, ending, time.monotonic() - began)


def note_outcome(case: Case, ending: str, seconds: float) -> None:
    if OUTCOMES in os.environ:
        with Path(os.environ[OUTCOMES]).open("a") as file:
            file.write(json.dumps({"case": case.name, "ending": ending, "seconds": round(seconds)}) + "\n")


def test_every_wire_is_laid_before_a_function_that_there_is() -> None:
    wires = [*(wire for phase in PHASES.values() for wire in phase), *WRITES.values(), TABLES, STARTING, OTHER]
    for wire in wires:
        assert callable(functools.reduce(getattr, wire.function.split("."), importlib.import_module(wire.module))), wire


def test_cases_have_names_of_their_own_and_the_quick_ones_are_among_them() -> None:
    names = [case.name for case in (*CASES, *MACHINES)]
    assert len(set(names)) == len(names) and set(QUICK) <= set(names)
