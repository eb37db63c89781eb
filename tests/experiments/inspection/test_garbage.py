"""gc: what could go, and what must not."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

import edm
from experiments.cli.main import app
from experiments.errors import UserError
from experiments.inspection import garbage
from experiments.inspection.garbage import CleanupPolicy, Garbage, Keep, free, size_of, survey
from experiments.runner.resume import open_schedule
from experiments.store.active_runs import announced
from experiments.store.journal import Journal
from experiments.store.leases import Held
from experiments.store.results import TrainingResult
from experiments.store.store import Store
from experiments.store.training_records import kimg_of
from experiments.sweep.plan import Plan
from experiments.tracking.records import record_plan
from tests.conftest import TINY
from tests.finished import copy_of, fill
from tests.inprocess import run_all
from tests.planning import load_sweep, plan_sweep

pytestmark = pytest.mark.usefixtures("few_statistics")

KEEPING = TINY.replace("kimg: 0.64", "keep: all, checkpoint_kimg: 0.16, validate_kimg: 0.16, kimg: 0.64")


@pytest.fixture(scope="module")
def kept(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """The tiny sweep with all checkpoints kept: at 0.16, 0.32 and 0.48 kimg."""
    return fill(tmp_path_factory.mktemp("kept"), prepared, KEEPING)


@pytest.fixture
def keeping(kept: tuple[Plan, Store], tmp_path: Path) -> tuple[Plan, Store]:
    return kept[0], copy_of(kept[1], tmp_path)


def smaller(folder: Path, text: str = TINY) -> Plan:
    """The tiny sweep without attention and without Heun: one cell of its four."""
    path = folder / "tiny_digits.yaml"
    path.write_text(text.replace("[false, true]", "[false]").replace("[euler, heun]", "[euler]"))
    return plan_sweep(load_sweep(path))


def kinds(items: list[Garbage]) -> dict[str, int]:
    return {kind: sum(item.kind == kind for item in items) for kind in dict.fromkeys(item.kind for item in items)}


def test_what_a_sweep_refers_to_stays(done: tuple[Plan, Store]) -> None:
    plan, store = done
    assert survey(store, [plan]) == []


def test_of_a_sweep_that_shrank_the_rest_can_go_and_the_table_stays(done: tuple[Plan, Store], tmp_path: Path) -> None:
    _, store = done
    plan = smaller(tmp_path)
    items = survey(store, [plan])
    assert kinds(items) == {"trainings": 1, "evaluations": 3, "drawings": 3}
    assert {item.reason for item in items} == {"unused"}
    before = size_of(store.root)
    assert sum(item.size for item in items) > 0 and len(list(free(store, items))) == 7
    assert before - size_of(store.root) == sum(item.size for item in items)
    assert survey(store, [plan]) == []
    assert not open_schedule(plan, store).of("waiting")  # nothing of what it refers to is missing


def test_what_another_sweep_refers_to_stays(done: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = done
    assert survey(store, [smaller(tmp_path), plan]) == []


def test_what_is_worked_at_stays(done: tuple[Plan, Store], tmp_path: Path) -> None:
    _, store = done
    items = survey(store, [smaller(tmp_path)])
    training = next(item for item in items if item.kind == "trainings")
    with store.lock("trainings", training.name):
        assert training.name not in [item.name for item in survey(store, [smaller(tmp_path)])]
        assert training not in list(free(store, items))  # it was begun between the look and the deed
    assert training.path.exists()


def test_nobody_begins_a_task_while_its_folder_is_removed(
    done: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that asks for it meanwhile finds it held, and afterwards finds nothing: never a part of it."""
    _, store = done
    (item,) = (item for item in survey(store, [smaller(tmp_path)]) if item.kind == "trainings")
    (item.path / "kept").mkdir()
    met: list[object] = []

    def while_it_goes(path: Path, ignore_errors: bool) -> None:
        met.append(store.has_result("trainings", item.name))
        with pytest.raises(Held), store.try_lock("trainings", item.name):
            met.append("begun")
        remove(path, ignore_errors)

    remove = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", while_it_goes)
    assert list(free(store, [item])) == [item] and not item.path.exists()
    assert set(met) == {False}
    with store.try_lock("trainings", item.name) as folder:
        assert [path.name for path in folder.iterdir()] == [".lease-000001"]


def test_files_that_a_run_removes_meanwhile_have_no_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stays").write_bytes(b"12345")
    (tmp_path / "gone").symlink_to("nowhere")  # as a file that was listed and is no longer there
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    assert size_of(tmp_path) == 5 and size_of(tmp_path / "gone") == 0


def test_without_any_sweep_prepared_data_stay_unless_they_are_meant(done: tuple[Plan, Store]) -> None:
    _, store = done
    assert "data" not in kinds(survey(store, []))
    assert kinds(survey(store, [], CleanupPolicy(data=True)))["data"] == 1
    assert {"classifiers", "references"} <= kinds(survey(store, [])).keys()


@pytest.mark.parametrize(
    ("policy", "left"),
    [("all", ["0.160", "0.320", "0.480"]), ("last", []), ((0.32,), ["0.320"]), ((0.16, 0.48), ["0.160", "0.480"])],
)
def test_a_policy_frees_checkpoints_and_nothing_is_trained_again(
    keeping: tuple[Plan, Store], policy: Keep, left: list[str]
) -> None:
    plan, store = keeping
    items = survey(store, [plan], CleanupPolicy(policy))
    assert {item.reason for item in items} <= {"policy"} and len(items) == 2 * (3 - len(left))
    assert len(list(free(store, items))) == len(items)
    for name in plan.trainings:
        files = sorted((store.folder("trainings", name) / "kept").iterdir())
        assert [f"{kimg_of(path):.3f}" for path in files] == left
        assert store.verified(TrainingResult, name) is not None
    assert not open_schedule(plan, store).of("waiting")


def test_the_best_checkpoint_is_the_one_with_the_lowest_loss_on_val(keeping: tuple[Plan, Store]) -> None:
    plan, store = keeping
    assert len(list(free(store, survey(store, [plan], CleanupPolicy("best"))))) == 4
    for name in plan.trainings:
        folder = store.folder("trainings", name)
        looks = [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()]
        best = min(looks[:-1], key=lambda look: look["val_loss"])["kimg"]
        assert next(path.name for path in (folder / "kept").iterdir()).startswith(f"kimg{best:012.3f}")


def test_a_sweep_that_says_best_keeps_no_other(prepared: Path, tmp_path: Path, kept: tuple[Plan, Store]) -> None:
    plan, store = fill(tmp_path, prepared, KEEPING.replace("keep: all", "keep: best"))
    assert (
        plan.trainings == {name: one for name, one in plan.trainings.items() if one.config.keep == "best"}
        and plan.trainings.keys() == kept[0].trainings.keys()
    )
    for name in plan.trainings:
        (file,) = (store.folder("trainings", name) / "kept").iterdir()
        (same,) = (kept[1].folder("trainings", name) / "kept").glob(f"kimg{kimg_of(file):012.3f}-*")
        assert all(
            torch.equal(a, b) for a, b in zip(edm.load(file).parameters(), edm.load(same).parameters(), strict=True)
        )
        looks = Journal(store.folder("trainings", name) / "validation.jsonl").read()[:-1]
        assert kimg_of(file) == pytest.approx(min(looks, key=lambda look: look["val_loss"])["kimg"])


def test_what_a_sweep_says_now_is_the_policy_where_none_is_given(keeping: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = keeping
    path = tmp_path / "now.yaml"
    path.write_text(TINY.replace("kimg: 0.64", "keep: [0.32], kimg: 0.64"))
    now = plan_sweep(load_sweep(path))
    assert now.trainings.keys() == plan.trainings.keys()  # what is kept changes no weight
    assert len(survey(store, [now])) == 4
    assert survey(store, [now, plan]) == []  # as another sweep keeps all


def test_checkpoints_of_what_is_not_finished_stay(keeping: tuple[Plan, Store]) -> None:
    plan, store = keeping
    name = next(iter(plan.trainings))
    (store.folder("trainings", name) / "result.json").unlink()
    items = survey(store, [plan], CleanupPolicy("last"))
    assert len(items) == 3 and not any(name in item.name for item in items)


def test_drawings_of_scored_cells_can_go_and_of_pending_ones_cannot(done: tuple[Plan, Store]) -> None:
    plan, store = done
    pending = plan.cells[0].evaluation
    (store.folder("evaluations", pending.signature) / "result.json").unlink()
    items = survey(store, [plan], CleanupPolicy(drawings=True))
    assert len(items) == 3 and pending.drawing not in [item.name for item in items]
    list(free(store, items))
    schedule = open_schedule(plan, store)
    assert [task.signature for task in schedule.of("waiting")] == [pending.signature]
    run_all(plan, store)


def test_what_a_killed_run_and_damage_left_can_go(done: tuple[Plan, Store]) -> None:
    plan, store = done
    store.request_stop("dead")
    (store.root / "damaged" / "trainings" / "x" / "1").mkdir(parents=True)
    items = survey(store, [plan])
    assert [item.reason for item in items] == ["abandoned", "damaged"]
    assert len(list(free(store, items))) == 2 and survey(store, [plan]) == []


def test_what_may_not_be_deleted_is_not_said_to_be(done: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = done
    record_plan(plan, store)
    with monkeypatch.context() as patch:
        patch.setattr(garbage, "remove_folder", lambda folder, timing: False)  # another account's
        result = gc(store, "--forget", "tiny_digits", "--yes")
    assert "Freed 0 bytes" in result.output and "this account may not delete them" in result.output
    printed = json.loads(gc(store, "--yes", "--json").stdout)
    assert printed["items"] and all(item["deleted"] for item in printed["items"])


# the command ----------------------------------------------------------------------------------------


def gc(store: Store, *arguments: str):
    return CliRunner().invoke(app, ["gc", *arguments, "--store", str(store.root)])


def test_nothing_is_deleted_without_yes(done: tuple[Plan, Store], tmp_path: Path) -> None:
    _, store = done
    record_plan(smaller(tmp_path), store)
    assert "nothing to delete" in gc(store).output  # an earlier run asked for it
    before = sorted(path for path in store.root.rglob("*") if path.is_file() and ".lease" not in path.name)
    result = gc(store, "--past")
    assert result.exit_code == 0 and "Nothing was deleted" in result.output and "no sweep refers to it" in result.output
    assert sorted(path for path in store.root.rglob("*") if path.is_file() and ".lease" not in path.name) == before
    printed = json.loads(gc(store, "--past", "--json").stdout)
    assert len(printed["items"]) == 7 and not printed["deleted"]
    assert printed["bytes"] == sum(item["size"] for item in printed["items"])
    result = gc(store, "--past", "--yes")
    assert result.exit_code == 0 and "Freed" in result.output
    assert "nothing to delete" in gc(store, "--past").output


def test_what_a_running_sweep_may_have_begun_with_stays(done: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = done
    record_plan(plan, store)
    record_plan(smaller(tmp_path), store)  # its file was changed while the run went on
    with announced(store, "s", "tiny_digits"):
        assert "nothing to delete" in gc(store, "--past", "--yes").output
        refused = gc(store, "--forget", "tiny_digits", "--yes")
        assert isinstance(refused.exception, UserError) and "is running; wait for it" in str(refused.exception)
    assert len(json.loads(gc(store, "--past", "--yes", "--json").stdout)["items"]) == 7


def test_a_file_that_was_never_run_protects_what_it_refers_to(done: tuple[Plan, Store], tmp_path: Path) -> None:
    _, store = done
    record_plan(smaller(tmp_path), store)
    whole = tmp_path / "whole.yaml"
    whole.write_text(TINY.replace("tiny_digits", "whole"))
    assert "nothing to delete" in gc(store, "--past", str(whole)).output


def test_a_forgotten_sweep_refers_to_nothing(done: tuple[Plan, Store]) -> None:
    _, store = done
    assert json.loads(gc(store, "--forget", "tiny_digits", "--json").stdout)["items"]
    assert "nothing to delete" in gc(store).output  # it was only asked about
    assert isinstance(gc(store, "--forget", "other").exception, UserError)
    gc(store, "--forget", "tiny_digits", "--yes")
    assert not list(store.root.glob("trainings/*")) and not list(store.root.glob("sweeps/*"))


def test_a_forgotten_sweep_keeps_its_report_unless_asked(done: tuple[Plan, Store]) -> None:
    _, store = done
    report, other = store.report_folder("tiny_digits"), store.report_folder("tiny_digits+other")
    for folder in (report, other):
        folder.mkdir(parents=True)
        (folder / "report.html").write_text("a table")
    assert f"{report} stays, unless you add --reports" in told(gc(store, "--forget", "tiny_digits"))
    listed = told(gc(store, "--forget", "tiny_digits", "--reports"))
    assert "reports/tiny_digits" in listed and "stays" not in listed
    assert "MLflow keeps the experiment tiny_digits" in listed
    gc(store, "--forget", "tiny_digits", "--reports", "--yes")
    assert not report.exists() and other.exists()


def test_a_report_that_stays_is_named(done: tuple[Plan, Store]) -> None:
    _, store = done
    report = store.report_folder("tiny_digits")
    report.mkdir(parents=True)
    listed = json.loads(gc(store, "--forget", "tiny_digits", "--reports", "--json").stdout)
    assert listed["stays"] == [{"sweep": "tiny_digits", "report": None, "experiment": "tiny_digits"}]
    listed = json.loads(gc(store, "--forget", "tiny_digits", "--json").stdout)
    assert listed["stays"] == [{"sweep": "tiny_digits", "report": str(report), "experiment": "tiny_digits"}]
    assert "tiny_digits stays. MLflow keeps" in told(gc(store, "--forget", "tiny_digits", "--yes"))
    assert report.exists() and json.loads(gc(store, "--json").stdout)["stays"] == []


def test_reports_are_deleted_only_of_forgotten_sweeps(done: tuple[Plan, Store]) -> None:
    refused = gc(done[1], "--reports", "--yes")
    assert isinstance(refused.exception, UserError) and "give --forget SWEEP, too" in str(refused.exception)


def told(result: Result) -> str:
    """What a command printed, without the ends of its lines."""
    return " ".join(result.output.split())


def test_a_store_whose_sweeps_cannot_be_read_is_left_alone(done: tuple[Plan, Store]) -> None:
    _, store = done
    (store.root / "sweeps" / "old.json").write_text('{"cells": {}}')
    result = gc(store, "--yes")
    assert isinstance(result.exception, UserError) and "old.json: cannot be read" in str(result.exception)
    assert list(store.root.glob("trainings/*/result.json"))


def test_no_cell_that_is_left_to_do_loses_what_it_stands_on(done: tuple[Plan, Store], tmp_path: Path) -> None:
    """After gc --yes with every option, what was left to do is what was left before."""
    plan, store = done
    shutil.rmtree(store.folder("evaluations", plan.cells[3].evaluation.signature))
    before = [task.signature for task in open_schedule(plan, store).of("waiting")]
    result = gc(store, "--yes", "--keep", "last", "--drawings", "--data")
    assert result.exit_code == 0, result.output
    assert [task.signature for task in open_schedule(plan, store).of("waiting")] == before
