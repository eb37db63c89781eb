"""Doing results again that other code has made: exactly these, and what depends on them."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.runner import recompute
from experiments.runner.options import Options
from experiments.runner.recompute import make_room, with_dependents
from experiments.runner.resume import open_schedule
from experiments.store.layout import REPLACED, RESULT
from experiments.store.result_files import read_result, with_checksum
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.sweep.code_changes import changes_of
from experiments.sweep.code_parts import EdmCode
from experiments.sweep.plan import Plan
from tests.commandline import invoke
from tests.inprocess import execute
from tests.othercode import COMMENT, FRECHET, HEUN, TRAINING, UNIPC, Edit, copy_with, point_at

AGAIN = Options(recompute=True)


def done_again(plan: Plan, store: Store) -> Counter[str]:
    schedule = open_schedule(plan, store, AGAIN)
    make_room(schedule, store)
    kinds = Counter(execute(schedule, store))
    assert not schedule.failures
    return kinds


@pytest.mark.parametrize(
    ("edit", "kinds"),
    [
        (COMMENT, {}),
        (UNIPC, {}),
        (HEUN, {"evaluation": 2}),
        (FRECHET, {"references": 1, "evaluation": 4}),
    ],
)
def test_only_what_changed_code_made_is_done_again(
    edit: Edit, kinds: dict[str, int], done: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = done
    point_at(monkeypatch, copy_with(tmp_path / "other", edit))
    assert open_schedule(plan, store).counts["waiting"] == 0  # without the option all stays as it is
    assert done_again(plan, store) == kinds
    assert changes_of(plan, store) == {}
    assert done_again(plan, store) == {}


def test_a_run_of_some_cells_speaks_of_no_other(
    done: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_file: Path
) -> None:
    plan, store = done
    point_at(monkeypatch, copy_with(tmp_path / "other", HEUN))
    assert len(open_schedule(plan, store, AGAIN).changes) == 2
    assert open_schedule(plan, store, replace(AGAIN, only=("euler",))).changes == {}
    asked = ("plan", tiny_file, "--store", store.root, "--only")
    (line,) = [line for line in invoke(*asked, "heun").stdout.splitlines() if "other code" in line]
    assert f"--recompute changed --store {store.root}; if they are the same" in line
    told = json.loads(invoke(*asked, "euler", "--json").stdout)
    assert (told["cells"], len(told["evaluations"]), told["other_code"]) == (2, 2, [])


def test_trainings_are_done_again_with_their_evaluations(
    done: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = done
    before = {s: store.finished(EvaluationResult, s).metrics for s in plan.evaluations}
    point_at(monkeypatch, copy_with(tmp_path / "other", TRAINING))
    assert done_again(plan, store) == {"training": 2, "evaluation": 4}
    assert {s: store.finished(EvaluationResult, s).metrics for s in plan.evaluations} == before  # the edit changes none
    assert len(list((store.root / REPLACED / "trainings").iterdir())) == 2


def test_scores_alone_are_computed_again_from_the_images_that_are_there(
    done: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = done
    point_at(monkeypatch, copy_with(tmp_path / "other", FRECHET))
    make_room(open_schedule(plan, store, AGAIN), store)
    moved = {folder.name for folder in (store.root / REPLACED).iterdir()}
    assert moved == {"evaluations", "reference_statistics", "references", "scales"}


def test_an_evaluation_of_unknown_code_follows_its_training(done: tuple[Plan, Store]) -> None:
    plan = done[0]
    training = next(iter(plan.trainings))
    own = {s for s, evaluation in plan.evaluations.items() if evaluation.training.signature == training}
    assert with_dependents(plan, [training]) == {training, *own}
    everything = {*plan.sources, *plan.preparations, *plan.trainings, *plan.evaluations}
    assert with_dependents(plan, list(plan.sources)) == everything


def test_a_dry_run_moves_nothing(done: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = done
    point_at(monkeypatch, copy_with(tmp_path / "other", HEUN))
    schedule = open_schedule(plan, store, AGAIN)
    assert schedule.counts["waiting"] == 2 and not (store.root / REPLACED).exists()


def test_new_scores_of_old_images_stay_marked(
    done: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that other code drew are scored anew by today's: the result says that both made it."""
    plan, store = done
    evaluation = next(task for task in plan.evaluations.values() if task.sampling.sampler == "heun")
    path = store.folder("evaluations", evaluation.signature) / RESULT
    path.write_text(json.dumps(with_checksum({**(read_result(path) or {}), "scores": []})))
    old = EdmCode.of_this_version().digest("sampler/heun")
    point_at(monkeypatch, copy_with(tmp_path / "other", HEUN))
    execute(open_schedule(plan, store), store)
    assert store.finished(EvaluationResult, evaluation.signature).code["sampler/heun"] == old
    assert evaluation.signature in changes_of(plan, store)


def test_what_another_run_has_moved_first_is_passed_over(
    done: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = done
    signature = next(iter(plan.evaluations))
    folder, place = store.folder("evaluations", signature), store.root / "there"

    def places(*_: object) -> Iterator[Path]:
        folder.rename(store.root / "moved by another run")
        yield place

    monkeypatch.setattr(recompute, "_places", places)
    recompute._replace(store, "evaluations", signature)
    assert not place.exists() and not folder.exists()
