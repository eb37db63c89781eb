"""diff: two cells side by side, the errors of differences paired by image."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from experiments.cli.views.comparison import comparison_view
from experiments.errors import UserError
from experiments.inspection.compare import ComparedNumber, compare, comparison_json
from experiments.inspection.config_diff import FieldDifference
from experiments.store.results import EvaluationResult
from experiments.store.store import Store
from experiments.sweep.plan import Plan
from reports.metrics import CHANCE_NOTE, NORMAL_95


def printed(found) -> str:
    output = io.StringIO()
    Console(width=160, file=output).print(comparison_view(found))
    return output.getvalue()


def test_cells_differ_in_what_their_axes_say_and_in_numbers(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    found = compare("attention/heun", "attention/euler", store)
    assert [(d.field, d.here, d.there) for d in found.fields] == [("sampling.sampler", "heun", "euler")]
    heun, euler = plan.cells[3].evaluation, plan.cells[2].evaluation
    results = [store.finished(EvaluationResult, e.signature) for e in (heun, euler)]
    number = next(number for number in found.numbers if number.metric == "fid_test")
    assert [number.here, number.there] == [result.metrics["fid_test"] for result in results]
    assert number.difference == pytest.approx(number.here - number.there)
    times = (FieldDifference("began", "10:00:00", "10:00:01"), FieldDifference("time", "10:00:02", "10:00:03"))
    heads = [line.split()[0] for line in printed(replace(found, provenance=times)).splitlines() if line.strip()]
    assert "began" in heads and "ended" in heads and "time" not in heads


def test_the_error_of_a_difference_is_paired_by_image(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    found = compare("attention/heun", "attention/euler", store)
    own, other = (
        load_file(store.folder("evaluations", plan.cells[i].evaluation.signature) / "influences.safetensors")
        for i in (3, 2)
    )
    numbers = [number for number in found.numbers if number.metric in own]
    assert {number.metric for number in numbers} == own.keys()
    for number in numbers:
        difference = own[number.metric].astype(np.float64) - other[number.metric].astype(np.float64)
        assert number.error == pytest.approx(difference.std(ddof=1) / len(difference) ** 0.5)
        assert number.is_significant == (abs(number.difference or 0.0) > NORMAL_95 * (number.error or 0.0))


def test_a_cell_and_itself_differ_in_nothing(finished: tuple[Plan, Store]) -> None:
    found = compare("attention/heun", "attention/heun", finished[1])
    assert found.fields == found.provenance == ()
    assert "fid_test" in {number.metric for number in found.numbers}
    assert all(number.difference in (0, None) and not number.is_significant for number in found.numbers)
    assert "configuration: no differences" in printed(found)


def test_trainings_compare_by_their_losses(finished: tuple[Plan, Store]) -> None:
    found = compare("attention", "no-attention", finished[1])
    assert {d.field for d in found.fields} == {"model.attention"}
    assert [number.metric for number in found.numbers] == ["loss", "val_loss"]


def test_what_is_not_there_yet_is_told_as_such(done: tuple[Plan, Store]) -> None:
    plan, store = done
    (store.folder("evaluations", plan.cells[3].evaluation.signature) / "result.json").unlink()
    found = compare("attention/heun", "attention/euler", store)
    number = next(number for number in found.numbers if number.metric == "fid_test")
    assert number.here is None and number.difference is None and number.is_significant is None
    assert "—" in printed(found)


def test_a_cell_does_not_compare_with_a_training(finished: tuple[Plan, Store]) -> None:
    with pytest.raises(UserError, match="attention: is a training, but the other is a cell"):
        compare("attention/heun", "attention", finished[1])


def test_both_shapes_hold_the_same(finished: tuple[Plan, Store]) -> None:
    found = compare("attention/heun", "no-attention/heun", finished[1])
    told, text = json.loads(json.dumps(comparison_json(found))), printed(found)
    assert told["here"]["name"] == "attention/heun" and "model.attention" in text
    number = next(number for number in told["numbers"] if number["metric"] == "fid_test")
    assert f"{number['here']:.1f} ± " in text and f"{number['difference']:+.1f} ± " in text and "FID test" in text


def test_errors_that_rounding_left_are_not_shown(finished: tuple[Plan, Store]) -> None:
    found = compare("attention/heun", "no-attention/heun", finished[1])
    number = ComparedNumber("class_accuracy", 0.1, 0.2, 1.4e-17, 2.8e-17, 3e-17)
    text = printed(replace(found, numbers=(number,)))
    assert number.is_significant is None and "10.0 %" in text and "0.000" not in text


def test_the_interval_of_a_copied_share_is_explained(finished: tuple[Plan, Store]) -> None:
    found = compare("attention/heun", "attention/euler", finished[1])
    assert CHANCE_NOTE not in printed(found)
    copied = ComparedNumber("nn_copied_pixels", 0.1, 0.2, 0.02, 0.02, 0.01)
    shown = printed(replace(found, numbers=(copied,)))
    assert CHANCE_NOTE in shown and "-10.0 ± 2.0 %" in shown
