"""Which results count as made by other code, and who vouches for them."""

import json
from pathlib import Path

import pytest

from experiments.code_cache import EQUIVALENT
from experiments.store.code_files import code_path
from experiments.store.layout import ACCEPTED, BEGUN_WITH, RESULT
from experiments.store.result_files import read_result, with_checksum
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.sweep.code_changes import accept, acceptances, change_of, changes_of, made_by
from experiments.sweep.code_parts import EdmCode, parts_of
from experiments.sweep.plan import Plan
from tests.othercode import COMMENT, DIGITS, EULER, FRECHET, HEUN, NETWORK, TRAINING, UNIPC, Edit, copy_with, point_at

pytestmark = pytest.mark.usefixtures("few_statistics")

CELLS = {"no-attention/euler", "no-attention/heun", "attention/euler", "attention/heun"}
TRAININGS = {"no-attention", "attention"}
SHARED = {"feature-classifier/digits", "reference-statistics/digits"}


def changed_names(plan: Plan, store: Store) -> set[str]:
    return {plan.names[signature] for signature in changes_of(plan, store)}


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Returns a function that points the tool at a copy of edm/ with some edits."""

    def edited(*edits: Edit) -> Path:
        folder = copy_with(tmp_path / f"other{len(list(tmp_path.iterdir()))}", *edits)
        point_at(monkeypatch, folder)
        return folder

    return edited


@pytest.mark.parametrize(
    ("edits", "marked"),
    [
        ([], set()),
        ([COMMENT], set()),
        ([UNIPC], set()),
        ([HEUN], {"no-attention/heun", "attention/heun"}),
        ([EULER], CELLS),  # Heun's method takes Euler's steps
        ([FRECHET], {*CELLS, "reference-statistics/digits"}),
        ([TRAINING], {*TRAININGS, *CELLS}),
        ([NETWORK], {*TRAININGS, *CELLS}),
        ([DIGITS], {"data/digits", *SHARED, *TRAININGS, *CELLS}),
        ([("edm/samplers.py", "def heun(", "def renamed("), ("edm/samplers.py", "(heun", "(renamed")], set()),
        ([("edm/samplers.py", "there = ", "point = "), ("edm/samplers.py", "there.slope", "point.slope")], set()),
    ],
)
def test_an_edit_marks_what_it_made_and_nothing_else(
    edits: list[Edit], marked: set[str], finished: tuple[Plan, Store], other
) -> None:
    other(*edits)
    assert changed_names(*finished) == marked


def test_a_change_names_the_functions_and_the_commit(finished: tuple[Plan, Store], other) -> None:
    other(HEUN)
    changes = changes_of(*finished)
    assert {change.functions for change in changes.values()} == {("edm.samplers.heun",)}
    result = finished[1].finished(EvaluationResult, next(iter(changes)))
    since = (result.provenance.git_commit or "")[:7] or "edm-sweep"
    assert since in next(iter(changes.values())).text


def test_a_change_without_earlier_definitions_names_the_part(done: tuple[Plan, Store], other) -> None:
    plan, store = done
    signature = next(iter(plan.evaluations))
    code_path(store, store.finished(EvaluationResult, signature).code["sampler/euler"]).unlink()
    other(EULER)
    assert changes_of(plan, store)[signature].functions == ("the part 'sampler/euler'",)


def test_results_without_code_are_taken_as_they_are(done: tuple[Plan, Store], other) -> None:
    plan, store = done
    for task in [
        *plan.sources.values(),
        *plan.preparations.values(),
        *plan.trainings.values(),
        *plan.evaluations.values(),
    ]:
        path = store.folder_of(task) / RESULT
        content = read_result(path) or {}
        content.pop("code")
        path.write_text(json.dumps(with_checksum(content)))
    other(HEUN, NETWORK, DIGITS)
    assert changes_of(plan, store) == {}


def test_accepted_results_count_as_todays_until_the_next_change(done: tuple[Plan, Store], other) -> None:
    plan, store = done
    other(HEUN)
    for signature, change in changes_of(plan, store).items():
        accept(store, plan.evaluations[signature], change)
    assert changes_of(plan, store) == {}
    other(HEUN, ("edm/samplers.py", " / 2.1\n", " / 2.2\n"))
    assert changed_names(plan, store) == {"no-attention/heun", "attention/heun"}


def test_an_acceptance_says_who_and_when(done: tuple[Plan, Store], other) -> None:
    plan, store = done
    other(HEUN)
    (signature, change), *_ = changes_of(plan, store).items()
    accept(store, plan.evaluations[signature], change)
    (kept,) = acceptances(store.folder("evaluations", signature))
    assert "@" in kept.by and kept.time.endswith("Z") and set(kept.code) == {"sampler/heun"}
    assert (store.folder("evaluations", signature) / ACCEPTED).exists()


def test_code_that_a_developer_vouches_for_marks_nothing(finished: tuple[Plan, Store], other) -> None:
    plan, store = finished
    before = EdmCode.of_this_version().digest("sampler/heun")
    folder = other(HEUN)
    today = EdmCode(folder).digest("sampler/heun")
    (folder / EQUIVALENT).write_text(json.dumps({"sampler/heun": [{"outputs": {}, "code": [before, today]}]}))
    point = EdmCode(folder)
    assert point.equivalent("sampler/heun") == {before, today}
    other_group = {"sampler/heun": [{"outputs": {}, "code": [before]}, {"outputs": {}, "code": [today]}]}
    assert changes_of(plan, store) == {}
    (folder / EQUIVALENT).write_text(json.dumps(other_group))
    assert EdmCode(folder).equivalent("sampler/heun") == {today}


def test_an_unfinished_task_that_other_code_began_is_known(done: tuple[Plan, Store], other) -> None:
    plan, store = done
    training = next(iter(plan.trainings.values()))
    folder = store.folder("trainings", training.signature)
    (folder / RESULT).unlink()
    (folder / BEGUN_WITH).write_text(
        json.dumps({part: EdmCode.of_this_version().digest(part) for part in parts_of(training)})
    )
    assert changes_of(plan, store) == {}
    other(TRAINING)
    made = made_by(store, training)
    change = change_of(store, training, made) if made is not None else None
    assert change is not None and change.functions == ("edm.train.COMPILE_STEPS",)
