"""Result tables from frames."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reports.entries import TableEntry
from reports.folder import write_report
from reports.labels import describe_scores
from reports.latex import to_latex
from reports.layout import Layout
from reports.markdown import to_markdown
from reports.metrics import METRICS, MetricInfo
from reports.notes import reading_notes, state_line
from reports.table import ResultTable
from reports.tables import result_tables
from reports.values import show_value
from tests.reports.frames import LAYOUT, errors_of, frame, full, page_of, report, with_errors


def texts(table: ResultTable) -> list[list[str]]:
    return [[entry.text for entry in entries] for _, entries in table.rows]


def emphasis(table: ResultTable) -> list[list[str]]:
    return [[entry.mark for entry in entries] for _, entries in table.rows]


@pytest.mark.parametrize("path", ["images/birds", "/home/me/birds/"])
def test_a_label_names_the_folder_of_the_images(path: str) -> None:
    assert describe_scores(frame().assign(**{"data.name": "folder", "data.path": path})).endswith("; birds")


def test_rows_columns_and_numbers() -> None:
    (table,) = result_tables(frame(), LAYOUT)
    assert table.row_heads == ("preset", "attention") and table.number_heads == ("FID test", "class accuracy")
    assert [names for names, _ in table.rows] == [("nano", "no"), ("nano", "yes"), ("micro", "no"), ("micro", "yes")]
    assert texts(table) == [["10.00", "90.0 %"], ["11.00", "90.0 %"], ["20.00", "91.0 %"], ["21.00", "91.0 %"]]
    assert table.complete and table.main


def test_without_errors_nothing_is_marked() -> None:
    (table,) = result_tables(frame(), LAYOUT)
    assert emphasis(table) == [["", ""]] * 4
    assert any("have no known error" in note for note in reading_notes([table]))


def test_a_significant_winner_is_best_and_else_the_best_are_tied() -> None:
    (table,) = result_tables(with_errors(frame()), LAYOUT)
    assert texts(table)[0] == ["10.00 ± 0.39", "90.00 ± 0.98 %"]
    assert emphasis(table) == [["best", "tied"], ["", "tied"], ["", "tied"], ["", "tied"]]


def test_paired_errors_find_differences_that_unpaired_ones_do_not() -> None:
    made = with_errors(frame(), error=0.6)
    (alone,) = result_tables(made, LAYOUT)
    cells = tuple(made["cell"])
    paired = {"fid_test": errors_of(cells, 0.36 * (0.95 + 0.05 * np.eye(4)))}
    (together,) = result_tables(made, LAYOUT, paired)
    assert [line[0] for line in emphasis(alone)] == ["tied", "tied", "", ""]
    assert [line[0] for line in emphasis(together)] == ["best", "", "", ""]
    assert texts(alone) == texts(together)


def test_kid_takes_the_place_of_a_named_fid_that_no_cell_has() -> None:
    """It is computed where an FID would mean nothing, and a table without columns would be empty."""
    named = replace(LAYOUT, metrics=("fid_test", "fid_infinity_test", "class_accuracy"))
    (table,) = result_tables(frame().rename(columns={"fid_test": "kid_test"}), named)
    assert [head.metric for head in table.heads] == ["kid_test", "class_accuracy"]


def test_named_metrics_that_no_cell_has_leave_the_usual_tables() -> None:
    (usual,) = result_tables(frame(), LAYOUT)
    (table,) = result_tables(frame(), replace(LAYOUT, metrics=("recall_test",)))
    assert texts(table) == texts(usual)


def test_an_axis_can_make_columns_each_with_its_own_best() -> None:
    layout = Layout("trial", rows=("model.preset",), columns=("model.attention",), metrics=("fid_test",))
    (table,) = result_tables(with_errors(frame()), layout)
    assert table.number_heads == ("attention=no FID test", "attention=yes FID test")
    assert texts(table) == [["10.00 ± 0.39", "11.00 ± 0.39"], ["20.00 ± 0.39", "21.00 ± 0.39"]]
    assert emphasis(table) == [["best", "best"], ["", ""]]


@pytest.mark.parametrize(
    ("seeds", "text"),
    [(1, "10.00 ± 0.39"), (2, "10.50 (s 0.71)"), (3, "11.0 ± 2.5 (s 1.0)"), (4, "11.5 ± 2.1 (s 1.3)")],
)
def test_the_interval_covers_images_of_one_seed_or_three_and_more_seeds(seeds: int, text: str) -> None:
    (table,) = result_tables(with_errors(frame(seeds=seeds)), LAYOUT)
    assert texts(table)[0][0] == text  # 10, 11, 12: s 1, the t interval 4.303 * 1 / sqrt(3)


def test_seeds_in_common_are_compared_by_pairs() -> None:
    (table,) = result_tables(
        frame(seeds=3).assign(fid_test=[1, 5, 9, 2.0, 6.1, 9.9, 3, 7.1, 11.2, 4, 8.1, 12.2]), LAYOUT
    )
    assert [line[0] for line in emphasis(table)] == ["best", "", "", ""]


def test_missing_numbers_are_dashes_or_say_how_many_seeds() -> None:
    made = frame(seeds=3)
    made.loc[0, "fid_test"] = np.nan
    made.loc[3:5, "fid_test"] = np.nan
    (table,) = result_tables(made, LAYOUT)
    assert [line[0] for line in texts(table)[:2]] == ["11.5 (s 0.7, 2 of 3 seeds)", "—"]
    assert not table.complete


def test_a_stopped_cell_says_so_once_and_does_not_prevent_a_winner() -> None:
    made = with_errors(frame())
    made.loc[3, ["fid_test", "fid_test_se", "class_accuracy", "class_accuracy_se"]] = np.nan
    made = made.assign(stopped_at=[None, None, None, 5000], status=["done", "done", "done", "stopped"])
    (table,) = result_tables(made, LAYOUT)
    assert texts(table)[3] == ["worse, stopped at 5,000", "—"] and table.complete
    assert emphasis(table)[0][0] == "best"
    assert state_line(made) == "4 cells, 1 stopped early as clearly worse"
    assert any(note.startswith("Stopped") for note in reading_notes([table]))


def test_a_pruned_cell_says_so_once_and_is_neither_bad_nor_missing() -> None:
    made = with_errors(frame())
    made.loc[3, ["fid_test", "fid_test_se", "class_accuracy", "class_accuracy_se"]] = np.nan
    made = made.assign(pruned_at=[None, None, None, 12.0], status=["done", "done", "done", "pruned"])
    (table,) = result_tables(made, LAYOUT)
    assert texts(table)[3] == ["pruned at 12 kimg", "—"] and table.complete
    assert emphasis(table) == [["best", "tied"], ["", "tied"], ["", "tied"], ["", ""]]
    assert state_line(made) == "4 cells, 1 pruned"
    (note,) = (note for note in reading_notes([table]) if note.startswith("Pruned"))
    assert "Its score is unknown" in note and not any("Stopped" in note for note in reading_notes([table]))


def test_a_mean_over_the_seeds_that_were_not_pruned_is_not_shown(tmp_path: Path) -> None:
    made = frame(seeds=3)
    made.loc[[0, 1], "fid_test"] = np.nan
    made = made.assign(
        pruned_at=[12.5, *[np.nan] * 11],
        stopped_at=[np.nan, 2000.0, *[np.nan] * 10],
        status=["pruned", "stopped", *["done"] * 10],
    )
    (table,) = result_tables(made, LAYOUT)
    assert texts(table)[0] == ["worse, stopped at 2,000 (1 of 3 seeds), pruned at 12.5 kimg (1 of 3 seeds)", "—"]
    assert "pruned at 12.5 kimg" in page_of(report(made, tmp_path), tmp_path)
    assert r"pruned at 12.5 kimg" in to_latex(table) and "pruned at 12.5 kimg" in to_markdown(table)


def test_a_mean_over_the_seeds_that_were_not_stopped_is_not_shown() -> None:
    made = frame(seeds=2)
    made.loc[0, "fid_test"] = np.nan
    (table,) = result_tables(made.assign(stopped_at=[2000.0, *[np.nan] * 7]), LAYOUT)
    assert texts(table)[0] == ["worse, stopped at 2,000 (1 of 2 seeds)", "—"]


@pytest.mark.parametrize(
    ("values", "errors", "shown"),
    [
        ([0.8034, 0.91], [0.021, 0.021], ["0.803 ± 0.041", "0.910 ± 0.041"]),
        ([803.4, 910.0], [21.0, 21.0], ["803 ± 41", "910 ± 41"]),
        ([0.8034, 0.91], [0.5, 0.5], ["0.80 ± 0.98", "0.91 ± 0.98"]),
        ([0.8034, 0.91], [0.0508, 0.0508], ["0.80 ± 0.10", "0.91 ± 0.10"]),  # 0.0996 is 0.10 in two digits
        ([80.34, 91.0], [np.nan, np.nan], ["80.34", "91.00"]),
        ([8.034, 9.1], [np.nan, np.nan], ["8.034", "9.100"]),
        ([8.034, 0.00042], [np.nan, np.nan], ["8.0340", "0.0004"]),
        ([1.0, 0.0], [0.0, 0.1], ["1.00", "0.00 ± 0.20"]),  # no variance seen is no certainty
        ([0.1, 0.2], [1.4e-17, 2.8e-17], ["0.100", "0.200"]),  # nor is one that rounding left
        ([0.1, 0.2], [1.4e-17, 0.1], ["0.10", "0.20 ± 0.20"]),
    ],
)
def test_a_column_has_as_many_decimals_as_its_errors_allow(values: list, errors: list, shown: list[str]) -> None:
    made = frame()[:2].assign(fid_test=values, fid_test_se=errors)
    (table,) = result_tables(made, LAYOUT)
    assert [line[0] for line in texts(table)] == shown


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("features", ["FID, Inception features, 2048-d", "FID, classifier features, 64-d"]),
        ("evaluation.images", [1000, 2000]),
        ("reference", ["300 real images of each split", "all real images of each split"]),
        ("reference", [None, "all real images of each split"]),
        ("sampling.resolution", [None, 16]),
        ("data", ["abc", "abd"]),
    ],
)
def test_numbers_that_cannot_be_compared_never_share_a_table(column: str, values: list, tmp_path: Path) -> None:
    made = frame(**{column: [values[0], values[0], values[1], values[1]]})
    tables = result_tables(made, LAYOUT)
    assert [len(table.rows) for table in tables] == [2, 2] and all(table.main for table in tables)
    if column != "data":  # a signature, which the label does not show
        assert tables[0].label != tables[1].label
        write_report(report(made, tmp_path), tmp_path)
        assert "Numbers that cannot be compared are in separate tables" in (tmp_path / "report.md").read_text()


def test_the_label_says_what_the_numbers_are() -> None:
    (table,) = result_tables(frame(), LAYOUT)
    assert table.label == "FID, classifier features, 64-d; 1,000 images drawn; 300 real images of each split; digits"
    (table,) = result_tables(frame(**{"sampling.resolution": 16}).drop(columns="reference"), LAYOUT)
    assert table.label == "FID, classifier features, 64-d; 1,000 images drawn at 16x16; digits"


@pytest.mark.parametrize(
    ("features", "rule", "expected"),
    [
        ("Inception features, 2,048-d", "pytorch-fid", "Inception features, 2,048-d, pytorch-fid's resize; "),
        ("Inception features, 2,048-d, TensorFlow's resize", "tensorflow", "2,048-d, TensorFlow's resize; 1,000"),
        ("DINOv2 features, 1,024-d", "pytorch-fid", "DINOv2 features, 1,024-d; "),
    ],
)
def test_a_table_says_by_which_rule_images_were_resized(features: str, rule: str, expected: str) -> None:
    (table,) = result_tables(frame(**{"features": features, "evaluation.resize": rule}), LAYOUT)
    assert expected in table.label


def test_metrics_of_ones_own_name_their_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "test"):
        monkeypatch.setitem(METRICS, f"nearest_{split}", MetricInfo("distance", "lower", "own", split))
    _, own = result_tables(frame().assign(nearest_train=1.0, nearest_test=2.0), LAYOUT)
    assert own.number_heads == ("distance train", "distance test")
    _, own = result_tables(frame().assign(nearest_test=2.0), LAYOUT)
    assert own.number_heads == ("distance test",)


def test_seeds_that_share_an_evaluation_are_one_number() -> None:
    """A network that was not trained here has no spread over seeds, and wins over no mean of seeds for that reason."""
    made = frame(seeds=3)
    shared = (made["model.preset"] == "micro") & ~made["model.attention"]
    made["evaluation"] = made["cell"].where(~shared, "the same")
    made.loc[shared, "fid_test"] = 8.0
    (table,) = result_tables(made, replace(LAYOUT, metrics=("fid_test",), baseline={"model.preset": "nano"}))
    assert [row[0] for row in texts(table)] == [
        "11.0 ± 2.5 (s 1.0)",
        "12.0 ± 2.5 (s 1.0)",
        "8.0 (1 seed)",
        "22.0 ± 2.5 (s 1.0)",
    ]
    assert [row[0] for row in emphasis(table)] == ["tied"] * 4
    assert texts(table)[2][1] == "-3.000", "to the mean of all seeds, as it is the score of all of them"


def test_fidelity_and_memorisation_have_tables_of_their_own() -> None:
    main, fidelity, memorisation = result_tables(full(frame()), LAYOUT)
    assert [table.main for table in (main, fidelity, memorisation)] == [True, False, False]
    assert main.number_heads == ("FID test", "class accuracy")
    assert fidelity.number_heads == ("KID ×10³", "precision", "recall", "density", "coverage", "FID inf")
    assert fidelity.heading == "trial: kernel distance, fidelity and diversity, test split"
    assert texts(fidelity)[0] == ["12.30", "0.900", "0.800", "1.250", "0.950", "9.00 ± 0.20"]
    assert texts(memorisation)[0] == ["0.980", "0.950"] and memorisation.heading == "trial: memorisation"


def test_fidelity_is_of_one_split_the_test_split_first() -> None:
    made = full(frame()).assign(recall_val=0.5, coverage_val=0.6, recall_train=0.7)
    assert result_tables(made, LAYOUT)[1].name.endswith("test split")
    without = made.drop(columns=[name for name in METRICS if name.endswith("_test") and name in made])
    fidelity = result_tables(without, LAYOUT)[1]
    assert fidelity.name.endswith("val split") and [head.metric for head in fidelity.heads] == [
        "recall_val",
        "coverage_val",
    ]


def test_axes_that_make_columns_make_rows_where_there_are_many_metrics() -> None:
    layout = Layout("trial", rows=("model.preset",), columns=("model.attention",))
    main, fidelity, _ = result_tables(full(frame()), layout)
    assert main.row_heads == ("preset",) and len(main.heads) == 4
    assert fidelity.row_heads == ("preset", "attention") and len(fidelity.heads) == 6


@pytest.mark.parametrize("metric", ["precision_test", "nn_ratio_pixels"])
def test_the_first_table_has_all_that_the_layout_asks_for(metric: str) -> None:
    made = frame(nfe=18, **{metric: 0.5}).drop(
        columns=["fid_test", "noise_fid_test", "real_fid_test", "class_accuracy"]
    )
    layout = Layout("t", ("model.preset",), ("model.attention",), caption="A caption", costs=("nfe",))
    (table,) = result_tables(made, replace(layout, baseline={"model.preset": "nano"}))
    kinds = [head.kind for head in table.heads]
    assert kinds == ["cost", *["score", "difference"] * 2] and table.main and table.caption == "A caption"
    assert table.name and result_tables(made, replace(layout, name="A title"))[0].name == "A title"


def test_named_metrics_alone_share_one_table() -> None:
    layout = replace(LAYOUT, metrics=("recall_test", "fid_test", "kid_train"))
    (table,) = result_tables(full(frame()), layout)
    assert table.number_heads == ("recall test", "FID test")  # there is no KID train


def test_the_kernel_distance_takes_the_place_of_a_withheld_fid() -> None:
    made = full(frame()).assign(fid_test=np.nan, fid_val=5.0)
    main, fidelity, _ = result_tables(made, LAYOUT)
    assert main.number_heads == ("FID val", "KID ×10³ test", "class accuracy")
    assert "KID ×10³" not in fidelity.number_heads
    only_kid = result_tables(full(frame()).assign(kid_val=0.1).drop(columns=["fid_test", "class_accuracy"]), LAYOUT)[0]
    assert only_kid.number_heads == ("KID ×10³ val", "KID ×10³ test") and only_kid.main


def test_without_any_score_the_requested_distances_are_planned() -> None:
    (table,) = result_tables(full(frame()).assign(**dict.fromkeys(METRICS, np.nan), status="missing"), LAYOUT)
    assert set(table.number_heads) >= {"FID train", "FID test"} and table.main
    assert {entry.text for entry in table.entries} == {"planned"}


def test_distance_ratios_are_never_marked() -> None:
    made = full(frame()).assign(nn_ratio_pixels_se=0.001, nn_ratio_pixels=[0.5, 0.9, 1.0, 1.2])
    memorisation = result_tables(made, LAYOUT)[2]
    assert emphasis(memorisation) == [["", ""]] * 4


def test_copied_shares_are_percentages_and_infinite_ratios_stay() -> None:
    made = full(frame()).assign(nn_copied_pixels=[-0.01, 0.0, 0.25, 0.5], nn_ratio_features=np.inf)
    memorisation = result_tables(made, LAYOUT)[2]
    assert [line[2] for line in texts(memorisation)] == ["-1.0 %", "0.0 %", "25.0 %", "50.0 %"]
    assert texts(memorisation)[0][:2] == ["0.980", "inf"]


def test_baseline_rows_show_noise_and_real_images() -> None:
    (table,) = result_tables(frame(), LAYOUT)
    assert [(row.title, row.entries[0].text, row.entries[1].mean) for row in table.baselines] == [
        ("pure noise", "99.00", None),
        ("real train split", "0.50", None),
    ]
    main, fidelity, memorisation = result_tables(full(frame()), LAYOUT)
    assert [row.title for row in main.baselines] == ["pure noise", "897 real train images"]
    assert [row.entries[0].text for row in fidelity.baselines] == ["500.00", "1.00"]  # KID, in its column's unit
    assert [(row.title, row.entries[1].text) for row in memorisation.baselines] == [("held-out real images", "0.990")]


def test_a_baseline_in_an_empty_column_has_the_digits_of_the_others() -> None:
    made = with_errors(frame())
    made.loc[made["model.attention"], ["fid_test", "status"]] = [np.nan, "missing"]
    layout = replace(LAYOUT, rows=("model.preset",), columns=("model.attention",), metrics=("fid_test",))
    (table,) = result_tables(made, layout)
    assert [texts(table)[0][0], texts(table)[0][1]] == ["10.00 ± 0.39", "planned"]
    assert [entry.text for entry in table.baselines[0].entries] == ["99.00", "99.00"]


def test_an_unset_axis_value_is_one_row_of_its_own() -> None:
    made = frame().assign(**{"model.depths": [None, None, "1,1", "1,1"]})
    layout = Layout("trial", rows=("model.depths", "model.attention"))
    (table,) = result_tables(made, layout)
    assert [names for names, _ in table.rows] == [("null", "no"), ("null", "yes"), ("1,1", "no"), ("1,1", "yes")]
    assert [line[0] for line in texts(table)] == ["10.00", "11.00", "20.00", "21.00"]


def test_a_sweep_without_axes_is_one_row() -> None:
    (table,) = result_tables(frame()[:1], Layout("trial", rows=()))
    assert [names for names, _ in table.rows] == [("all",)] and texts(table) == [["10.00", "90.0 %"]]


@pytest.mark.parametrize(
    ("value", "text"), [(True, "yes"), (False, "no"), (1.0, "1"), (2.5, "2.5"), ("heun", "heun"), (None, "null")]
)
def test_values_are_shown_as_people_write_them(value, text: str) -> None:
    assert show_value(value) == text


def test_an_entry_without_a_number_is_a_dash() -> None:
    assert TableEntry(None).text == "—"
