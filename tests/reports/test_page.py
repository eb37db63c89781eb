"""A report's folder and its page."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd

from reports.layout import Layout
from reports.page import Report, write_report
from tests.reports.frames import LAYOUT, frame, full, page_of, report, samplers, with_errors


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
    assert len(links.found) == 4 and all(link.startswith("data:image/png;base64,") for link in links.found)
    assert 'class="number best">10.00 ± 0.39' in page and ">≈</span>" in page


def test_captions_have_as_many_decimals_as_the_table(tmp_path: Path) -> None:
    made = with_errors(frame()).assign(fid_test_se=[0.2, 0.2, 0.2, 0.02])
    page = page_of(report(made, tmp_path), tmp_path)
    assert "FID test: 10.00 ± 0.39" in page and "FID test: 21.00 ± 0.04" in page


def test_html_carries_plotlys_script_once_for_all_figures(tmp_path: Path) -> None:
    made = samplers().assign(fid_test_se=0.1, fid_test=1.0)
    layout = Layout("s", ("sampling.sampler", "sampling.steps"))
    page = page_of(report(made[made["seed"] == 0], tmp_path, layout), tmp_path)
    assert re.findall(r'id="figure-([\w-]+)"', page) == ["scores-0", "truncation", "loss"]
    assert page.count("plotly.js v") == 1
    assert write_report(report(made[made["seed"] == 0], tmp_path, layout), tmp_path / "again").read_text() == page


def test_html_shows_the_closest_training_images(tmp_path: Path) -> None:
    made = report(full(frame()), tmp_path)
    assert "Closest training images" not in page_of(made, tmp_path)
    pairs = {"nano/False/0": made.pictures["nano/False/0"], "micro/True/0": tmp_path / "none.png"}
    page = page_of(replace(made, pairs=pairs), tmp_path)
    section = page.split("Closest training images</h2>")[1].split("<h2>")[0]
    assert section.count("<figure>") == 1 and "distance ratio 0.980 in pixels, 0.950 in features" in section


def test_html_of_a_sweep_that_scores_no_test_split(tmp_path: Path) -> None:
    made = frame().rename(columns={"fid_test": "fid_val"})
    page = page_of(report(made, tmp_path), tmp_path)
    assert "FID val: 10.00" in page and "FID test" not in page


def test_html_of_a_sweep_without_fid_shows_the_kernel_distance(tmp_path: Path) -> None:
    page = page_of(report(full(frame().drop(columns="fid_test")), tmp_path), tmp_path)
    assert "KID x10^3 test: 12.30" in page


def test_html_escapes_what_a_sweep_file_says(tmp_path: Path) -> None:
    made = with_errors(frame(**{"model.preset": ["<script>alert(1)</script>"] * 2 + ["micro"] * 2}))
    page = page_of(report(made.assign(notes="<script>alert(2)"), tmp_path), tmp_path)
    assert "<script>alert(" not in page and "&lt;script&gt;alert(1)" in page


def test_a_report_of_an_empty_table_says_so(tmp_path: Path) -> None:
    made = frame(status="missing", fid_test=np.nan).drop(columns=["class_accuracy", "noise_fid_test", "real_fid_test"])
    empty = Report(LAYOUT, made, pd.DataFrame(columns=["training", "kimg", "loss", "val_loss"]), {}, {})
    page = write_report(empty, tmp_path).read_text()
    assert "4 cells, 4 of them missing" in page and "Samples" not in page and "Loss against" not in page


def test_results_csv_has_every_column_and_reads_back(tmp_path: Path) -> None:
    made = full(frame())
    write_report(report(made, tmp_path), tmp_path / "out")
    again = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(again) == list(made) and again["fid_test"].tolist() == made["fid_test"].tolist()
    assert not list((tmp_path / "out").glob(".*"))
    for name in ("report.md", "report.tex", "report.html"):
        assert "emorisation" in (tmp_path / "out" / name).read_text()


def test_parameters_that_all_cells_share_are_listed_once(tmp_path: Path) -> None:
    page = page_of(report(frame(), tmp_path), tmp_path)
    shared = re.findall(r"<dt>(.*?)</dt>", page)
    assert "training.kimg" in shared and "model.preset" not in shared


def test_a_report_says_which_values_come_to_the_same(tmp_path: Path) -> None:
    made = replace(report(frame(), tmp_path), notes=("training.lr: 1 and 2 come to the same",))
    assert "<li>training.lr: 1 and 2 come to the same.</li>" in page_of(made, tmp_path)
    assert "- training.lr: 1 and 2 come to the same.\n" in (tmp_path / "out" / "report.md").read_text()
