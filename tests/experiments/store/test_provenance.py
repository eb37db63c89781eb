"""Where a number comes from: code and what differs from its commit, machine, command, a person's tags, times."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import experiments
from experiments import hardware
from experiments.runner.options import Options
from experiments.store import provenance as module
from experiments.store.provenance import RunInfo, diff_path, keep_diff, provenance, working_for
from experiments.store.results import BaselineRecord, CodeVersion, DatasetRecord
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.preparations import ReferenceStatistics
from experiments.sweep.probes import probes_of
from experiments.trials.context import TrialContext
from experiments.trials.perform import perform
from tests.inprocess import without_ray

NOTHING = ("packages", "tags")


def repository(folder: Path) -> Path:
    """A checkout with one commit."""
    (folder / "experiments" / "store").mkdir(parents=True)
    (folder / "experiments" / "store" / "provenance.py").write_text("one = 1\n")
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    return folder


def test_results_say_who_made_them_how_and_when(tiny_plan: Plan, store: Store) -> None:
    told = RunInfo("edm-sweep run mine.yaml", {"paper": "iclr"}, CodeVersion("abc", git_dirty=True, git_diff="d" * 64))
    training = next(iter(tiny_plan.trainings.values()))
    evaluation = tiny_plan.cells[0].evaluation
    for task in (training, evaluation):
        assert perform(store, task, TrialContext("test", run_info=told)).state == "done"
    for task in (training, evaluation):
        known = store.finished(task.result_type, task.signature).provenance
        assert (known.command, known.tags) == ("edm-sweep run mine.yaml", {"paper": "iclr"})
        assert (known.git_commit, known.git_dirty, known.git_diff) == ("abc", True, "d" * 64)
        assert known.began is not None and known.began <= known.time and known.began.endswith("Z")
        assert known.python and known.host and known.platform and known.cpus
        assert known.packages["torch"]


def test_whatever_a_task_finishes_was_made_for_its_run(tiny_plan: Plan, store: Store) -> None:
    """Baselines are results of their own, which the task of reference statistics makes, in a process of Ray's."""
    told = RunInfo("edm-sweep run mine.yaml", {"paper": "iclr"}, CodeVersion("abc"))
    (task,) = (task for task in tiny_plan.preparations.values() if isinstance(task, ReferenceStatistics))
    shutil.rmtree(store.folder(task.store_kind, task.signature))
    shutil.rmtree(store.root / "scales")
    (probe, *_) = probes_of(tiny_plan, "cpu").values()
    for each in (task, probe):
        assert perform(store, each, TrialContext("test", run_info=told)).state == "done"
    baselines = [store.finished(BaselineRecord, name) for name in store.signatures("scales")]
    assert baselines
    for result in (*baselines, store.finished(probe.result_type, probe.signature)):
        known = result.provenance
        assert (known.command, known.tags, known.git_commit) == ("edm-sweep run mine.yaml", told.tags, "abc")
    assert provenance().command != told.command  # the process works for nobody now


def test_what_is_prepared_before_the_tasks_has_the_tags_too(done: tuple[Plan, Store], tiny_file: Path) -> None:
    plan, store = done
    (source,) = plan.sources
    for folder in (store.folder("data", source), store.folder("evaluations", plan.cells[0].evaluation.signature)):
        shutil.rmtree(folder)
    with without_ray():
        experiments.run(tiny_file, store.root, options=Options(tags={"paper": "iclr"}), quiet=True)
    assert store.finished(DatasetRecord, source).provenance.tags == {"paper": "iclr"}


def test_a_run_within_a_run_is_left_again() -> None:
    outer, inner = RunInfo("outer"), RunInfo("inner")
    with working_for(outer):
        with working_for(inner):
            assert provenance().command == "inner"
        assert provenance().command == "outer"


def test_provenance_is_no_part_of_an_identity(tiny_plan: Plan, store: Store) -> None:
    training = next(iter(tiny_plan.trainings.values()))
    perform(store, training, TrialContext("test", run_info=RunInfo("one", {"a": "b"})))
    text = (store.folder("trainings", training.signature) / "config.yaml").read_text()
    assert yaml.safe_load(text)["signature"] == training.signature and "tags" not in text


def test_what_differs_from_the_commit_is_kept_once_under_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, store = repository(tmp_path / "checkout"), Store(tmp_path / "store").create()
    monkeypatch.setattr(module, "__file__", str(home / "experiments" / "store" / "provenance.py"))
    assert keep_diff(store) is None and not list(store.root.glob("diffs/*"))
    (home / "experiments" / "store" / "provenance.py").write_text("one = 2\n")
    digest = keep_diff(store)
    assert digest is not None and keep_diff(store) == digest
    (patch,) = (store.root / "diffs").iterdir()
    assert patch == diff_path(store, digest) and "+one = 2" in patch.read_text()
    (home / "experiments" / "new.py").write_text("two = 2\n")
    (home / "notes.txt").write_text("no code\n")
    with_new = keep_diff(store)
    assert with_new is not None and with_new != digest
    text = diff_path(store, with_new).read_text()
    assert "+one = 2" in text and "+two = 2" in text and "experiments/new.py" in text and "no code" not in text


def test_a_module_that_was_never_committed_makes_the_code_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = repository(tmp_path / "checkout")
    monkeypatch.setattr(module, "__file__", str(home / "experiments" / "store" / "provenance.py"))
    module.code_version.cache_clear()
    assert module.code_version().git_dirty is False
    (home / "experiments" / "new.py").write_text("two = 2\n")
    module.code_version.cache_clear()
    try:
        assert module.code_version().git_dirty is True
    finally:
        module.code_version.cache_clear()


def test_a_gpu_and_its_driver_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!{sys.executable}\nprint('550.54.14')\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    hardware.gpu_driver.cache_clear()
    assert hardware.gpu_driver() == "550.54.14"
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    hardware.gpu_driver.cache_clear()
    assert hardware.gpu_driver() is None
    hardware.gpu_driver.cache_clear()


def test_a_process_tells_its_own_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/edm-sweep", "run", "my file.yaml"])
    assert provenance().command == "edm-sweep run 'my file.yaml'"
