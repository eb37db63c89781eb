"""Several sweeps in one report."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from reports.combine import cell_name, combine_reports, unique_names
from reports.layout import Layout
from reports.page import to_html
from reports.report import Report
from tests.reports.frames import LAYOUT, NO_CURVES, data_of, frame, report, samplers, with_errors


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


def test_the_tables_of_the_first_sweep_are_made_of_all(tmp_path: Path) -> None:
    one = report(frame(), tmp_path)
    asked = replace(
        LAYOUT, name="Attention", caption="Of a.", metrics=("fid_test",), baseline={"model.attention": True}
    )
    made = combine_reports({"a": replace(one, layouts=(LAYOUT, asked)), "b": one}, {})
    main, compared = (table for table in made.tables if table.main)
    assert len(main.rows) == len(compared.rows) == 8 and not compared.caption
    assert compared.heading == "a and b: Attention" and compared.number_heads == ("FID test", "Δ FID test")


def test_numbers_of_steps_of_several_sweeps_are_matched_at_equal_compute() -> None:
    def of(sampler: str) -> Report:
        made = samplers()
        own = made[made["sampling.sampler"] == sampler].assign(cell=lambda cells: cells["sampling.steps"])
        layout = Layout(sampler, ("sampling.steps",), metrics=("fid_test",), equal="nfe")
        return Report((layout,), own, NO_CURVES, {}, {})

    (table,) = combine_reports({"a": of("euler"), "b": of("heun")}, {}).tables
    assert [(*names, entries[0].text) for names, entries in table.rows] == [("a", "32"), ("b", "32")]


def test_losses_of_several_sweeps_are_matched_at_equal_compute() -> None:
    def of(factor: float) -> Report:
        made = frame().assign(**{"training_name": "net", "training.kimg": 2.0, "training_s": 100.0 * factor})
        losses = [{"training": "net", "kimg": k, "loss": None, "val_loss": 4 - factor * k} for k in (0.5, 1.0, 2.0)]
        return Report((Layout("t", LAYOUT.rows, equal="training_s"),), made, pd.DataFrame(losses), {}, {})

    (table,) = combine_reports({"a": of(1), "b": of(2)}, {}).tables
    found = {names[0]: tuple(entry.mean for entry in entries) for names, entries in table.rows}
    assert found == {"a": (2.0, 2.0), "b": (2.0, 1.0)}


def test_names_that_occur_again_get_a_number() -> None:
    assert unique_names(["a", "b", "a", "a"]) == ["a", "b", "a 2", "a 3"]


def test_classes_are_named_where_all_sweeps_draw_the_same(tmp_path: Path) -> None:
    one = replace(report(frame(), tmp_path), classes=("0: cat", "1: dog"))
    assert combine_reports({"a": one, "b": one}, {}).classes == one.classes
    assert combine_reports({"a": one, "b": replace(one, classes=())}, {}).classes == ()
