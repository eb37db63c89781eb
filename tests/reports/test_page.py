"""A report's folder and its page."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports.findings import finding, question
from reports.folder import write_report
from reports.layout import Layout
from reports.page import to_html
from reports.report import Report
from reports.tables import result_tables
from tests.reports.frames import DIGITS, LAYOUT, NO_CURVES, data_of, digits, frame, full, page_of, report, with_errors


class Links(HTMLParser):
    """What a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


def test_html_needs_nothing_beside_it(tmp_path: Path) -> None:
    page = page_of(report(with_errors(frame()), tmp_path), tmp_path)
    links = Links()
    links.feed(page)
    pictures = [link for link in links.found if link.startswith("data:image/png;base64,")]
    assert len(pictures) == 4 and all(link.startswith(("data:", "#")) for link in links.found)
    assert "default-src 'none'" in page
    assert re.search(r'class="number best"[^>]*><button[^>]*>10\.00 ± 0\.39</button>', page) and ">≈</span>" in page


def test_samples_say_which_classes_they_show(tmp_path: Path) -> None:
    made = report(frame(), tmp_path)
    assert "The classes come in turn" not in to_html(made)
    named = to_html(replace(made, classes=("0: cat", "1: <dog>")))
    assert "The classes come in turn, row by row: 0: cat, 1: &lt;dog&gt;." in named
    many = to_html(replace(made, classes=tuple(f"class {i}" for i in range(30))))
    assert "class 19 and 10 more." in many and "class 20" not in many


def test_the_same_report_makes_the_same_page(tmp_path: Path) -> None:
    made = report(with_errors(frame()), tmp_path)
    assert to_html(made) == to_html(made)


def test_captions_have_as_many_decimals_as_the_table(tmp_path: Path) -> None:
    made = with_errors(frame()).assign(fid_test_se=[0.2, 0.2, 0.2, 0.02])
    page = page_of(report(made, tmp_path), tmp_path)
    assert "FID test: 10.00 ± 0.39" in page and "FID test: 21.00 ± 0.04" in page
    page = page_of(report(made.drop(columns="fid_test"), tmp_path), tmp_path)
    assert "<br>class accuracy: 91.00 ± 0.98 %" in page, "the most important score that there is"


def test_html_shows_the_closest_training_images(tmp_path: Path) -> None:
    made = report(full(frame()), tmp_path)
    assert "Closest training images" not in page_of(made, tmp_path)
    pairs = {"nano/False/0": made.pictures["nano/False/0"], "micro/True/0": tmp_path / "none.png"}
    page = page_of(replace(made, pairs=pairs), tmp_path)
    section = page.split("Closest training images</h2>")[1].split("<h2>")[0]
    assert section.count("<figure ") == 1 and "distance ratio 0.980 in pixels, 0.950 in features" in section


def test_steps_are_shown_for_the_cells_that_have_them(tmp_path: Path) -> None:
    made = report(frame(), tmp_path)
    assert 'id="denoising"' not in page_of(made, tmp_path)
    steps = {"nano/False/0": made.pictures["nano/False/0"], "micro/True/0": tmp_path / "none.png"}
    page = page_of(replace(made, denoising=steps), tmp_path)
    assert page.count('<select data-steps="') == 1 and list(data_of(page)["steps"]) == ["0"]


def test_a_cell_links_to_its_run_in_mlflow(tmp_path: Path) -> None:
    address = "http://127.0.0.1:5000/#/experiments/1/runs/abc"
    page = page_of(replace(report(frame(), tmp_path), links={"nano/True/0": address}), tmp_path)
    assert [cell["link"] for cell in data_of(page)["cells"]] == ["", address, "", ""]


def test_html_of_a_sweep_that_scores_no_test_split(tmp_path: Path) -> None:
    made = frame().rename(columns={"fid_test": "fid_val"})
    page = page_of(report(made, tmp_path), tmp_path)
    assert "FID val: 10.00" in page and "FID test" not in page


def test_html_of_a_sweep_without_fid_shows_the_kernel_distance(tmp_path: Path) -> None:
    page = page_of(report(full(frame().drop(columns="fid_test")), tmp_path), tmp_path)
    assert "KID ×10³ test: 12.30" in page


def test_html_escapes_what_a_sweep_file_says(tmp_path: Path) -> None:
    made = with_errors(frame(**{"model.preset": ["<script>alert(1)</script>"] * 2 + ["micro"] * 2}))
    page = page_of(report(made.assign(notes="<script>alert(2)"), tmp_path), tmp_path)
    assert "<script>alert(" not in page and "&lt;script&gt;alert(1)" in page


def test_a_report_of_an_empty_table_says_so(tmp_path: Path) -> None:
    made = frame(status="missing", fid_test=np.nan).drop(columns=["class_accuracy", "noise_fid_test", "real_fid_test"])
    empty = Report((LAYOUT,), made, NO_CURVES, {}, {}, states={"nano/False/0": "running"})
    page = write_report(empty, tmp_path).read_text()
    assert "4 cells, 4 of them missing (3 planned, 1 running)" in page
    assert 'id="samples"' not in page and 'id="figures"' not in page and ">running</button>" in page


def test_results_csv_has_every_column_and_reads_back(tmp_path: Path) -> None:
    made = full(frame())
    write_report(report(made, tmp_path), tmp_path / "out")
    again = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(again) == list(made) and again["fid_test"].tolist() == made["fid_test"].tolist()
    described = pd.read_csv(tmp_path / "out" / "columns.csv")
    assert described["column"].tolist() == list(made) and described["meaning"].notna().all()
    assert not list((tmp_path / "out").glob(".*"))
    for name in ("report.md", "report.tex", "report.html"):
        assert "emorisation" in (tmp_path / "out" / name).read_text()


def test_parameters_that_all_cells_share_are_listed_once(tmp_path: Path) -> None:
    page = page_of(report(frame(**{"training.power_ema": ""}), tmp_path), tmp_path)
    shared = re.findall(r"<dt>(.*?)</dt>", page)
    assert "training.kimg" in shared and "model.preset" not in shared
    listed = [name for name, _ in data_of(page)["cells"][0]["configuration"]]
    assert "model.preset" in listed and "training.power_ema" not in (*shared, *listed), "which says nothing"


@pytest.mark.parametrize("own", [True, False])
def test_a_cell_has_the_commands_that_work_with_its_store(own: bool, tmp_path: Path) -> None:
    made = replace(report(frame(), tmp_path), has_own_record=own)
    commands = [command for _, command in data_of(to_html(made))["cells"][0]["commands"]]
    assert commands[0].startswith("edm-sweep run") and ("edm-sweep ui" in commands) == own


def test_negative_numbers_have_minus_signs_and_names_keep_their_hyphens(tmp_path: Path) -> None:
    made = frame(fid_test=[-1.0, 2.0, 3.0, 4.0], **{"model.preset": ["a-1", "a-1", "b", "b"]})
    page = page_of(report(made, tmp_path), tmp_path)
    assert ">−1.000</button>" in page and 'data-value="-1.0"' in page and ">a-1</th>" in page


def test_a_table_without_a_name_is_headed_by_its_scores(tmp_path: Path) -> None:
    assert "<h2>FID and class accuracy</h2>" in page_of(report(frame(), tmp_path), tmp_path)


def test_a_report_says_which_values_come_to_the_same(tmp_path: Path) -> None:
    made = replace(report(frame(), tmp_path), notes=("training.lr: 1 and 2 come to the same",))
    assert "<li>training.lr: 1 and 2 come to the same.</li>" in page_of(made, tmp_path)
    assert "- training.lr: 1 and 2 come to the same.\n" in (tmp_path / "out" / "report.md").read_text()


def test_the_page_begins_with_what_is_asked_and_what_is_found() -> None:
    made = Report((DIGITS,), digits().assign(training=["a"] * 12 + ["b"] * 12), NO_CURVES, {}, {})
    assert question(made) == (
        "Compares preset (nano, micro), attention (no, yes), guidance (1, 2), sampler (euler, heun, stochastic_heun): "
        "24 cells from 2 trainings."
    )
    assert question(replace(made, frame=digits().assign(training="a"))).endswith(": 24 cells from 1 training.")
    sentence = finding(made.tables)
    assert sentence.startswith("The best FID test is 0.69 ± 0.11 (micro, attention=no, guidance=1, euler), and ")
    assert "others are not significantly different" in sentence
    by_column = replace(DIGITS, rows=DIGITS.axes[:-1], columns=DIGITS.axes[-1:])
    assert "others of its column are not significantly different" in finding(result_tables(digits(), by_column))
    assert (
        "the largest significant main effect is guidance, 2 instead of 1: +0.81 ± 0.23 FID test, higher in 12 of 12"
        in sentence
    )


def test_null_is_one_of_the_values_that_are_compared() -> None:
    made = frame(seeds=2).assign(**{"training.from": [None] * 4 + ["net"] * 4})
    layout = replace(LAYOUT, rows=(*LAYOUT.rows, "training.from"))
    asked = question(Report((layout,), made, NO_CURVES, {}, {}))
    assert "from (null, net)" in asked and "(2 seeds)" in asked


def test_sentences_leave_out_what_means_nothing_in_a_cell() -> None:
    """Such as a preset, in rows of networks that were trained elsewhere."""
    made = with_errors(frame()).astype({"model.attention": object})
    made.loc[made.index[0], "model.attention"] = "-"
    found = Report((LAYOUT,), made, NO_CURVES, {}, {})
    assert question(found).startswith("Compares preset (nano, micro), attention (yes, no): ")
    assert finding(found.tables).startswith("The best FID test is 10.00 ± 0.39 (nano), ")


def test_the_page_says_how_many_seeds_cells_have() -> None:
    def asked(made: pd.DataFrame) -> str:
        return question(Report((LAYOUT,), made, NO_CURVES, {}, {}))

    assert asked(frame()).endswith(": 4 cells.") and asked(frame(seeds=3)).endswith(": 12 cells (3 seeds).")
    assert asked(frame(seeds=3).drop(index=[1, 2])).endswith(": 10 cells (up to 3 seeds).")
    one = Report((Layout("one", ()),), frame(seeds=2)[:2], NO_CURVES, {}, {})
    assert question(one) == "2 cells (2 seeds)."


def test_a_winner_is_called_one_and_nothing_is_found_without_scores() -> None:
    won = finding(result_tables(with_errors(frame()), LAYOUT))
    assert won.startswith(
        "The best FID test is 10.00 ± 0.39 (nano, attention=no), significantly better than all others"
    )
    assert finding(result_tables(frame(status="missing", fid_test=np.nan, class_accuracy=np.nan), LAYOUT)) == ""
