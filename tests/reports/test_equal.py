"""Tables at equal compute: which cells share one, and losses where trainings had cost as much."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from reports.findings import finding
from reports.layout import Layout
from reports.notes import separation_note
from reports.table import ResultTable
from reports.tables import result_tables
from tests.reports.frames import frame, samplers

NFE = Layout("t", rows=("sampling.sampler", "sampling.steps"), metrics=("fid_test",), equal="nfe")


def rows_of(table: ResultTable) -> list[tuple[str, ...]]:
    return [(*names, *(entry.text for entry in entries)) for names, entries in table.rows]


def scored() -> pd.DataFrame:
    """Euler at 8, 16 and 32 evaluations, Heun at 16, 32 and 64; the score says which cell it is of."""
    made = samplers()
    return made.assign(fid_test=made["nfe"] + 0.5 * made["seed"])


def two_trainings(**changes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A small network, and one that costs twice as much for each image; their losses fall from 3 and 4 by 1 a kimg."""
    made = frame().assign(
        **{"training_name": ["nano", "nano", "micro", "micro"], "model.attention": [False, True] * 2, **changes},
        **{"training.kimg": 2.0, "training_s": [100.0, 100.0, 200.0, 200.0], "gpu_hours": np.nan},
    )
    made = made.rename(columns={"model.attention": "sampling.sampler"})
    losses = [(name, k, first - k) for name, first in (("nano", 3.0), ("micro", 4.0)) for k in (0.5, 1.5, 2.0)]
    curves = pd.DataFrame([{"training": n, "kimg": k, "loss": None, "val_loss": loss} for n, k, loss in losses])
    return made, curves


LOSSES = Layout("t", rows=("model.preset", "sampling.sampler"), equal="training_s")


def test_entries_are_the_cells_of_most_evaluations_that_all_reach() -> None:
    (table,) = result_tables(scored(), NFE)
    assert rows_of(table) == [("euler", "32", "32.25 (s 0.35)"), ("heun", "32", "32.25 (s 0.35)")]
    assert table.row_heads == ("sampler",) and table.number_heads == ("NFE", "FID test")
    assert table.footnotes == (
        "Equal compute: every entry is the cell of the largest sampling.steps that costs at most 32 NFE, the most that "
        "all of them reach.",
    )


def test_cells_that_are_not_reached_exactly_stay_below_the_others() -> None:
    made = scored()
    made["nfe"] = np.where(made["sampling.sampler"] == "heun", made["nfe"] - 1, made["nfe"])  # 15, 31 and 63
    (table,) = result_tables(made, NFE)
    assert [row[1] for row in rows_of(table)] == ["32", "31"]


@pytest.mark.parametrize("shortest", [8, 32])  # of Euler's cells: without shorter ones it would have none
def test_cells_of_hardly_more_evaluations_suit_those_that_reach_no_more(shortest: int) -> None:
    made = scored()
    is_heun = made["sampling.sampler"] == "heun"
    made["nfe"] = np.where(is_heun, made["nfe"] - 1, made["nfe"])  # 15 and 31, beside Euler's 8, 16 and 32
    made = made[~(is_heun & (made["nfe"] > 31)) & (is_heun | (made["nfe"] >= shortest))]
    (table,) = result_tables(made, NFE)
    assert [row[1] for row in rows_of(table)] == ["32", "31"]
    assert table.footnotes[0].endswith("costs at most 32 NFE, the amount at which their costs are closest.")
    assert table.is_comparable


def test_a_cell_that_costs_more_at_its_shortest_is_named() -> None:
    made = scored()
    made = made[(made["sampling.sampler"] == "euler") | (made["sampling.steps"] == 32)]
    (table,) = result_tables(made, NFE)
    assert [row[0] for row in rows_of(table)] == ["euler"]
    assert table.footnotes[0].endswith("Left out, because even their cheapest cell costs more: heun.")


def test_lengths_of_training_are_matched_but_for_a_little_measured_time() -> None:
    made = pd.concat([frame().assign(**{"training.kimg": kimg, "gpu_hours": 0.0}) for kimg in (50.0, 100.0)])
    preset = made["model.preset"].to_numpy()
    made["gpu_hours"] = made["training.kimg"] * np.where(preset == "micro", 2.03, 1.0)
    layout = Layout("t", rows=("model.preset", "model.attention", "training.kimg"), equal="gpu_hours")
    main = result_tables(made, layout)[0]
    assert [row[2] for row in rows_of(main)] == ["100.00", "100.00", "101.50", "101.50"]


def test_cells_whose_cost_is_not_known_yet_are_named() -> None:
    made = scored()
    made.loc[made["cell"].isin(["heun32/0", "heun32/1"]), "nfe"] = np.nan
    (table,) = result_tables(made, NFE)
    missing = "Left out, because their cost is not known, or not yet: cells heun32/0, heun32/1."
    assert table.footnotes[0].endswith(missing) and [row[0] for row in rows_of(table)] == ["euler", "heun"]


def lengths(**kimg: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trainings of these lengths, whose scores say which they are, and their curves: losses are 1 / kimg."""
    rows = [
        {**frame().iloc[0].to_dict(), "cell": f"{preset}/{k}", "model.preset": preset, "training.kimg": k}
        for preset, each in kimg.items()
        for k in each
    ]
    made = pd.DataFrame(rows)
    made = made.assign(fid_test=made["training.kimg"], fid_test_se=0.1, training_name=made["cell"])
    points = [(row["cell"], k) for row in rows for k in (50.0, 100.0, row["training.kimg"])]
    curves = pd.DataFrame([{"training": name, "kimg": k, "loss": None, "val_loss": 1 / k} for name, k in points])
    return made, curves


KIMG = Layout("t", rows=("model.preset", "training.kimg"), metrics=("fid_test",), equal="kimg")


def test_a_smaller_amount_that_all_cells_have_is_better_than_unequal_cells() -> None:
    made, curves = lengths(nano=[100.0, 200.0], micro=[100.0, 300.0])
    (table,) = result_tables(made, replace(KIMG, baseline={"training.kimg": 100.0}), curves=curves)
    assert rows_of(table) == [("nano", "100", "100.00 ± 0.20"), ("micro", "100", "100.00 ± 0.20")]
    assert table.footnotes[0].endswith("costs at most 100 kimg, the amount at which their costs are closest.")
    assert {entry.mark for entry in table.entries} == {"", "tied"} and table.is_comparable


def test_cells_without_equal_compute_say_so_and_have_no_winner() -> None:
    made, curves = lengths(nano=[100.0, 200.0], micro=[150.0, 300.0], tiny=[100.0, 150.0])
    (table,) = result_tables(made, KIMG, curves=curves)
    assert [row[:2] for row in rows_of(table)] == [("nano", "100"), ("micro", "150"), ("tiny", "150")]
    unequal = "They do not cost the same, but 100 to 150 kimg, so none is marked as the best."
    assert table.footnotes[0].endswith(unequal) and not any(entry.mark for entry in table.entries)
    assert finding([table]) == ""
    (table,) = result_tables(made[made["model.preset"] != "tiny"], KIMG, curves=curves)
    assert [row[1] for row in rows_of(table)] == ["200", "150"], "closer than 100 and 150"
    assert "but 150 to 200 kimg" in table.footnotes[0]


def test_lengths_that_hardly_differ_are_equal() -> None:
    (table,) = result_tables(lengths(nano=[100.0, 200.0], micro=[100.0, 180.0])[0], KIMG)
    assert [row[1] for row in rows_of(table)] == ["100", "100"], "the most that micro reaches is far from any of nano"
    (table,) = result_tables(lengths(nano=[100.0, 200.0], micro=[100.0, 210.0, 190.0])[0], KIMG)
    assert [row[1] for row in rows_of(table)] == ["200", "190"] and table.is_comparable


def test_where_no_two_cells_cost_as_little_losses_are_matched() -> None:
    made, curves = lengths(nano=[100.0], micro=[200.0, 400.0])
    (table,) = result_tables(made, KIMG, curves=curves)
    assert table.number_heads == ("val loss", "kimg by then")
    assert rows_of(table) == [(p, k, "0.0100", "100") for p, k in (("nano", "100"), ("micro", "200"), ("micro", "400"))]
    assert table.footnotes[0].endswith("No two of these cells have scores at equal compute.")


def test_networks_that_were_never_trained_are_left_out_at_equal_training() -> None:
    made = frame().assign(**{"training.kimg": [np.nan, np.nan, 50.0, 100.0]})  # of another sweep, pretrained
    made.loc[2:, "model.attention"] = True
    layout = Layout("t", ("model.preset", "model.attention", "training.kimg"), metrics=("fid_test",), equal="kimg")
    (table,) = result_tables(made, layout)
    assert [names for names, _ in table.rows] == [("micro", "yes")] and table.entries[-1].mean == 21.0
    assert table.footnotes[0].endswith("or not yet: cells nano/False/0, nano/True/0.")


def test_where_trainings_are_equally_long_their_losses_are_matched() -> None:
    made, curves = two_trainings()
    (table,) = result_tables(made, LOSSES, curves=curves)
    assert table.number_heads == ("val loss", "kimg by then")
    assert [(names, *(entry.mean for entry in entries)) for names, entries in table.rows] == [
        (("nano",), pytest.approx(1.0), 2.0),
        (("micro",), pytest.approx(3.0), 1.0),
    ]
    assert "when each training had cost 100 s of training" in table.footnotes[0]
    assert table.label == "loss of the averaged weights on the val split; digits"
    both = result_tables(made, (Layout("t", LOSSES.rows), LOSSES), curves=curves)
    assert len({table.label for table in both}) == 2 and separation_note(both, made) == ""


def test_a_loss_from_before_the_first_measurement_is_not_made_up() -> None:
    made, curves = two_trainings()
    (table,) = result_tables(made, LOSSES, curves=curves[curves["kimg"] > 1])
    assert [entries[0].text for _, entries in table.rows] == ["1.0000", "—"]


def test_trainings_without_a_known_cost_say_so() -> None:
    made, curves = two_trainings()
    (table,) = result_tables(made, Layout("t", LOSSES.rows, equal="gpu_hours"), curves=curves)
    unknown = "Equal compute: nothing is matched, as no cost in GPU-hours is known."
    assert table.footnotes == (unknown,) and {entry.text for entry in table.entries} == {"—"}
    (whole,) = result_tables(scored().drop(columns="nfe"), NFE)
    assert whole.footnotes[0].endswith("no cost in NFE is known.") and len(whole.rows) == 6
