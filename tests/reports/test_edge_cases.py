"""Reports of unusual results: every format shows all of them, and names of any letters as they are."""

import csv
import html
import io
import math
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from reports.figures import all_charts
from reports.folder import write_report
from reports.formats import FORMATS
from reports.plots import write_figures
from reports.report import Report
from reports.terminal import to_rich
from tests.reports.frames import HOSTILE, LAYOUT, frame, full, report, restored, unfinished, with_errors

PDFLATEX = shutil.which("pdflatex")
SPECIAL = ["[0] --x", "*a* ~~b~~", '"q" `c` #1 -- $5', "é\nü 漢"]  # further names that a format might read as its own
LATEX = {  # what LaTeX shows for it
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textendash{}": "—", r"\`{}": "`",
    r"\^{}": "^", "{[}": "[", "{*}": "*", "-{}": "-", "$<$": "<", "$>$": ">", "$|$": "|",
    r"\rlap{\,$\approx$}": " ≈", r"$\pm$": "±", r"\,": " ", "$-$": "-",
}  # fmt: skip


def missing_pictures(folder: Path) -> Report:
    made = report(with_errors(frame()), folder)
    for cell in ("nano/False/0", "micro/True/0"):
        made.pictures[cell].unlink()
    return made


def half_finished(folder: Path) -> Report:
    made = unfinished().assign(status="done")
    made.loc[made["fid_test"].isna(), "status"] = "missing"
    return replace(report(made, folder), states={"nano/False/1": "running", "micro/False/0": "failed"})


def empty(folder: Path) -> Report:
    made = frame(status="missing", fid_test=np.nan).drop(columns=["class_accuracy", "noise_fid_test", "real_fid_test"])
    no_curves = pd.DataFrame(columns=["training", "kimg", "loss", "val_loss"])
    return replace(report(made, folder), pictures={}, curves=no_curves, states={"nano/False/0": "running"})


def not_finite(folder: Path) -> Report:
    return report(with_errors(frame(fid_test=[math.inf, math.nan, 20.0, 21.0])), folder)


def of_few_columns(folder: Path) -> Report:
    made = frame().drop(columns=["data", "reference", "noise_fid_test", "real_fid_test", "model.depths"])
    return report(made, folder)


def hostile(folder: Path, names: list[str] = HOSTILE) -> Report:
    made = with_errors(full(frame(**{"model.preset": names, "notes": names[0]})))
    return report(made, folder, replace(LAYOUT, name=names[2], caption=names[1]))


def special(folder: Path) -> Report:
    return hostile(folder, SPECIAL)


CASES: dict[str, Callable[[Path], Report]] = {
    case.__name__: case
    for case in (missing_pictures, half_finished, empty, not_finite, of_few_columns, hostile, special)
}


# what a reader sees of every format ---------------------------------------------------------------


def seen_in_markdown(folder: Path) -> str:
    lines = [line for line in (folder / "report.md").read_text().splitlines() if line.startswith("|")]
    assert all(line.count("|") == lines[0].count("|") for line in lines[:3]), "a table has as many cells in every row"
    return re.sub(r"\\([\\`*_\[\]~])", r"\1", html.unescape("\n".join(lines).replace("**", "")))


def seen_on_the_page(folder: Path) -> str:
    tables = re.findall(r"<tbody>.*?</tbody>", (folder / "report.html").read_text(), re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", " ", " ".join(tables)))


def seen_in_latex(folder: Path) -> str:
    text = " ".join(re.findall(r"\\toprule.*?\\bottomrule", (folder / "report.tex").read_text(), re.DOTALL))
    for written, shown in LATEX.items():
        text = text.replace(written, shown)
    return re.sub(r"\\textbf{([^}]*)}", r"\1", re.sub(r"\\([&%_#${}])", r"\1", text))


def seen_in_csv(folder: Path) -> str:
    rows = list(csv.DictReader(io.StringIO((folder / "tables.csv").read_text(), newline="")))
    assert rows
    return "\n".join(restored(row[name]) for row in rows for name in ("row", "shown"))


def seen_in_parquet(folder: Path) -> str:
    made = pd.read_parquet(folder / "tables.parquet")
    return "\n".join([*made["row"], *made["shown"]])


SEEN = (seen_in_markdown, seen_on_the_page, seen_in_latex, seen_in_csv, seen_in_parquet)


def words(text: str) -> Counter[str]:
    return Counter(word.strip("(),≈*") for word in text.split())


def seen_in_a_terminal(made: Report) -> str:
    console = Console(file=io.StringIO(), width=300)
    for table in made.tables:
        console.print(to_rich(table, 300))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("case", CASES)
def test_every_format_shows_every_entry(case: str, tmp_path: Path) -> None:
    made = CASES[case](tmp_path)
    out = write_report(made, tmp_path / "out", FORMATS).parent
    expected = words(" ".join(entry.text for table in made.tables for entry in table.entries))
    assert expected and all(entry.text.strip() for table in made.tables for entry in table.entries)
    for text in (*(seen(out) for seen in SEEN), seen_in_a_terminal(made)):
        assert not expected - words(text)


@pytest.mark.parametrize("names", [HOSTILE, SPECIAL], ids=["hostile", "special"])
@pytest.mark.parametrize("seen", [seen for seen in SEEN if seen is not seen_in_latex])
def test_names_are_shown_as_they_are(seen: Callable[[Path], str], names: list[str], tmp_path: Path) -> None:
    out = write_report(hostile(tmp_path, names), tmp_path / "out", FORMATS).parent
    text = " ".join(seen(out).split())
    assert all(" ".join(name.split()) in text for name in names)


def test_latex_shows_names_as_far_as_it_has_their_letters(tmp_path: Path) -> None:
    for names in (HOSTILE, SPECIAL):
        text = seen_in_latex(write_report(hostile(tmp_path, names), tmp_path / "out", FORMATS).parent)
        assert all(" ".join(name.replace("漢", "?").split()) in " ".join(text.split()) for name in names)


@pytest.mark.skipif(PDFLATEX is None, reason="pdflatex is not installed: apt-get install texlive-latex-recommended")
@pytest.mark.parametrize("case", CASES)
def test_latex_of_unusual_results_compiles(case: str, tmp_path: Path) -> None:
    write_report(CASES[case](tmp_path), tmp_path, ("tex",))
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


@pytest.mark.parametrize("case", CASES)
def test_figures_of_unusual_results_are_drawn(case: str, tmp_path: Path) -> None:
    charts = all_charts(CASES[case](tmp_path))
    files = write_figures(charts, tmp_path / "figures")
    assert len(files) == 2 * len(charts) + 1 and all(file.exists() for file in files)
    scores = tmp_path / "figures" / "scores.svg"
    if case in ("hostile", "special"):
        text = html.unescape(scores.read_text())
        assert all(name in text for name in (HOSTILE if case == "hostile" else SPECIAL[:3]))


def test_a_cell_without_a_picture_is_left_out_of_the_gallery_only(tmp_path: Path) -> None:
    page = write_report(missing_pictures(tmp_path), tmp_path / "out").read_text()
    assert page.count('alt="samples of') == 2
    assert 'id="side-by-side"' in page and page.count("data-cell=") == 8 + 2


def test_a_half_finished_sweep_says_what_each_cell_waits_for(tmp_path: Path) -> None:
    out = write_report(half_finished(tmp_path), tmp_path / "out", FORMATS).parent
    for file in ("report.md", "report.html", "report.tex", "tables.csv"):
        text = (out / file).read_text()
        assert all(word in text for word in ("1 running", "failed", "pruned at 12.5 kimg", "of 3 seeds")), file


def test_a_score_that_is_no_number_is_a_dash_and_infinity_is_shown(tmp_path: Path) -> None:
    out = write_report(not_finite(tmp_path), tmp_path / "out", FORMATS).parent
    (row,) = [line for line in (out / "report.md").read_text().splitlines() if line.startswith("| nano | yes")]
    assert row.split("|")[3].strip() == "—"
    assert "inf" in seen_in_latex(out) and "inf" in seen_on_the_page(out) and "NaN" not in seen_on_the_page(out)
