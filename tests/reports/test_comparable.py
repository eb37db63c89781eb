"""Numbers that cannot be compared: separate tables, or a footnote where a person insists."""

import pandas as pd
import pytest

from reports.findings import finding
from reports.layout import Layout
from reports.notes import separation_note
from reports.tables import result_tables
from tests.reports.frames import frame, with_errors

AXES = Layout("t", rows=("evaluation.images", "model.attention"), metrics=("fid_test",))


def mixed(**changes: object) -> pd.DataFrame:
    return with_errors(
        frame(**{"evaluation.images": [1000, 1000, 2000, 2000], "sampling.precision": "fp32", **changes})
    )


def test_cells_that_differ_are_apart_and_the_report_names_field_and_cells() -> None:
    made = mixed()
    tables = result_tables(made, AXES)
    assert [len(table.rows) for table in tables] == [2, 2]
    note = separation_note(tables, made)
    assert "1,000 images drawn" in note and "2,000 images drawn" in note
    assert finding(tables).startswith("First table: The best FID test is 10.00 ± 0.39")
    assert "evaluation.images 1000 (cells nano/False/0, nano/True/0), 2000 (cells micro/False/0, micro/True/0)" in note


@pytest.mark.parametrize(
    ("changes", "names", "why"),
    [
        ({"data.resolution": [16, 16, 32, 32]}, ("resolution=16", "resolution=32"), "data.resolution 16 (cells"),
        ({"data.path": ["a/birds", "a/birds", "b/birds", "b/birds"]}, ("path=a/birds", "path=b/birds"), "data.path a/"),
        ({}, ("aaaaaa", "bbbbbb"), "data set aaaaaaaa (cells nano/False/0, nano/True/0), bbbbbbbb (cells"),
    ],
)
def test_data_sets_of_one_name_are_told_apart(changes: dict[str, object], names: tuple[str, ...], why: str) -> None:
    shared = {"data.name": "folder", "data.path": "a/birds", "data": ["aaaaaaaa"] * 2 + ["bbbbbbbb"] * 2}
    made = mixed(**{"evaluation.images": 1000, **shared, **changes})
    tables = result_tables(made, Layout("t", rows=("model.preset", "model.attention"), metrics=("fid_test",)))
    assert [table.label.rpartition("; ")[2] for table in tables] == [f"birds ({name})" for name in names]
    note = separation_note(tables, made)
    assert f"What differs: {why}" in note and note.count("cells nano/False/0") == 1


def test_numbers_of_real_images_that_splits_decide_are_named() -> None:
    made = mixed(**{"evaluation.images": 1000, "reference": ["150 real images"] * 2 + ["300 real images"] * 2})
    note = separation_note(result_tables(made, AXES), made)
    assert "What differs: reference 150 real images (cells nano/False/0, nano/True/0), 300 real" in note


def test_an_allowed_difference_makes_one_footnoted_table_and_no_winner() -> None:
    made = mixed()
    (table,) = result_tables(made, AXES, allowed=("evaluation.images",))
    assert len(table.rows) == 4 and not any(entry.mark for entry in table.entries)
    assert "the cells differ in evaluation.images (1000, 2000)" in table.footnotes[-1]
    assert finding([table]) == "", "which must not name as the best what the table refuses to mark"
    (plain,) = result_tables(frame(), Layout("t", ("model.preset", "model.attention")), allowed=("evaluation.images",))
    assert plain.footnotes == ()


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("features", ["Inception", "Inception", "Inception, clean-fid's resize", "Inception, clean-fid's resize"]),
        ("reference", ["all", "all", "300", "300"]),
        ("data", ["a", "a", "b", "b"]),
        ("sampling.precision", ["fp32", "fp32", "bf16", "bf16"]),
    ],
)
def test_every_field_that_changes_what_a_number_means_keeps_cells_apart(column: str, values: list[str]) -> None:
    made = mixed(**{"evaluation.images": 1000, column: values})
    layout = Layout("t", rows=("model.preset", "model.attention"), metrics=("fid_test",))
    assert len(result_tables(made, layout)) == 2


def test_a_sweep_over_precisions_compares_them() -> None:
    made = mixed(**{"evaluation.images": 1000, "sampling.precision": ["fp32", "fp32", "bf16", "bf16"]})
    layout = Layout("t", rows=("sampling.precision", "model.attention"), metrics=("fid_test",))
    assert len(result_tables(made, layout)) == 1
