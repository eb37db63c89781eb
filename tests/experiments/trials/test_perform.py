"""Trials do each task once, resume after any stop, and give the same bits."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file

from experiments.runner.resume import open_schedule
from experiments.store.damage import DamagedFile
from experiments.store.journal import Journal
from experiments.store.progress import TaskProgress
from experiments.store.results import EvaluationResult, TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.sweep.tasks import Evaluation
from experiments.tracking.frames import results_frame, scores_in_store
from experiments.trials.context import TrialContext
from experiments.trials.evaluation import draw
from experiments.trials.perform import perform
from experiments.trials.training import train as training_module
from tests import ROOT
from tests.inprocess import CONTEXT, WATCHFUL, cut_segments, execute, run_all
from tests.planning import load_sweep, plan_sweep
from tests.trainings import StopAfter


def table(plan: Plan, store: Store) -> str:
    return results_frame(plan, scores_in_store(plan, store)).to_csv()


def first_training(plan: Plan):
    return next(iter(plan.trainings.values()))


def forget(store: Store, evaluation: Evaluation) -> None:
    """Make an evaluation undone, and its images undrawn."""
    (store.folder("evaluations", evaluation.signature) / "result.json").unlink()
    shutil.rmtree(store.folder("drawings", evaluation.drawing))


def test_a_whole_sweep_fills_its_table(tiny_plan: Plan, store: Store) -> None:
    schedule = open_schedule(tiny_plan, store)
    assert execute(schedule, store) == ["training"] * 2 + ["evaluation"] * 4
    frame = results_frame(tiny_plan, scores_in_store(tiny_plan, store))
    assert list(frame["status"]) == ["done"] * 4
    scores = frame[["fid_train", "fid_val", "fid_test", "class_accuracy"]]
    assert scores.notna().all().all() and (scores[["fid_train", "fid_val", "fid_test"]] > 0).all().all()
    assert scores["fid_test"].nunique() == 4
    assert execute(open_schedule(tiny_plan, store), store) == []


def test_the_folders_hold_what_people_look_for(tiny_plan: Plan, filled: Store) -> None:
    for name in tiny_plan.trainings:
        found = {path.name for path in filled.folder("trainings", name).glob("[!.]*")}
        journals, state = {"journal.jsonl", "validation.jsonl"}, {"checkpoints", "code.json"}
        assert found == {"config.yaml", "log.txt", "model.safetensors", "result.json", "samples"} | journals | state
    for name in tiny_plan.evaluations:
        found = {path.name for path in filled.folder("evaluations", name).glob("[!.]*")}
        tensors = {"statistics.safetensors", "influences.safetensors"}
        assert found == {"config.yaml", "log.txt", "samples.png", "denoising.png", "result.json"} | tensors
        assert filled.finished(EvaluationResult, name).provenance.packages["torch"]


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_a_training_stopped_anywhere_goes_on_to_the_same_weights(
    tiny_plan: Plan, trained: Store, tmp_path: Path, looks: int
) -> None:
    training = first_training(tiny_plan)
    disturbed = StopAfter(tmp_path / "disturbed").create()
    disturbed.looks = looks
    assert perform(disturbed, training, replace(CONTEXT, report_s=0.02)).state == "interrupted"
    assert disturbed.result(TrainingResult, training.signature) is None
    assert perform(Store(disturbed.root), training, CONTEXT).state == "done"
    folders = [s.folder("trainings", training.signature) for s in (trained, disturbed)]
    whole, resumed = (load_file(folder / "model.safetensors") for folder in folders)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    losses = [[(e["step"], e["loss"]) for e in Journal(folder / "journal.jsonl").read()] for folder in folders]
    assert losses[0] == losses[1]
    log = (folders[1] / "log.txt").read_text()
    assert "interrupted on request" in log and ("from step 0" in log)


def stop_in_training(plan: Plan, root: Path) -> Path:
    """Stop the first training twice, so that it has two checkpoints; its folder."""
    for _ in range(2):
        stopping = StopAfter(root).create()
        stopping.looks = 2
        assert perform(stopping, first_training(plan), replace(CONTEXT, report_s=0.02)).state == "interrupted"
    return Store(root).folder("trainings", first_training(plan).signature)


def test_a_damaged_checkpoint_is_dropped_for_the_one_before(
    tiny_plan: Plan, trained: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = first_training(tiny_plan)
    folder = stop_in_training(tiny_plan, tmp_path / "damaged")
    *_, before, last = sorted(folder.glob("checkpoints/*.safetensors"))
    content = bytearray(last.read_bytes())
    content[-5] ^= 1
    last.write_bytes(content)
    assert perform(Store(tmp_path / "damaged"), training, CONTEXT).state == "done"
    log = (folder / "log.txt").read_text()
    assert f"{last}: damaged" in log and f"from step {int(before.name.split('-')[0])}" in log
    whole = load_file(trained.folder("trainings", training.signature) / "model.safetensors")
    redone = load_file(folder / "model.safetensors")
    assert all(torch.equal(whole[name], redone[name]) for name in whole)


def test_an_evaluation_stopped_between_segments_draws_only_the_rest(
    tiny_plan: Plan, trained: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_segments(monkeypatch, 50)
    evaluation = next(iter(tiny_plan.evaluations.values()))
    assert perform(trained, evaluation, CONTEXT).state == "done"
    undisturbed = trained.result(EvaluationResult, evaluation.signature)
    assert undisturbed is not None
    forget(trained, evaluation)
    stopping = StopAfter(trained.root)
    stopping.looks = 7  # at the start, before two loads and the first segment, and in it three times
    assert perform(stopping, evaluation, WATCHFUL).state == "interrupted"
    kept = {path.name for path in trained.folder("drawings", evaluation.drawing).glob("*/*.safetensors")}
    assert len(kept) == 1
    drawn: list[int] = []
    original = draw._generate

    def counting(context, start, stop):
        drawn.append(start)
        return original(context, start, stop)

    monkeypatch.setattr(draw, "_generate", counting)
    assert perform(trained, evaluation, CONTEXT).state == "done"
    assert drawn == [50, 100]
    again = trained.result(EvaluationResult, evaluation.signature)
    assert again is not None and again.metrics == undisturbed.metrics


def test_adding_a_split_scores_without_drawing_again(
    tiny_file: Path, trained: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = plan_sweep(load_sweep(tiny_file, ("evaluation.splits=[test]",)))
    run_all(few, trained)
    before = scores_in_store(few, trained)
    assert len(before) == 4
    assert all("fid_train" not in found.metrics for found in before.values())
    monkeypatch.setattr(draw, "_generate", None)  # drawing would fail
    every = plan_sweep(load_sweep(tiny_file))
    schedule = open_schedule(every, trained)
    assert len(schedule.of("waiting")) == 4
    execute(schedule, trained)
    after = scores_in_store(every, trained)
    assert all({"fid_train", "fid_val", "fid_test"} <= set(found.metrics) for found in after.values())
    assert all(after[name].metrics["fid_test"] == before[name].metrics["fid_test"] for name in before)
    assert not open_schedule(few, trained).of("waiting")  # fewer splits are covered by more


def test_a_failure_is_recorded_and_the_next_run_tries_again(
    tiny_plan: Plan, trained: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = first_training(tiny_plan).signature
    shutil.rmtree(trained.folder("trainings", broken))
    original = training_module.run_training

    def failing(store, training, context):
        if training.signature == broken:
            raise RuntimeError("the disk is on fire")
        original(store, training, context)

    monkeypatch.setattr(training_module, "run_training", failing)
    schedule = run_all(tiny_plan, trained)
    assert [p.signature for p in schedule.of("failed")] == [broken]
    assert schedule.failures[broken].message == "RuntimeError: the disk is on fire"
    done = [task for task in schedule.of("done") if task.signature not in schedule.plan.preparations]
    assert len(schedule.of("blocked")) == 2 and len(done) == 3
    folder = trained.folder("trainings", broken)
    assert "the disk is on fire" in json.loads((folder / "failure.json").read_text())["message"]
    assert "Traceback" in (folder / "log.txt").read_text()
    monkeypatch.setattr(training_module, "run_training", original)
    assert not run_all(tiny_plan, trained).of("failed", "blocked")
    assert not (folder / "failure.json").exists()


def test_a_damaged_model_fails_its_evaluations_with_the_remedy(tiny_plan: Plan, trained: Store) -> None:
    training = first_training(tiny_plan)
    path = trained.folder("trainings", training.signature) / "model.safetensors"
    expected = load(path.read_bytes())  # load_file maps the file, which is about to change
    path.write_bytes(path.read_bytes()[:-1] + b"\x00\x01")
    evaluation = next(e for e in tiny_plan.evaluations.values() if e.training.signature == training.signature)
    outcome = perform(trained, evaluation, CONTEXT)
    assert outcome.state == "failed" and "is damaged" in outcome.message and "was set aside" in outcome.message
    with pytest.raises(DamagedFile):
        trained.checked("trainings", training.signature, "model.safetensors")
    assert perform(trained, training, CONTEXT).state == "done"
    found = load_file(path)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_loss_that_is_not_a_number_stops_the_training_with_the_remedy(tiny_file: Path, store: Store) -> None:
    plan = plan_sweep(load_sweep(tiny_file, ("training.lr=1e30",)))
    outcome = perform(store, first_training(plan), CONTEXT)
    assert outcome.state == "failed"
    assert outcome.message.startswith("the ") and "lower training.lr (it is 1e+30)" in outcome.message
    log = (store.folder("trainings", first_training(plan).signature) / "log.txt").read_text()
    assert "Traceback" not in log and outcome.message in log


def test_results_do_not_depend_on_the_sampling_batch_beyond_rounding(
    tiny_plan: Plan, filled: Store, tmp_path: Path
) -> None:
    evaluation = next(iter(tiny_plan.evaluations.values()))
    before = filled.result(EvaluationResult, evaluation.signature)
    forget(filled, evaluation)
    assert perform(filled, evaluation, replace(CONTEXT, sampling_batch=17)).state == "done"
    after = filled.result(EvaluationResult, evaluation.signature)
    assert before is not None and after is not None
    assert after.metrics["fid_test"] == pytest.approx(before.metrics["fid_test"], rel=1e-3)


def test_a_piece_that_somebody_holds_is_left_to_them(tiny_plan: Plan, tmp_path: Path) -> None:
    training = first_training(tiny_plan)
    with Store(tmp_path).lock("trainings", training.signature):
        outcome = perform(Store(tmp_path), training, CONTEXT)
    assert outcome.state == "elsewhere" and f"process {os.getpid()}" in outcome.message


def test_the_classifier_is_accurate_and_recorded(prepared: Path) -> None:
    (path,) = prepared.glob("classifiers/*/result.json")
    assert json.loads(path.read_text())["accuracy"]["test"] >= 0.95


def test_logging_goes_to_the_piece_and_nowhere_else(
    tiny_plan: Plan, store: Store, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    perform(store, first_training(tiny_plan), TrialContext(run_id="x"))
    assert capsys.readouterr() == ("", "")
    assert not [h for h in logging.getLogger("edm_sweep").handlers if isinstance(h, logging.StreamHandler)]


def test_growing_the_grid_runs_the_new_cells_only_and_shrinking_it_none(
    tiny_file: Path, tiny_plan: Plan, filled: Store
) -> None:
    text = tiny_file.read_text()
    tiny_file.write_text(text.replace("[euler, heun]", "[euler, heun, stochastic_heun]"))
    assert execute(open_schedule(plan_sweep(load_sweep(tiny_file)), filled), filled) == ["evaluation"] * 2
    tiny_file.write_text(text.replace("[euler, heun]", "[stochastic_heun]"))
    fewer = plan_sweep(load_sweep(tiny_file))
    assert execute(open_schedule(fewer, filled), filled) == []
    assert list(results_frame(fewer, scores_in_store(fewer, filled))["status"]) == ["done"] * 2


# what a task does before anything is counted ------------------------------------------------------------

FIRST_TASK = """
import sys
from pathlib import Path
from experiments.store.store import Store
from tests.planning import load_sweep, plan_sweep
from experiments.trials.context import TrialContext
from experiments.trials.perform import perform

assert "torch" not in sys.modules
training = next(iter(plan_sweep(load_sweep(sys.argv[1])).trainings.values()))
assert perform(Store(Path(sys.argv[2])), training, TrialContext("run")).state == "done"
"""


def test_the_first_task_of_a_worker_reports_that_torch_is_loaded(
    tiny_file: Path, tiny_plan: Plan, store: Store
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_TASK, tiny_file, store.root], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    log = (store.folder("trainings", first_training(tiny_plan).signature) / "log.txt").read_text()
    lines = re.findall(r"INFO (.*)\n", log)
    phases = ["loading torch", "taking the first steps", "evaluating the loss of the finished network"]
    assert lines[0] == phases[0] and [line for line in lines if line in phases] == phases


def test_a_classifier_that_is_trained_first_is_reported(tiny_plan: Plan, trained: Store) -> None:
    shutil.rmtree(trained.root / "classifiers")
    evaluation = next(iter(tiny_plan.evaluations.values()))
    seen: list[str] = []

    class Watched(Store):
        def stop_requested(self, run_id: str, signature: str | None = None) -> bool:
            progress = TaskProgress.read(self.folder("evaluations", evaluation.signature))
            if progress is not None and progress.phase is not None:
                seen.append(progress.phase)
            return False

    assert perform(Watched(trained.root), evaluation, WATCHFUL).state == "done"
    assert {"loading the feature extractor", "training the feature classifier"} <= set(seen)
