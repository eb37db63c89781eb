"""Frames of results: what is pruned, what memory forced, the same from the store and from MLflow."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.store.results import ComputingRecord, TrainingResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking.database import embedded_uri
from experiments.tracking.frames import (
    EvaluationScores,
    TrainingSummary,
    add_training_notes,
    results_frame,
    scores_in_store,
)
from experiments.tracking.mirror import Mirror
from experiments.tracking.remote import ServerRecord
from reports.layout import Layout
from reports.notes import remarks, state_line
from reports.tables import result_tables
from tests.inprocess import run_all
from tests.planning import load_sweep, plan_sweep

NOTE = "trained in micro-batches of 8 of 32 for want of memory: batch norm saw the smaller ones"


def frames(plan: Plan, store: Store):
    """The frame from the store and from MLflow, which has to be the same."""
    uri = embedded_uri(store)
    Mirror(store, plan, uri).update(ended=True)
    made = results_frame(plan, scores_in_store(plan, store))
    assert results_frame(plan, ServerRecord(plan, uri).scores(store)).to_csv() == made.to_csv()
    return made


def test_cells_of_a_pruned_training_are_pruned_and_not_missing(tiny_plan: Plan, store: Store) -> None:
    name, other = tiny_plan.trainings
    for evaluation in [e for e in tiny_plan.evaluations.values() if e.training.signature == name]:
        tiny_plan.evaluations.pop(evaluation.signature)  # never begun
    tiny_plan.trainings.pop(name)
    run_all(tiny_plan, store)
    folder = store.folder("trainings", name)
    folder.mkdir(parents=True)
    (folder / "pruned.json").write_text(json.dumps({"kimg": 0.32, "val_loss": 2.5, "time": 0}))
    for planned in tiny_plan.cells:
        tiny_plan.trainings.setdefault(planned.training.signature, planned.training)
        tiny_plan.evaluations.setdefault(planned.evaluation.signature, planned.evaluation)
    made = frames(tiny_plan, store).set_index("training")
    assert made.loc[name, "status"].tolist() == ["pruned"] * 2 and made.loc[name, "pruned_at"].tolist() == [0.32] * 2
    assert made.loc[name, "fid_test"].isna().all() and "stopped_at" not in made
    assert made.loc[other, "status"].tolist() == ["done"] * 2 and made.loc[other, "pruned_at"].isna().all()
    made = made.reset_index()
    (table,) = result_tables(made, Layout("t", ("model.attention", "sampling.sampler"), metrics=("fid_test",)))
    assert [line[0].text for _, line in table.rows][:2] == ["pruned at 0.32 kimg"] * 2
    assert state_line(made) == "4 cells, 2 pruned"


def test_a_pruned_training_that_was_finished_after_all_leaves_no_trace(tiny_plan: Plan, filled: Store) -> None:
    folder = filled.folder("trainings", next(iter(tiny_plan.trainings)))
    done = {path: path.with_name("later") for path in (folder / "result.json", filled.root / "evaluations")}
    for path, later in done.items():
        path.rename(later)
    (folder / "pruned.json").write_text(json.dumps({"kimg": 0.32, "val_loss": 2.5, "time": 0}))
    assert set(frames(tiny_plan, filled)["status"]) == {"pruned", "missing"}
    (folder / "pruned.json").unlink()
    for path, later in done.items():
        later.rename(path)
    made = frames(tiny_plan, filled)
    assert set(made["status"]) == {"done"} and "pruned_at" not in made


def test_a_cell_is_pruned_where_its_guide_is(tiny_file: Path) -> None:
    guided = ("sampling.guide={channels: 4}", "sampling.guidance=2")
    plan = plan_sweep(load_sweep(tiny_file, guided))
    guide = next(iter(plan.evaluations.values())).guide
    assert guide is not None
    trained = dict.fromkeys(plan.trainings, TrainingSummary()) | {guide.signature: TrainingSummary(pruned_at=3.0)}
    made = results_frame(plan, add_training_notes(plan, {}, trained))
    assert made.loc[0, "status"] == "pruned" and made.loc[0, "pruned_at"] == 3


def test_micro_batches_that_memory_forced_are_in_the_notes_of_their_cells(tiny_plan: Plan, filled: Store) -> None:
    name, other = tiny_plan.trainings
    result = filled.result(TrainingResult, name)
    assert result is not None
    filled.finish(name, replace(result, computing=ComputingRecord("fp32", False, micro_batch=8)), result.files)
    made = frames(tiny_plan, filled).set_index("training")
    assert [note.count(NOTE) for note in made.loc[name, "notes"]] == [1, 1]
    assert not any("micro" in note for note in made.loc[other, "notes"])
    sentence = NOTE[0].upper() + NOTE[1:]
    (line,) = (line for line in remarks(made.reset_index()) if sentence in line)
    assert line == f"{sentence} (cells no-attention/euler, no-attention/heun)"


@pytest.mark.parametrize(
    ("overrides", "used", "is_told"),
    [
        ((), 16, True),
        ((), None, False),
        ((), 32, False),
        (("training.micro_batch=16",), 16, False),
        (("training.micro_batch=16",), 8, True),
        (("model.norm=group",), 16, False),
    ],
)
def test_only_what_makes_another_network_than_asked_for_is_told(
    tiny_file: Path, overrides: tuple[str, ...], used: int | None, is_told: bool
) -> None:
    plan = plan_sweep(load_sweep(tiny_file, overrides))
    done = dict.fromkeys(plan.evaluations, EvaluationScores({}, frozenset(), ("a note",)))
    known = add_training_notes(plan, done, dict.fromkeys(plan.trainings, TrainingSummary(micro_batch=used)))
    for found in known.values():
        assert found.notes[0] == "a note" and len(found.notes) == 1 + is_told
        assert not any("; " in note for note in found.notes)
