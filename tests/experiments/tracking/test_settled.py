"""A run with nothing left to do loads MLflow only where something may have to be sent or restored."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from experiments.store.layout import MLFLOW_DATABASE, RESULT
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking import report_files
from experiments.tracking import settled as settled_module
from experiments.tracking.database import embedded_uri
from experiments.tracking.mirror import Mirror
from experiments.tracking.settled import SettledRecord
from tests import ROOT


@pytest.fixture
def settled(tiny_plan: Plan, filled: Store) -> SettledRecord:
    Mirror(filled, tiny_plan, embedded_uri(filled)).update(ended=True)
    return SettledRecord(filled, tiny_plan)


def delete_a_run(store: Store, plan: Plan) -> None:
    """As a person does it in MLflow's UI."""
    client = mlflow.MlflowClient(tracking_uri=embedded_uri(store))
    experiment = client.get_experiment_by_name(plan.sweep.name)
    assert experiment is not None
    client.delete_run(client.search_runs([experiment.experiment_id])[0].info.run_id)


def touch_a_result(store: Store, plan: Plan) -> None:
    (store.folder("evaluations", next(iter(plan.evaluations))) / RESULT).touch()


def remove_a_result(store: Store, plan: Plan) -> None:
    (store.folder("trainings", next(iter(plan.trainings))) / RESULT).unlink()


def change_the_report(store: Store, plan: Plan) -> None:
    folder = store.report_folder(plan.sweep.name)
    folder.mkdir(parents=True)
    (folder / "report.md").write_text("# A report")


def empty_the_record(store: Store, plan: Plan) -> None:
    (store.root / MLFLOW_DATABASE).unlink()


def test_a_record_that_has_everything_is_settled(settled: SettledRecord, tiny_plan: Plan, filled: Store) -> None:
    assert settled.holds()
    assert SettledRecord(filled, tiny_plan).holds()


@pytest.mark.parametrize("change", [delete_a_run, touch_a_result, remove_a_result, change_the_report, empty_the_record])
def test_any_change_of_results_or_database_unsettles_it(
    change: Callable[[Store, Plan], None], settled: SettledRecord, tiny_plan: Plan, filled: Store
) -> None:
    change(filled, tiny_plan)
    assert not settled.holds()


def test_another_version_of_mlflow_unsettles_it(settled: SettledRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled_module, "version", lambda package: "99.0")
    assert not settled.holds()


def test_an_unfinished_plan_is_never_settled(tiny_plan: Plan, filled: Store) -> None:
    remove_a_result(filled, tiny_plan)
    Mirror(filled, tiny_plan, embedded_uri(filled)).update(ended=True)
    assert not SettledRecord(filled, tiny_plan).holds()


def test_a_record_is_settled_only_when_the_run_ends(tiny_plan: Plan, filled: Store) -> None:
    mirror, settled = Mirror(filled, tiny_plan, embedded_uri(filled)), SettledRecord(filled, tiny_plan)
    mirror.update()
    assert not settled.holds()
    mirror.update(ended=True)
    assert settled.holds()


def test_what_others_wrote_meanwhile_is_looked_at_before(tiny_plan: Plan, filled: Store) -> None:
    mirror, settled = Mirror(filled, tiny_plan, embedded_uri(filled)), SettledRecord(filled, tiny_plan)
    mirror.update()
    delete_a_run(filled, tiny_plan)
    mirror.update(ended=True)  # which does not look for what a person deleted
    assert not settled.holds()
    Mirror(filled, tiny_plan, embedded_uri(filled)).update(ended=True)
    assert settled.holds()


def test_a_database_elsewhere_settles_nothing_here(tiny_plan: Plan, filled: Store, tmp_path: Path) -> None:
    Mirror(filled, tiny_plan, f"sqlite:///{tmp_path / 'other.db'}").update(ended=True)
    assert not SettledRecord(filled, tiny_plan).holds()


def run_again(file: Path, store: Store) -> str:
    """The last line says whether the run loaded MLflow."""
    code = (
        "import os, sys\nos._exit = sys.exit\n"
        f"sys.argv = ['edm-sweep', 'run', {str(file)!r}, '--store', {str(store.root)!r}]\n"
        "from experiments.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('mlflow' in sys.modules)"  # a thread of MLflow may still run, with which the command ends at once
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_run_without_anything_left_loads_no_mlflow(tiny_file: Path, settled: SettledRecord, filled: Store) -> None:
    assert run_again(tiny_file, filled) == "True"  # the report is new
    assert settled.holds()
    assert run_again(tiny_file, filled) == "False"
    assert settled.holds()


def test_a_run_that_was_deleted_is_restored(
    tiny_file: Path, tiny_plan: Plan, settled: SettledRecord, filled: Store
) -> None:
    delete_a_run(filled, tiny_plan)
    run_again(tiny_file, filled)
    with sqlite3.connect(filled.root / MLFLOW_DATABASE) as database:
        (active,) = database.execute("SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'").fetchone()
    assert active == len(tiny_plan.trainings) + len(tiny_plan.evaluations) + 1  # the report
    assert settled.holds()


@pytest.mark.parametrize("looks", [0, 1])
def test_a_journal_of_sqlite_may_vanish_at_any_look(
    looks: int, settled: SettledRecord, filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, left, stat = filled.root / f"{MLFLOW_DATABASE}-journal", looks, Path.stat
    journal.touch()

    def vanishing(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        nonlocal left
        if path == journal:
            left -= 1
            if left < 0:  # another run has written to the database meanwhile
                journal.unlink(missing_ok=True)
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", vanishing)
    assert settled.holds() == (looks == 0)


def test_a_report_may_vanish_while_it_is_read(settled: SettledRecord, filled: Store, tiny_plan: Plan) -> None:
    change_the_report(filled, tiny_plan)
    name = tiny_plan.sweep.name
    files = report_files.report_files(filled, name)
    shutil.rmtree(filled.report_folder(name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_files, "report_files", lambda *_: files)  # as they were listed before
        assert report_files.report_digest(filled, name) == ""
    assert settled.holds()
