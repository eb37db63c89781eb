"""why: what a cell depends on, what is done, and in which fields the rest differs from finished tasks."""

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from experiments.cli.views.explanation import explanation_view
from experiments.inspection.explain import Explanation, explain, explanation_json
from experiments.runner.resume import open_schedule
from experiments.store.files import newest
from experiments.store.folders import listed
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from experiments.tracking.records import record_plan
from tests.conftest import TINY
from tests.datafiles import image_tree
from tests.planning import load_sweep, plan_sweep


def changed(folder: Path, *changes: tuple[str, str], name: str = "changed") -> Path:
    text = TINY.replace("tiny_digits", name)
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def last_line(found: Explanation) -> str:
    output = io.StringIO()
    Console(width=200, file=output).print(explanation_view(found))
    return output.getvalue().splitlines()[-1]


def remarks(path: Path, cell: str, store: Store) -> dict[str, str]:
    found = explain(f"{path}:{cell}", store)
    return {step.what: step.remark for step in found.undone}


def test_of_a_finished_cell_nothing_is_left(done: tuple[Plan, Store]) -> None:
    _, store = done
    found = explain("attention/euler", store)
    assert [step.what for step in found.steps] == [
        "data set digits",
        "training",
        "feature classifier of digits",
        "reference statistics, classifier features (version 2), 64-d",
        "evaluation",
    ]
    assert not found.undone and last_line(found) == "Nothing is left to do."


def test_of_a_finished_cell_a_deleted_training_is_not_trained_again(done: tuple[Plan, Store]) -> None:
    plan, store = done
    shutil.rmtree(store.root / "trainings")
    found = explain("attention/euler", store)
    assert (found.steps[1].status.state, found.steps[1].needed) == ("planned", False)
    assert last_line(found) == "Nothing is left to do." and not open_schedule(plan, store).of("waiting")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("lr: 2.0e-3", "lr: 1.0e-3", ": training.lr is 0.001, there 0.002"),
        ("channels: 8", "channels: 16", ": model.channels is 16, there 8"),
        ("label_dropout: 0.1}", "label_dropout: 0.1}\nseeds: [7]", ": seed is 7, there 0"),
        (
            "kimg: 0.64, batch_size: 32",
            "kimg: 0.96, batch_size: 16",
            "training.kimg is 0.96, there 0.64; ",
        ),
    ],
)
def test_a_training_that_would_be_repeated_says_in_which_field_it_differs(
    done: tuple[Plan, Store], tmp_path: Path, before: str, after: str, told: str
) -> None:
    plan, store = done
    path = changed(tmp_path, (before, after))
    found = remarks(path, "no-attention/heun", store)
    near = plan.cells[0].training.signature
    assert set(found) == {"training", "evaluation"}
    start = f"differs from the nearest finished training, tiny_digits:no-attention ({near}): "
    assert found["training"].startswith(start) and told in found["training"]
    assert found["evaluation"] == "waits for its training"


def test_a_sampling_field_repeats_no_training(done: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = done
    found = remarks(changed(tmp_path, ("steps: 3", "steps: 4")), "attention/heun", store)
    near = plan.cells[3].evaluation.signature
    start = f"differs from the nearest finished evaluation, tiny_digits:attention/heun ({near}): "
    assert found == {"evaluation": f"{start}sampling.steps is 4, there 3"}


def test_what_changes_no_weight_is_no_difference(done: tuple[Plan, Store], tmp_path: Path) -> None:
    _, store = done
    assert remarks(changed(tmp_path, ("kimg: 0.64", "kimg: 0.64, keep: all")), "attention/heun", store) == {}


def test_a_score_that_is_asked_for_later_draws_nothing(done: tuple[Plan, Store], tmp_path: Path) -> None:
    _, store = done
    asked = changed(tmp_path, ("features: classifier", "features: classifier, metrics: [fid, kid, memorisation]"))
    found = remarks(asked, "attention/heun", store)
    assert found == {
        "reference statistics, classifier features (version 2), 64-d": "prepared once, beside the trainings",
        "evaluation": "new scores: memorisation; computed from features that are in the store",
    }


def test_of_an_empty_store_nothing_is_near(tmp_path: Path, tiny_plan: Plan) -> None:
    store = Store(tmp_path / "store")
    store.create()
    record_plan(tiny_plan, store)
    found = explain("attention/heun", store)
    told = {step.what: step.remark for step in found.undone}
    assert told["training"] == "no training is finished in this store"
    assert told["feature classifier of digits"] == "prepared once, beside the trainings"
    assert last_line(found).startswith("Left to do: data set digits, training, feature classifier")


def test_a_damaged_configuration_is_passed_over(done: tuple[Plan, Store], tmp_path: Path) -> None:
    plan, store = done
    (store.folder("trainings", plan.cells[0].training.signature) / "config.yaml").write_text("{{ not yaml")
    found = remarks(changed(tmp_path, ("lr: 2.0e-3", "lr: 1.0e-3")), "no-attention/heun", store)
    assert plan.cells[2].training.signature in found["training"]  # the other one is the nearest


def test_a_guide_is_a_step_of_its_own(tmp_path: Path, done: tuple[Plan, Store]) -> None:
    path = changed(tmp_path, ("{steps: 3}", "{steps: 3, guidance: 2, guide: {channels: 4}}"), name="guided")
    found = remarks(path, "attention/heun", done[1])
    assert set(found) == {"guide", "evaluation"} and "model.channels is 4, there 8" in found["guide"]


def test_json_has_the_fields(done: tuple[Plan, Store], tmp_path: Path) -> None:
    path = changed(tmp_path, ("lr: 2.0e-3", "lr: 1.0e-3"))
    told = explanation_json(explain(f"{path}:attention/heun", done[1]))
    training = next(step for step in told["steps"] if step["what"] == "training")
    assert training["nearest"]["differences"] == ({"field": "training.lr", "here": 0.001, "there": 0.002},)
    assert told["cell"]["name"] == "attention/heun"


def test_a_sweep_planned_now_is_the_one_of_its_file(done: tuple[Plan, Store], tmp_path: Path) -> None:
    _, store = done
    record_plan(plan_sweep(load_sweep(changed(tmp_path, ("steps: 3", "steps: 5")))), store)
    found = explain("changed:attention/heun", store)
    assert [step.what for step in found.undone] == ["evaluation"]


def test_a_result_that_vanishes_meanwhile_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")  # as a folder is that is listed and then removed
    assert newest(listed(tmp_path, "*"), most=2) == [tmp_path / "there"]
    assert newest(listed(tmp_path / "nowhere", "*"), most=2) == []


def test_other_images_are_told_by_their_numbers(done: tuple[Plan, Store], tmp_path: Path) -> None:
    images = image_tree(tmp_path / "owls", *(f"{kind}/{i}.png" for kind in ("barn", "snowy") for i in range(10)))
    path = changed(tmp_path, ("name: changed", f"name: changed\ndata: {{name: folder, path: {images}, resolution: 8}}"))
    remark = remarks(path, "attention/euler", done[1])["training"]
    assert (
        "(16 train, 2 val, 2 test, 2 classes), there " in remark
        and "(1,197 train, 300 val, 300 test, 10 classes)" in remark
    )
