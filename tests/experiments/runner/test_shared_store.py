"""Several runs on one store at once: they share the work, do no task twice, and take over from one that dies."""

import functools
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.store.journal import Journal
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from tests.commandline import counting, invoke, start
from tests.conftest import TINY
from tests.finished import fill
from tests.table import reproducible
from tests.waiting import until

GROWN = TINY.replace("sampler: [euler, heun]", "sampler: [euler, heun, stochastic_heun]")
LONG = TINY.replace("kimg: 0.64", "kimg: 3")

# a run without Ray: what the Dispatcher hands out is done here, and what nobody has to do now is waited for
SCRIPT = """
import itertools, json, sys, time
from dataclasses import replace
from pathlib import Path

import torch

root, file, notes, machine, ahead_s = sys.argv[1:]
torch.set_num_threads(1)
if machine:
    from experiments.store import processes
    processes.machine = lambda: machine
    own = time.time
    time.time = lambda: own() + float(ahead_s)
from experiments.trials.evaluation import draw
from experiments.runner.dispatch import Dispatcher
from experiments.runner.options import Options
from experiments.runner.timing import Timing
from experiments.runner.resume import open_schedule
from tests.planning import load_sweep, plan_sweep
from experiments.store.lease_watch import LeaseTiming
from experiments.store.store import Store
from experiments.trials.perform import perform_job
from tests.inprocess import CONTEXT

drawn = draw._generate

def noted(context, start, stop):
    with open(notes, "a") as lines:
        lines.write(json.dumps(["draw", context.evaluation.drawing, start]) + "\\n")
    return drawn(context, start, stop)

draw._generate = noted
finish = Store.finish

def finished(store, signature, result, files=()):
    finish(store, signature, result, files)
    with open(notes, "a") as lines:
        lines.write(json.dumps(["finish", signature, result.kind]) + "\\n")

# not outcomes are counted: a task that another run has just finished is "done" for both
Store.finish = finished
timing = LeaseTiming(beat_s=0.25, stale_s=3.0) if machine else LeaseTiming()
store, context = Store(Path(root), lease_timing=timing), replace(CONTEXT, checkpoint_s=0.2)
schedule = open_schedule(plan_sweep(load_sweep(Path(file))), store)
dispatcher = Dispatcher(schedule, store, options=Options(timing=Timing(look_s=0.2)))
for key in map(str, itertools.count()):
    while (job := dispatcher.next(key)) is None and not schedule.finished:
        time.sleep(0.1)
    if job is None:
        break
    for name, outcome in perform_job(store, job, context):
        dispatcher.outcome(key, name, outcome)
        with open(notes, "a") as lines:
            lines.write(json.dumps([outcome.state, name, schedule.tasks[name].kind]) + "\\n")
    dispatcher.closed(key)
assert schedule.counts["done"] == len(schedule.tasks), schedule.failures
"""


class Runs:
    """Runs of sweeps on one store, and what they note."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, text: str, machine: str = "", ahead_s: float = 0.0) -> subprocess.Popen[str]:
        number = len(self.processes)
        file = self.folder / f"{number}.yaml"
        file.write_text(text)
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, self.store.root, file, self.notes(number), machine, str(ahead_s)],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def notes(self, number: int) -> Path:
        return self.folder / f"{number}.jsonl"

    def noted(self, what: str) -> Counter[str]:
        """How often something happened to what, over all runs."""
        files = map(self.notes, range(len(self.processes)))
        lines = [json.loads(line) for file in files if file.exists() for line in file.read_text().splitlines()]
        return Counter(f"{name}/{more}" for kind, name, more in lines if kind == what)

    def ended_well(self, *processes: subprocess.Popen[str]) -> None:
        for process in processes:
            _, errors = process.communicate(timeout=200)
            assert process.returncode == 0, errors

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until something is so while all runs go on; what it is."""
        return until(condition, running=self.processes)


@pytest.fixture
def runs(store: Store, tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(store, tmp_path)
    yield runs
    for process in runs.processes:
        process.kill()
        process.communicate()


def times_begun(store: Store) -> list[int]:
    """How often each training was begun or gone on with."""
    return [path.read_text().count(", from step ") for path in store.root.glob("trainings/*/log.txt")]


def metrics(store: Store) -> dict[str, Any]:
    found = {path.parent.name: json.loads(path.read_text()) for path in store.root.glob("evaluations/*/result.json")}
    return {name: content["metrics"] for name, content in found.items()}


@pytest.fixture(scope="module")
def alone(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Store]:
    """The store that one undisturbed run of a sweep fills, in this process; each made once."""

    @functools.cache
    def filled_by(text: str) -> Store:
        return fill(tmp_path_factory.mktemp("alone"), prepared, text)[1]

    return filled_by


def test_two_at_once_do_no_piece_twice(runs: Runs, finished: tuple[Plan, Store]) -> None:
    runs.ended_well(runs.start(TINY), runs.start(TINY))
    assert times_begun(runs.store) == [1, 1]
    assert set(runs.noted("finish").values()) == {1} and len(runs.noted("finish")) == 6
    assert set(runs.noted("draw").values()) == {1} and len(runs.noted("draw")) == 4
    assert metrics(runs.store) == metrics(finished[1])


@pytest.mark.slow
def test_one_that_begins_later_with_a_grown_grid_does_what_is_new(runs: Runs, alone: Callable[[str], Store]) -> None:
    first = runs.start(TINY)
    runs.until(lambda: list(runs.store.root.glob("trainings/*/journal.jsonl")))
    runs.ended_well(first, runs.start(GROWN))
    assert times_begun(runs.store) == [1, 1]
    assert set(runs.noted("finish").values()) == {1} and len(runs.noted("finish")) == 8
    assert set(runs.noted("draw").values()) == {1} and len(runs.noted("draw")) == 6
    assert metrics(runs.store) == metrics(alone(GROWN))


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["", "another machine"])
def test_what_a_killed_one_was_at_is_taken_over(machine: str, runs: Runs, alone: Callable[[str], Store]) -> None:
    # on another machine nobody sees that its process has gone, and its clock is an hour ahead
    doomed = runs.start(LONG, machine, ahead_s=3600.0)
    heir = runs.start(LONG, machine and "this machine")
    (saved,) = runs.until(
        lambda: [p for p in runs.store.root.glob("trainings/*/checkpoints/[!.]*") if is_at(doomed, p)][:1]
    )
    doomed.kill()
    doomed.wait()
    runs.ended_well(heir)
    log = (saved.parents[1] / "log.txt").read_text()
    assert log.count(", from step ") == 2 and log.count("from step 0\n") == 1
    assert set(runs.noted("draw").values()) == {1}
    assert metrics(runs.store) == metrics(alone(LONG))


@pytest.mark.slow
@pytest.mark.parametrize("wakes", ["before anybody notices", "while the other run works", "when the other run is done"])
def test_a_stopped_run_writes_nothing_into_what_was_taken_over(
    wakes: str, runs: Runs, alone: Callable[[str], Store]
) -> None:
    sleeper = runs.start(LONG, "one machine")
    (saved,) = runs.until(
        lambda: [p for p in runs.store.root.glob("trainings/*/checkpoints/[!.]*") if is_at(sleeper, p)][:1]
    )
    sleeper.send_signal(signal.SIGSTOP)
    heir = runs.start(LONG, "another machine")
    if wakes == "while the other run works":
        runs.until(lambda: is_at(heir, saved))
    elif wakes == "when the other run is done":
        runs.ended_well(heir)
    left = files_of(runs.store)
    sleeper.send_signal(signal.SIGCONT)
    runs.ended_well(sleeper, *([heir] if wakes != "when the other run is done" else []))
    if wakes == "when the other run is done":
        assert files_of(runs.store) == left
    lost = saved.parents[1].name
    assert (runs.noted("elsewhere")[f"{lost}/training"] > 0) == (wakes != "before anybody notices")
    assert runs.noted("finish")[f"{lost}/trainings"] == 1
    steps = [line["step"] for line in Journal(saved.parents[1] / "journal.jsonl").read()]
    assert steps == sorted(set(steps)) and not (runs.store.root / "damaged").exists()
    assert metrics(runs.store) == metrics(alone(LONG))


def files_of(store: Store) -> dict[str, tuple[int, bytes]]:
    """All files of tasks, with their times."""
    found = [path for kind in ("trainings", "evaluations", "drawings") for path in (store.root / kind).rglob("[!.]*")]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found if path.is_file()}


def is_at(process: subprocess.Popen[str], path: Path) -> bool:
    """Whether a process holds the training that a file belongs to."""
    for lease in path.parents[1].glob(".lease-*"):
        state = json.loads(lease.read_text())
        return state["pid"] == process.pid and not state["released"]
    return False


@pytest.mark.slow
def test_two_commands_at_once_of_which_one_is_killed(
    store: Store, alone: Callable[[str], Store], tmp_path: Path
) -> None:
    file, expected = tmp_path / "tiny_digits.yaml", alone(LONG).root
    file.write_text(LONG)
    assert invoke("report", file, "--store", expected).returncode == 0
    command = ("run", file, "--store", store.root, "--cpus-per-trial", "1")
    doomed, heir = start(*command), start(*command)
    try:
        until(lambda: counting(store.root, "trainings"), running=[doomed])
        doomed.kill()
        output, errors = heir.communicate(timeout=240)
    finally:
        doomed.kill()
        heir.kill()
        doomed.communicate()
    assert heir.returncode == 0, output + errors
    table = Path("reports") / "tiny_digits" / "results.csv"
    assert reproducible(store.root / table) == reproducible(expected / table)
