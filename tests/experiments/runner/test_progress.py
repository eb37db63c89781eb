"""How far a run is: phases of tasks before anything is counted, what is published, and who hears of it."""

from pathlib import Path

import pytest

from experiments.runner import progress as progress_module
from experiments.runner.durations import DurationModel
from experiments.runner.listener import RunListener, TaskChange
from experiments.runner.options import Options
from experiments.runner.progress import RunProgress
from experiments.runner.resume import open_schedule
from experiments.runner.run import run_sweep
from experiments.runner.schedule import Schedule
from experiments.store.layout import CHECKPOINTS, PROGRESS
from experiments.store.progress import TaskProgress
from experiments.store.store import Store
from experiments.sweep.plan import Plan


def test_what_a_task_does_is_known_before_anything_is_counted(tiny_plan: Plan, tmp_path: Path) -> None:
    schedule, store = Schedule(tiny_plan, frozenset()), Store(tmp_path / "store")
    progress = RunProgress(schedule, store, "run")
    assert progress.running() == [] and progress.total == 6
    (task,), (other,) = (job.tasks for job in (schedule.take(), schedule.take()) if job is not None)
    schedule.starting = lambda: {task.signature}

    def phases() -> dict[str, str]:
        return {own.task.signature: own.phase for own in progress.running()}

    assert phases() == {task.signature: "starting worker", other.signature: "queued"}
    folder = store.folder("trainings", task.signature)
    folder.mkdir(parents=True)
    TaskProgress.of_phase("loading torch").write(folder)
    assert phases()[task.signature] == "loading torch" and not progress.has_loaded_torch
    TaskProgress(1.0, 4.0, "kimg", 0.5).write(folder)
    (own,) = (own for own in progress.running() if own.task == task)
    assert (own.phase, own.left_s) == ("", 6.0) and progress.has_loaded_torch
    (folder / PROGRESS).unlink()  # as it is done
    assert not progress.has_loaded_torch
    schedule.follow(task.signature, "done", "", None)
    assert progress.has_loaded_torch


def test_time_left_counts_what_an_earlier_run_saved_once(
    tiny_plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that resumes at half has half of its forecast left, before its first step and after it."""
    monkeypatch.setattr(progress_module, "duration", str)
    store = Store(tmp_path / "store")
    first = next(iter(tiny_plan.trainings.values()))
    folder = store.folder("trainings", first.signature)
    (folder / CHECKPOINTS).mkdir(parents=True)
    steps = first.config.num_steps
    (folder / CHECKPOINTS / f"{steps // 2:010d}-abc.safetensors").touch()

    def seconds_left() -> float:
        schedule = Schedule(tiny_plan, frozenset(), costs=DurationModel(store, tiny_plan))
        while (job := schedule.take()) is not None and first not in job.tasks:
            pass
        return float(RunProgress(schedule, store, "run").time_left().split()[1])

    before = seconds_left()
    TaskProgress(float(steps // 2), float(steps), "steps").write(folder)
    assert seconds_left() == pytest.approx(before, rel=1e-3)
    TaskProgress(float(steps * 3 // 4), float(steps), "steps").write(folder)
    assert seconds_left() < before


def test_a_phase_has_no_share_and_no_end(tmp_path: Path) -> None:
    TaskProgress.of_phase("loading torch").write(tmp_path)
    read = TaskProgress.read(tmp_path)
    assert read is not None and (read.phase, read.share, read.left_s) == ("loading torch", 0.0, None)


class Recording(RunListener):
    """Notes what it hears."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.changes: list[TaskChange] = []

    def phase(self, title: str):
        self.phases.append(title)
        return super().phase(title)

    def ended(self, change: TaskChange) -> None:
        self.changes.append(change)


def test_with_nothing_left_only_mlflow_is_brought_up_to_date(done: tuple[Plan, Store]) -> None:
    plan, store = done
    listener = Recording()
    summary = run_sweep(open_schedule(plan, store), store, None, listener, Options())
    assert listener.phases == ["bringing MLflow up to date"] and not listener.changes
    assert (summary.started, summary.done, summary.mirror_problem) == (0, 0, None)
