"""Networks whose folders somebody deleted, while what was made from them is there."""

import shutil
from pathlib import Path

import pytest

from experiments.inspection.explain import explain
from experiments.runner.options import Options
from experiments.runner.resume import open_schedule
from experiments.store.layout import RESULT
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from tests.commandline import invoke
from tests.inprocess import execute

MISSING = Options(missing=True)
CELL = "tiny_digits:attention/heun"


@pytest.fixture
def deleted(done: tuple[Plan, Store]) -> tuple[Plan, Store, str]:
    """A finished store without the folder of one training; its signature."""
    plan, store = done
    (planned,) = (p for p in plan.cells if plan.cell_name(p) == "attention/heun")
    shutil.rmtree(store.folder("trainings", planned.training.signature))
    return plan, store, planned.training.signature


def test_only_the_option_trains_a_deleted_network_again(deleted: tuple[Plan, Store, str]) -> None:
    plan, store, gone = deleted
    assert open_schedule(plan, store).counts["waiting"] == 0
    schedule = open_schedule(plan, store, MISSING)
    assert [task.signature for task in schedule.of("waiting")] == [gone]
    assert execute(schedule, store) == ["training"] and not schedule.failures
    assert (store.folder("trainings", gone) / RESULT).exists()
    assert open_schedule(plan, store, MISSING).counts["waiting"] == 0


def test_only_the_cells_asked_for_are_trained_again(deleted: tuple[Plan, Store, str]) -> None:
    plan, store, gone = deleted
    other = next(signature for signature in plan.trainings if signature != gone)
    shutil.rmtree(store.folder("trainings", other))
    schedule = open_schedule(plan, store, Options(missing=True, only=("attention/heun",)))
    assert [task.signature for task in schedule.of("waiting")] == [gone]


def test_the_remedy_for_a_deleted_network_is_named(deleted: tuple[Plan, Store, str], tmp_path: Path) -> None:
    _, store, gone = deleted
    said = "run its sweep again, with --recompute missing if"
    for command in (["sample", CELL], ["publish", CELL, "--to", tmp_path / "out"], ["demo", CELL]):
        answer = invoke(*command, "--store", store.root)
        assert answer.returncode == 2 and gone in answer.stderr and said in answer.stderr, command
    assert any("--recompute missing" in step.remark for step in explain(CELL, store).steps)


def test_a_dry_run_says_what_it_trains_again(deleted: tuple[Plan, Store, str], tmp_path: Path) -> None:
    _, store, _ = deleted
    answer = invoke("run", "tiny_digits", "--recompute", "missing", "--dry-run", "--store", store.root)
    assert answer.returncode == 0 and "1 task left" in answer.stdout, answer.stdout + answer.stderr
