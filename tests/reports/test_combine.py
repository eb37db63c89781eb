"""Several sweeps in one report."""

from dataclasses import replace
from pathlib import Path

from reports.combine import cell_name, combine_reports, unique_names
from reports.page import to_html
from tests.reports.frames import data_of, frame, report, with_errors


def test_sweeps_share_a_table_in_which_their_name_is_an_axis(tmp_path: Path) -> None:
    one = report(with_errors(frame()), tmp_path)
    other = report(with_errors(frame(fid_test=[1.0, 2.0, 3.0, 4.0])).assign(**{"training.lr": 0.1}), tmp_path)
    made = combine_reports({"a": one, "b": replace(other, states={"nano/True/0": "failed"})}, {})
    (table,) = made.tables
    assert table.row_heads == ("sweep", "preset", "attention") and len(table.rows) == 8
    assert table.rows[4][0] == ("b", "nano", "no") and table.rows[4][1][0].is_tied
    assert set(made.pictures) == {cell_name(s, c) for s in "ab" for c in one.frame["cell"]}
    assert made.states == {"b:nano/True/0": "failed"} and made.layout.title == "a and b"
    assert set(made.curves["training"]) == {"a:a", "b:a"}


def test_sweeps_with_other_numbers_of_images_are_in_separate_tables(tmp_path: Path) -> None:
    reports = {name: report(frame(**{"evaluation.images": n}), tmp_path) for name, n in (("a", 1000), ("b", 2000))}
    assert [len(table.rows) for table in combine_reports(reports, {}).tables] == [4, 4]


def test_every_cell_has_the_curve_of_its_own_training(tmp_path: Path) -> None:
    one = report(frame(training_name="a"), tmp_path)
    made = combine_reports({"x": one, "y": one}, {})
    assert list(dict.fromkeys(made.curves["training"])) == ["x:a", "y:a"]
    assert [cell["curve"] for cell in data_of(to_html(made))["cells"]] == [0] * 4 + [1] * 4


def test_names_that_occur_again_get_a_number() -> None:
    assert unique_names(["a", "b", "a", "a"]) == ["a", "b", "a 2", "a 3"]
