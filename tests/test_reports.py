"""Tables and pages from frames of results."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reports.page import Report, write_report
from reports.tables import Entry, Layout, comparisons, show_value, to_latex, to_markdown

LAYOUT = Layout("trial", rows=("model.preset", "model.attention"))


def frame(seeds: int = 1, **changes) -> pd.DataFrame:
    rows = [
        {
            "cell": f"{preset}/{attention}/{seed}",
            "model.preset": preset,
            "model.attention": attention,
            "model.depths": None,
            "training.kimg": 50.0,
            "data.name": "digits",
            "evaluation.images": 1000,
            "sampling.resolution": None,
            "seed": seed,
            "data": "abc",
            "features": "FID, classifier features, 64-d",
            "status": "done",
            "fid_test": 10.0 * (1 + p) + attention + seed,
            "class_accuracy": 0.9 + 0.01 * p,
            "noise_fid_test": 99.0,
            "real_fid_test": 0.5,
        }
        for p, preset in enumerate(("nano", "micro"))
        for attention in (False, True)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows).assign(**changes)


def report(made: pd.DataFrame, tmp_path: Path, layout: Layout = LAYOUT) -> Report:
    pictures = {}
    for cell in made["cell"]:
        pictures[cell] = tmp_path / f"{cell.replace('/', '_')}.png"
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(pictures[cell])
    curves = pd.DataFrame(
        {"training": ["a"] * 4, "kimg": [1, 2, 3, 3], "loss": [1, 0.5, 0.4, None], "val_loss": [None, None, None, 0.5]}
    )
    return Report(layout, made, curves, pictures, {"git_commit": "0123"})


def texts(table) -> list[list[str]]:
    return [[entry.text for entry in entries] for _, entries in table.rows]


def test_rows_columns_and_the_best_of_every_column() -> None:
    (table,) = comparisons(frame(), LAYOUT)
    assert table.row_heads == ("preset", "attention") and table.number_heads == ("FID test", "class accuracy")
    assert [names for names, _ in table.rows] == [("nano", "no"), ("nano", "yes"), ("micro", "no"), ("micro", "yes")]
    assert texts(table) == [["10.00", "90.0 %"], ["11.00", "90.0 %"], ["20.00", "91.0 %"], ["21.00", "91.0 %"]]
    assert [[entry.best for entry in entries] for _, entries in table.rows] == [
        [True, False],
        [False, False],
        [False, True],
        [False, True],
    ]
    assert table.complete


def test_an_axis_can_make_columns() -> None:
    layout = Layout("trial", rows=("model.preset",), columns=("model.attention",), metrics=("fid_test",))
    (table,) = comparisons(frame(), layout)
    assert table.number_heads == ("attention=no FID test", "attention=yes FID test")
    assert texts(table) == [["10.00", "11.00"], ["20.00", "21.00"]]


def test_mean_and_standard_deviation_over_seeds() -> None:
    (table,) = comparisons(frame(seeds=3), LAYOUT)
    assert texts(table)[0] == ["11.00 ± 1.00", "90.0 ± 0.0 %"]
    assert table.rows[0][1][0].std == pytest.approx(1.0)  # of 10, 11, 12: the sample's, n - 1


def test_missing_numbers_are_dashes_or_say_how_many_seeds() -> None:
    made = frame(seeds=3)
    made.loc[0, "fid_test"] = np.nan
    made.loc[3:5, "fid_test"] = np.nan
    (table,) = comparisons(made, LAYOUT)
    assert [line[0] for line in texts(table)[:2]] == ["11.50 ± 0.71 (2 of 3 seeds)", "—"]
    assert not table.complete


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("features", ["FID, Inception features, 2048-d", "FID, classifier features, 64-d"]),
        ("evaluation.images", [1000, 2000]),
        ("sampling.resolution", [None, 16]),
        ("data", ["abc", "abd"]),
    ],
)
def test_numbers_that_cannot_be_compared_never_share_a_table(column: str, values: list, tmp_path: Path) -> None:
    made = frame(**{column: [values[0], values[0], values[1], values[1]]})
    tables = comparisons(made, LAYOUT)
    assert [len(table.rows) for table in tables] == [2, 2]
    write_report(report(made, tmp_path), tmp_path)
    assert "Numbers that cannot be compared are kept apart" in (tmp_path / "report.md").read_text()


def test_context_rows_say_how_to_read_the_numbers() -> None:
    (table,) = comparisons(frame(), LAYOUT)
    assert [(title, entries[0].text, entries[1].mean) for title, entries in table.context] == [
        ("pure noise", "99.00", None),
        ("real train split", "0.50", None),
    ]


def test_an_unset_axis_value_is_one_row_of_its_own() -> None:
    made = frame().assign(**{"model.depths": [None, None, "1,1", "1,1"]})
    layout = Layout("trial", rows=("model.depths", "model.attention"))
    (table,) = comparisons(made, layout)
    assert [names for names, _ in table.rows] == [("null", "no"), ("null", "yes"), ("1,1", "no"), ("1,1", "yes")]
    assert [line[0] for line in texts(table)] == ["10.00", "11.00", "20.00", "21.00"]


def test_markdown_and_latex() -> None:
    (table,) = comparisons(frame(seeds=2), LAYOUT)
    markdown = to_markdown(table)
    assert "| preset | attention | FID test | class accuracy |" in markdown
    assert "| nano | no | **10.50 ± 0.71** | 90.0 ± 0.0 % |" in markdown
    assert "| *pure noise* |  | *99.00* |  |" in markdown
    latex = to_latex(table)
    assert r"nano & no & \textbf{10.50 $\pm$ 0.71} & 90.0 $\pm$ 0.0 \% \\" in latex
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 1


def test_html_needs_nothing_beside_it(tmp_path: Path) -> None:
    page = write_report(report(frame(), tmp_path), tmp_path / "out").read_text()

    class Links(HTMLParser):
        found: list[str]

        def handle_starttag(self, tag, attrs) -> None:
            self.found += [value for name, value in attrs if name in ("src", "href") and value]

    links = Links()
    links.found = []
    links.feed(page)
    assert len(links.found) == 4 and all(link.startswith("data:image/png;base64,") for link in links.found)
    assert 'class="number best">10.00' in page and "Plotly.newPlot" in page


def test_html_of_a_sweep_that_scores_no_test_split(tmp_path: Path) -> None:
    made = frame().rename(columns={"fid_test": "fid_val"})
    page = write_report(report(made, tmp_path), tmp_path / "out").read_text()
    assert "(val)" in page and "(test)" not in page


def test_html_escapes_what_a_sweep_file_says(tmp_path: Path) -> None:
    made = frame(**{"model.preset": ["<script>alert(1)</script>"] * 2 + ["micro"] * 2})
    page = write_report(report(made, tmp_path), tmp_path / "out").read_text()
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page


def test_a_report_of_an_empty_table_says_so(tmp_path: Path) -> None:
    made = frame(status="missing", fid_test=np.nan).drop(columns=["class_accuracy", "noise_fid_test", "real_fid_test"])
    empty = Report(LAYOUT, made, pd.DataFrame(columns=["training", "kimg", "loss"]), {}, {})
    page = write_report(empty, tmp_path).read_text()
    assert "4 cells, 4 of them missing" in page and "Samples" not in page and "Training loss" not in page


def test_results_csv_has_every_column_and_reads_back(tmp_path: Path) -> None:
    made = frame()
    write_report(report(made, tmp_path), tmp_path / "out")
    again = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(again) == list(made) and again["fid_test"].tolist() == made["fid_test"].tolist()
    assert not list((tmp_path / "out").glob(".*"))


def test_parameters_that_all_cells_share_are_listed_once(tmp_path: Path) -> None:
    page = write_report(report(frame(), tmp_path), tmp_path / "out").read_text()
    shared = re.findall(r"<dt>(.*?)</dt>", page)
    assert "training.kimg" in shared and "model.preset" not in shared


@pytest.mark.parametrize(
    ("value", "text"), [(True, "yes"), (False, "no"), (1.0, "1"), (2.5, "2.5"), ("heun", "heun"), (None, "null")]
)
def test_values_are_shown_as_people_write_them(value, text: str) -> None:
    assert show_value(value) == text


def test_an_entry_without_a_number_is_a_dash() -> None:
    assert Entry(None).text == "—"
