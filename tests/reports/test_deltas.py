"""Differences to a baseline, main effects, costs and what is shown of cells that are not done."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from experiments.tracking.frames import ABSENT
from reports.deltas import significant_in_words
from reports.effects import Effect, main_effects
from reports.layout import Layout
from reports.notes import reading_notes
from reports.significance import PairedErrors, Sample
from reports.table import ResultTable
from reports.tables import result_tables
from reports.tidy import tidy_frame
from tests.reports.frames import DIGITS, LAYOUT, digits, errors_of, frame, full, with_errors

COMPARED = replace(LAYOUT, metrics=("fid_test",), baseline={"model.attention": True})


def column(table: ResultTable, head: str) -> list[str]:
    (i,) = (i for i, text in enumerate(table.number_heads) if text == head)
    return [entry.text for entry in table.columns[i]]


def paired(made, error: float, correlation: float) -> dict[str, PairedErrors]:
    count = len(made)
    matrix = error**2 * (correlation + (1 - correlation) * np.eye(count))
    return {"fid_test": errors_of(tuple(made["cell"]), matrix)}


def test_every_entry_is_compared_with_its_own_baseline() -> None:
    made = with_errors(frame(fid_test=[10.0, 11.0, 20.0, 22.5]))
    (table,) = result_tables(made, COMPARED, paired(made, 0.2, 0.9))
    error = 1.96 * math.sqrt(2 * 0.04 * 0.1)
    assert column(table, "Δ FID test") == [
        f"-1.00 ± {error:.2f} (p < 0.001)",
        "baseline",
        f"-2.50 ± {error:.2f} (p < 0.001)",
        "baseline",
    ]
    corrected = "Significant at 95% after Holm's correction for this table's 2 differences: all."
    assert table.blocks_below[0] == ("Δ: the difference to attention=yes.", corrected)


def test_without_known_errors_a_difference_has_no_interval_and_no_p() -> None:
    (table,) = result_tables(frame(fid_test=[10.0, 11.0, 20.0, np.nan]), COMPARED)
    assert column(table, "Δ FID test") == ["-1.000", "baseline", "—", "baseline"]


def test_the_error_under_chance_makes_no_interval_of_a_difference() -> None:
    made = frame(nn_copied_pixels=[0.1, 0.2, 0.3, 0.5], nn_copied_pixels_se=0.02)
    layout = replace(COMPARED, metrics=("nn_copied_pixels",))
    (table,) = result_tables(made, layout)
    assert column(table, "copied, pixels")[0] == "10.0 ± 3.9 %"
    assert column(table, "Δ copied, pixels") == ["-10.0 %", "baseline", "-20.0 %", "baseline"]
    assert all(effect.margin is None for effect in table.effects)
    errors = {"nn_copied_pixels": errors_of(tuple(made["cell"]), 0.01**2 * np.eye(4))}
    (table,) = result_tables(made, layout, errors)
    assert column(table, "Δ copied, pixels")[0] == "-10.0 ± 2.8 % (p < 0.001)"


def test_a_difference_of_infinite_numbers_is_unknown() -> None:
    values = [1.0, 2.0, math.inf, 1.0, 1.1, 1.2, math.inf, 2.0, 3.0, math.inf, 2.0, 3.0]
    compared = replace(COMPARED, metrics=("nn_ratio_pixels",))
    (table,) = result_tables(frame(seeds=3, nn_ratio_pixels=values), compared)
    assert column(table, "Δ distance ratio, pixels") == ["+inf", "baseline", "—", "baseline"]
    assert column(table, "distance ratio, pixels")[0] == "inf"


def test_differences_of_seeds_are_paired_by_seed() -> None:
    made = frame(seeds=3, fid_test=[1.0, 5, 9, 2.1, 6.0, 10.2, 1, 2, 3, 1, 2, 3])
    (table,) = result_tables(made, COMPARED)
    differences = np.array([-1.1, -1.0, -1.2])
    margin = 4.303 * differences.std(ddof=1) / math.sqrt(3)
    assert column(table, "Δ FID test")[0].startswith(f"-1.10 ± {margin:.2f} (p 0.0027")


def test_main_effects_are_means_over_all_other_axes() -> None:
    made = with_errors(frame(fid_test=[10.0, 11.0, 20.0, 22.0]))
    (table,) = result_tables(made, LAYOUT, paired(made, 0.2, 0.5))
    preset, attention = table.effects
    assert preset.mean == pytest.approx(10.5) and (preset.num_agreeing, len(preset.differences)) == (2, 2)
    assert attention.mean == pytest.approx(1.5) and attention.is_significant
    error = math.sqrt(0.04 * 0.5 * 4 * 0.25)  # four cells with weights of one half, whose common part cancels
    assert attention.margin == pytest.approx(1.96 * error, rel=1e-3)
    assert attention.text == "attention, yes instead of no: +1.50 ± 0.28 FID test, higher in 2 of 2 pairs"


def test_an_effect_whose_pairs_disagree_shows_how_far() -> None:
    made = with_errors(frame(fid_test=[10.0, 11.0, 20.0, 19.5]))
    (table,) = result_tables(made, LAYOUT, paired(made, 0.2, 0.5))
    assert table.effects[1].text.endswith("+0.25 ± 0.28 FID test, higher in 1 of 2 pairs (-0.50 to +1.00)")


def test_main_effects_of_seeds_have_an_interval_over_seeds() -> None:
    made = frame(seeds=3, fid_test=[1.0, 2, 3, 2, 3.1, 4.2, 5, 6, 7, 6, 7.1, 8.2])
    (table,) = result_tables(made, LAYOUT)
    attention = table.effects[1]
    assert attention.mean == pytest.approx(1.1)
    assert attention.margin == pytest.approx(4.3027 * 0.1 / math.sqrt(3), rel=1e-3)


def test_an_effect_and_its_interval_are_of_the_seeds_that_all_cells_have() -> None:
    made = frame(seeds=3, fid_test=[1.0, 2, 90, 2, 3.1, np.nan, 5, 6, 7, 6, 7.1, 8.2])  # a missing one would cost 86
    (table,) = result_tables(made, LAYOUT)
    attention = table.effects[1]
    assert attention.differences == pytest.approx((1.05, 1.05)) and attention.mean == pytest.approx(1.05)
    assert attention.margin == pytest.approx(12.706 * 0.05, rel=1e-3), "1.0 with one seed, 1.1 with the other"


def test_an_effect_leaves_out_pairs_that_lack_seeds() -> None:
    made = frame(seeds=2, fid_test=[1.0, 9.0, 3.0, 11.2, 5, 5.5, 60, np.nan])
    (table,) = result_tables(made, LAYOUT)
    attention = table.effects[1]
    assert attention.differences == pytest.approx((2.1,)) and attention.margin == pytest.approx(12.706 * 0.1, rel=1e-3)
    size = "attention, yes instead of no: +2.1 ± 1.3 FID test"
    assert attention.text == f"{size}, higher in the only complete pair, 1 more left out for lack of seeds"
    assert any("leaves out pairs that lack seeds" in note for note in reading_notes([table]))
    (whole,) = result_tables(made.assign(fid_test=np.arange(8.0)), LAYOUT)
    assert not any("left out" in effect.text for effect in whole.effects)
    assert not any("leaves out" in note for note in reading_notes([whole]))


def effect_of(*pairs: tuple[list[int], list[int]]) -> Effect:
    """The effect of an axis on pairs of cells with these seeds; the scores are 0 and, for all seeds but 0, 1."""
    samples = {
        (i, side): Sample(tuple(seeds), tuple(f"{i}{side}{seed}" for seed in seeds), scores, (0.1,) * len(seeds))
        for i, pair in enumerate(pairs)
        for side, seeds in enumerate(pair)
        for scores in [tuple(float(side and seed > 0) for seed in seeds)]
    }
    axes = ("a", "b")
    return next(effect for effect in main_effects(samples, axes, axes, "fid_test", {}, None) if effect.axis == "b")


def test_an_effect_is_of_the_pairs_and_seeds_that_hold_most_scores() -> None:
    three, two = [0, 1, 2], [0, 1]
    found = effect_of((three, three), (two, three))
    assert found.mean == 0.5 and found.num_left_out == 0, "2 pairs of 2 seeds hold more than 1 of 3"
    found = effect_of(*[(three, three)] * 3, (two, three))
    assert found.mean == pytest.approx(2 / 3) and found.num_left_out == 1, "3 pairs of 3 seeds hold more than 4 of 2"
    found = effect_of((three, three), (three, two), (three, [0, 2]), (two, three))
    assert found.mean == 0.5 and found.num_left_out == 1, "3 pairs have seeds 0 and 1"


@pytest.mark.parametrize(("few", "mean"), [(([0, 1, 2], [0]), 0.125), (([0], [1]), 0.875)])
def test_an_effect_with_too_few_seeds_in_common_has_no_interval(few: tuple, mean: float) -> None:
    found = effect_of(([0, 1], [0, 1]), few, few, few)
    assert found.mean == mean, "of the seeds that both cells of a pair have, or of two means"
    assert found.margin is None and len(found.differences) == 4 and found.num_left_out == 0
    assert found.text.endswith(", too few seeds in common for an interval")


def test_an_effect_of_one_seed_needs_no_seeds_in_common() -> None:
    found = effect_of(([0], [0]), ([0], [0]))
    assert found.margin == pytest.approx(1.96 * 0.2, rel=1e-3) and not found.lacks_seeds


def test_a_difference_without_a_test_is_over_common_seeds() -> None:
    made = frame(seeds=2, fid_test=[1.0, 9.0, 3.0, np.nan, np.nan, 5.5, 60, np.nan])
    (table,) = result_tables(made, COMPARED)
    assert column(table, "Δ FID test") == ["-2.00 (1 seed)", "baseline", "-54.50", "baseline"]


def test_without_a_covariance_an_effect_has_the_widest_interval() -> None:
    (table,) = result_tables(with_errors(frame(), 0.2), LAYOUT)
    assert table.effects[1].margin == pytest.approx(1.96 * 0.4, rel=1e-3)


def test_effects_that_two_layouts_share_are_listed_once() -> None:
    pivot = replace(DIGITS, rows=DIGITS.rows[:3], columns=DIGITS.rows[3:], metrics=("fid_test",), name="By sampler")
    compared = replace(pivot, baseline={"sampling.sampler": "heun"})
    counts = [len(table.effects) for table in result_tables(digits(), (DIGITS, pivot, compared))]
    assert counts == [5, 0, 5], "the baseline of the last one changes what values are compared with"


def test_effects_are_taken_against_the_baseline() -> None:
    (table,) = result_tables(digits(), replace(DIGITS, baseline={"sampling.sampler": "heun"}))
    samplers = [effect for effect in table.effects if effect.axis == "sampler"]
    assert [(effect.value, effect.base) for effect in samplers] == [("euler", "heun"), ("stochastic_heun", "heun")]


def ablation() -> pd.DataFrame:
    """Five cells, of which each but the first changes something of it."""
    made = pd.concat([frame(fid_test=[10.0, 11, 12, 13]), frame(fid_test=[14.0, 0, 0, 0]).head(1)], ignore_index=True)
    made["model.preset"], made["model.attention"] = "nano", [True, False, True, True, True]
    made["training.optimizer"] = ["adam", "adam", "lion", "lion", "adam"]
    made["training.optimizer_options.beta"] = [ABSENT, ABSENT, 0.9, 0.95, ABSENT]
    made["training.lr"] = [0.1, 0.1, 0.1, 0.2, 0.2]
    made["cell"] = [f"cell {i}" for i in range(5)]
    return made


ABLATED = replace(
    LAYOUT,
    rows=("model.attention", "training.optimizer", "training.optimizer_options.beta", "training.lr"),
    metrics=("fid_test",),
    changes=True,
)


def test_rows_are_labelled_by_what_they_change_of_the_first() -> None:
    (table,) = result_tables(ablation(), ABLATED)
    labels = ["baseline", "attention=no", "optimizer=lion, beta=0.9", "optimizer=lion, beta=0.95, lr=0.2", "lr=0.2"]
    assert table.row_heads == table.plain_heads == ("change",)
    assert table.row_labels == labels and [names for names, _ in table.rows] == [(label,) for label in labels]
    assert column(table, "Δ FID test") == ["baseline", "+1.000", "+2.000", "+3.000", "+4.000"]
    assert table.blocks_below[0] == ("Δ: the difference to the baseline, attention=yes, optimizer=adam, lr=0.1.",)
    assert table.row_axes[1]["model.attention"] == "no", "the page's filters still know the axes"


def test_changes_are_of_the_given_baseline_and_stay_within_a_column() -> None:
    (table,) = result_tables(ablation(), replace(ABLATED, baseline={"training.lr": 0.2}))
    assert table.row_labels[0] == "lr=0.1" and table.row_labels[4] == "baseline"
    assert column(table, "Δ FID test")[0] == "-4.000"
    pivot = replace(ABLATED, rows=ABLATED.rows[:3], columns=("training.lr",))
    (table,) = result_tables(ablation(), pivot)
    assert table.row_labels == ["baseline", "attention=no", "optimizer=lion, beta=0.9", "optimizer=lion, beta=0.95"]
    assert column(table, "lr=0.2 Δ FID test") == ["baseline", "—", "—", "-1.000"]


def test_differences_that_stay_significant_after_a_correction_are_named() -> None:
    start = "Significant at 95% after Holm's correction for this table's 3 differences: "
    assert significant_in_words([("a", 0.0166), ("b", 0.04), ("c", 0.9)]) == f"{start}a."
    assert significant_in_words([("a", 0.016), ("b", 0.024), ("c", 0.9)]) == f"{start}a; b."
    assert significant_in_words([("a", 0.02), ("b", 0.03), ("c", 0.04)]) == f"{start}none."
    assert significant_in_words([("a", 0.01)]) == ""


def test_a_baselines_open_axes_are_as_in_the_first_row_that_has_it() -> None:
    (table,) = result_tables(ablation(), replace(ABLATED, baseline={"training.optimizer": "lion"}))
    assert table.row_labels[2:4] == ["baseline", "beta=0.95, lr=0.2"]
    assert column(table, "Δ FID test") == ["-2.000", "-1.000", "baseline", "+1.000", "+2.000"]


def test_options_go_with_the_value_that_had_them() -> None:
    (table,) = result_tables(ablation(), replace(ABLATED, changes=False, baseline={"training.optimizer": "adam"}))
    assert column(table, "Δ FID test") == ["baseline", "baseline", "+2.000", "-1.000", "baseline"]
    (effect,) = (effect for effect in table.effects if effect.axis == "optimizer")
    assert effect.differences == pytest.approx((2.0, -1.0))
    (table,) = result_tables(ablation(), replace(ABLATED, changes=False, baseline={"training.optimizer": "lion"}))
    assert "Δ FID test" not in table.number_heads, "one of two options of lion would have to be chosen"
    both = {"training.optimizer": "lion", "training.optimizer_options.beta": 0.9}
    (table,) = result_tables(ablation(), replace(ABLATED, changes=False, baseline=both))
    assert column(table, "Δ FID test") == ["-2.000", "—", "baseline", "—", "—"]


@pytest.mark.parametrize("baseline", [{}, {"training.lr": 0.2}])
def test_further_tables_have_the_same_labels_and_differences_of_their_own(baseline: dict[str, float]) -> None:
    made = ablation()
    made["precision_test"] = [0.5, 0.6, 0.7, 0.8, 0.9]
    main, further = result_tables(made, replace(ABLATED, metrics=None, baseline=baseline))
    assert main.row_labels == further.row_labels and main.baseline == further.baseline != ""
    changed = [entry.mean for entry in further.columns[1]]
    assert further.number_heads == ("precision", "Δ precision") and changed[main.row_labels.index("baseline")] is None
    assert changed[1] == pytest.approx(-0.3 if baseline else 0.1)


def test_all_tables_are_compared_with_the_baseline() -> None:
    made = with_errors(full(frame())).assign(nn_copied_pixels=[0.1, 0.2, 0.3, 0.5])
    columns = replace(LAYOUT, rows=("model.preset",), columns=("model.attention",))
    for layout in (LAYOUT, columns):
        tables = result_tables(made, replace(layout, baseline={"model.attention": True}))
        for table in tables:
            kinds = {kind: sum(head.kind == kind for head in table.heads) for kind in ("score", "difference")}
            assert kinds["score"] == kinds["difference"] > 0 and table.baseline == "attention=yes"
        fidelity, memorisation = tables[1:]
        assert column(fidelity, "Δ FID inf")[:2] == ["0.00 ± 0.39 (p 1)", "baseline"]
        assert column(memorisation, "Δ copied, pixels") == ["-10.0 %", "baseline", "-20.0 %", "baseline"]


def test_costs_stand_before_the_scores_and_once_if_columns_share_them() -> None:
    made = frame(parameters=[1.5e6, 2.5e6, 1.5e6, 2.5e6], nfe=[18, 18, 35, 35], gpu_hours=[0.5, np.nan, 1.25, 2.0])
    layout = replace(LAYOUT, metrics=("fid_test",), costs=("parameters", "nfe", "gpu_hours"))
    (table,) = result_tables(made, layout)
    assert table.number_heads == ("parameters", "NFE", "GPU-hours", "FID test")
    assert column(table, "parameters")[:2] == ["1.500 M", "2.500 M"] and column(table, "NFE") == [
        "18",
        "18",
        "35",
        "35",
    ]
    assert column(table, "GPU-hours") == ["0.500", "—", "1.250", "2.000"] and table.complete
    pivot = replace(layout, rows=("model.preset",), columns=("model.attention",))
    (table,) = result_tables(made, pivot)
    assert table.number_heads[:3] == ("attention=no parameters", "attention=yes parameters", "NFE")


def test_cells_that_are_not_done_say_what_happens_to_them() -> None:
    made = with_errors(frame(status=["done", "missing", "missing", "missing"]))
    made.loc[1:, ["fid_test", "class_accuracy"]] = np.nan
    (table,) = result_tables(made, LAYOUT, states={"nano/True/0": "running", "micro/False/0": "failed"})
    assert column(table, "FID test")[1:] == ["running", "failed", "planned"] == column(table, "class accuracy")[1:]
    assert not table.complete


def test_entries_with_fewer_seeds_than_others_say_how_many() -> None:
    """Sweeps of other numbers of seeds in one report, and differences to a cell that is not done."""
    made = frame(seeds=3, fid_test=[1.0, 2, 3, 2, 3.1, 4.2, 5, 6, 7, 6, 7.1, np.nan]).drop(index=[1, 2])
    (table,) = result_tables(made, COMPARED)
    seeds = [[entry.num_seeds for entry in entries] for entries in table.columns]
    assert seeds == [[1, 3, 3, 2], [1, 0, 2, 0]] and list(tidy_frame([table])["seeds"][:4]) == [1, 1, 3, 0]
    texts = [[entry.remarks for entry in entries] for entries in table.columns]
    assert texts == [
        [("1 seed",), ("s 1.1",), ("s 1.0",), ("s 0.8", "2 of 3 seeds")],
        [("1 seed",), (), ("2 seeds", "p 0.03"), ()],
    ]
    notes = " ".join(reading_notes([table]))
    assert "over 2 to 3 training seeds" in notes and "has fewer seeds than others" in notes
    (even,) = result_tables(frame(seeds=3), COMPARED)
    assert not any("seeds" in entry.text for entry in even.entries) and "over 3 training" in reading_notes([even])[0]


def test_seeds_that_are_not_done_are_counted_by_their_state() -> None:
    made = frame(seeds=3, status=["done", "missing", "missing", *["missing"] * 3, *["done"] * 6])
    made.loc[1:5, "fid_test"] = np.nan
    states = {"nano/False/1": "failed", "nano/True/0": "running"}
    (table,) = result_tables(made, LAYOUT, states=states)
    assert column(table, "FID test")[:2] == [
        "10.0 (1 of 3 seeds, 1 failed)",
        "running (1 of 3 seeds), planned (2 of 3 seeds)",
    ]


def test_a_baseline_in_another_table_makes_no_empty_columns() -> None:
    made = frame().assign(**{"data": ["a", "b"] * 2, "data.name": "folder", "data.resolution": [8, 16] * 2})
    layout = Layout("t", ("model.preset", "data.resolution"), metrics=("fid_test",), baseline={"data.resolution": 8})
    for table in result_tables(made, layout):
        assert table.number_heads == ("FID test",) and table.baseline == ""
        assert table.footnotes == (
            "There are no differences to resolution=8, as no two cells of this table differ in that alone.",
        )
    one_table = result_tables(made.assign(data="a"), layout)
    assert [table.number_heads for table in one_table] == [("FID test", "Δ FID test")]


def test_a_value_of_either_of_two_axes_is_named_with_its_axis() -> None:
    changes = {"model.from": ["net", "net", ABSENT, ABSENT], "training.from": [ABSENT, ABSENT, "net", "net"]}
    made = frame().assign(**{"training_name": "net", "sampling.sampler": ["euler", "heun"] * 2, **changes})
    made = with_errors(made.drop(columns=["model.preset", "model.attention"]))
    axes = ("model.from", "training.from")
    baseline = {"sampling.sampler": "euler", "training.from": "net"}
    layout = Layout("t", axes, ("sampling.sampler",), ("fid_test",), baseline={"sampling.sampler": "euler"})
    (table,) = result_tables(made, layout)
    assert table.row_labels == ["model.from=net", "training.from=net"]
    (line, *_) = (block for block in table.blocks_below if block[0].startswith("Δ"))
    assert "for this table's 2 differences" in line[1]
    (table,) = result_tables(made, replace(layout, baseline=baseline))
    assert table.blocks_below[0][0] == "Δ: the difference to sampler=euler, training.from=net."
