"""What a person types, and which cells it matches."""

from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.inspection.explain import find
from experiments.inspection.lookup import find_one, tasks_matching
from experiments.store.store import Store
from experiments.sweep.names import matching
from experiments.sweep.plan import Plan
from experiments.tracking.records import record_plan, unknown_sweep
from experiments.trials.context import write_config
from tests.planning import load_sweep, plan_sweep

NAMES = [
    f"{preset}/{attention}/guidance={scale}/{sampler}"
    for preset in ("tiny", "small")
    for attention in ("no-attention", "attention")
    for scale in ("1", "1.5", "2.5")
    for sampler in ("euler", "heun", "stochastic_heun")
]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("tiny/attention/guidance=2.5/heun", 1),  # the name itself
        ("tiny/attention/guidance=2.5/he", 1),  # how it begins
        ("tiny/attention/heun", 3),  # some of its parts
        ("heun", 12),  # a part, and no other part that merely ends or begins so
        ("guidance=1/heun", 4),  # not guidance=1.5
        ("tiny/heun/attention", 0),  # parts in another order
        ("att/he", 6),  # how parts begin: not no-attention
        ("*attention/*heun", 24),
        ("tiny/*/guidance=?.5/heun", 4),
        ("tin", 18),
        ("large", 0),
        ("", 0),
    ],
)
def test_parts_beginnings_and_patterns(text: str, count: int) -> None:
    assert len(matching(text, NAMES)) == count


SWEEP = """\
name: first
model:      {preset: nano}
training:   {kimg: 1}
evaluation: {images: 100, features: classifier}
grid:
  model.attention: [false, true]
  sampling.guidance: [1, 2]
"""


@pytest.fixture
def known(tmp_path: Path) -> tuple[Plan, Store]:
    """A store that remembers two sweeps of one grid, the second of which samples otherwise."""
    store, plans = Store(tmp_path / "store").create(), []
    for name, text in (("first", SWEEP), ("second", SWEEP + "sampling: {steps: 5}\n")):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text.replace("first", name))
        plans.append(plan_sweep(load_sweep(path)))
        record_plan(plans[-1], store)
    return plans[0], store


def test_a_cell_that_two_sweeps_have_is_told_apart_by_its_sweep(known: tuple[Plan, Store]) -> None:
    plan, store = known
    text = "attention/guidance=2"
    with pytest.raises(UserError, match=rf"{text}: matches 2 cells \(first:{text}, second:{text}\); give more"):
        find_one(text, store)
    found = find_one(f"first:{text}", store)
    assert (found.sweep, found.name) == ("first", text)
    assert found.evaluation == plan.cells[3].evaluation.signature
    assert {one.sweep for one in tasks_matching(text, store)} == {"first", "second"}


def test_what_cells_of_one_training_share_is_that_training(known: tuple[Plan, Store]) -> None:
    plan, store = known
    found = find_one("no-attention", store)  # of both sweeps the same
    assert (found.training, found.evaluation) == (plan.cells[0].training.signature, None)


def test_a_cell_and_a_training_of_one_name_are_told_apart_by_their_sweeps(
    known: tuple[Plan, Store], tmp_path: Path
) -> None:
    _, store = known
    path = tmp_path / "third.yaml"
    path.write_text(SWEEP.replace("first", "third").replace("  sampling.guidance: [1, 2]\n", "  training.kimg: [2]\n"))
    path.write_text(path.read_text().replace("  training.kimg: [2]\n", "").replace("kimg: 1", "kimg: 2"))
    record_plan(plan_sweep(load_sweep(path)), store)
    with pytest.raises(
        UserError,
        match=r"attention: matches 3 cells and trainings \(first:attention, second:attention, third",
    ):
        find_one("attention", store)
    assert find_one("third:attention", store).evaluation is not None
    assert find_one("first:attention", store).evaluation is None


def test_signatures_and_how_they_begin(known: tuple[Plan, Store]) -> None:
    plan, store = known
    evaluation = plan.cells[0].evaluation
    with pytest.raises(UserError, match="and no signature; 'edm-sweep plan SWEEP' lists the names"):
        find_one(evaluation.signature, store)  # nothing of it was begun
    for task in (evaluation, evaluation.training):
        folder = store.folder("evaluations" if task is evaluation else "trainings", task.signature)
        folder.mkdir(parents=True)
        write_config(folder, task)
    found = find_one(evaluation.signature[:6], store)
    assert (found.sweep, found.name) == ("first", "no-attention/guidance=1")
    assert find(evaluation.training.signature[:6], store) == evaluation.training
    assert find("first:no-attention/guidance=1", store) == evaluation


def test_a_sweep_file_that_was_never_run_can_be_asked(known: tuple[Plan, Store], tmp_path: Path) -> None:
    _, store = known
    path = tmp_path / "third.yaml"
    path.write_text(SWEEP.replace("first", "third").replace("[1, 2]", "[1, 3]"))
    found = find_one(f"{path}:attention/guidance=3", store)
    assert (found.sweep, found.name) == ("third", "attention/guidance=3")
    with pytest.raises(UserError, match="no such file"):
        find_one(f"{tmp_path / 'fourth.yaml'}:attention", store)


def test_a_sweep_file_of_the_current_folder_that_was_never_run_is_named(
    known: tuple[Plan, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans.yaml").write_text(SWEEP)
    assert unknown_sweep("scans", known[1]).endswith("did you mean scans.yaml?")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("atention/guidence=2", "did you mean 'attention/guidance=2'?"),
        ("guidence=2", "did you mean 'guidance=2'?"),
        ("frist:attention", "frist: no sweep of that name was run with the store"),
        ("frist:attention", "; did you mean 'first'?"),
        ("frist", "did you mean 'first'?"),
        ("first", "first: is a sweep; give one of its cells, which 'edm-sweep status first --all' lists"),
        ("zzz", "no signature; 'edm-sweep plan SWEEP' lists the names of cells"),
    ],
)
def test_a_typing_mistake_is_answered_by_the_nearest_name(known: tuple[Plan, Store], text: str, answer: str) -> None:
    with pytest.raises(UserError) as refusal:
        find_one(text, known[1])
    assert answer in str(refusal.value)
