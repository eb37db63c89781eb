"""LaTeX: what it says, and that it compiles."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from reports.latex import escape, latex_document, number, prose, to_latex
from reports.table import ResultTable
from reports.tables import result_tables
from tests.reports.frames import DIGITS, HOSTILE, LAYOUT, PIVOT, digits, frame, full, with_errors

PDFLATEX = shutil.which("pdflatex")
PAPER = r"\documentclass[twocolumn]{article}\usepackage{booktabs,rotating}\begin{document}\input{report}\end{document}"


def hostile() -> list[ResultTable]:
    made = with_errors(full(frame(**{"model.preset": HOSTILE})))
    return result_tables(made, replace(LAYOUT, name=HOSTILE[0], caption=HOSTILE[1]))


def test_latex() -> None:
    (table,) = result_tables(with_errors(frame()).assign(class_accuracy=0.9), LAYOUT)
    latex = to_latex(table)
    assert r"nano & no & \textbf{10.00 $\pm$ 0.39} & 90.00 $\pm$ 0.98\,\%\rlap{\,$\approx$} \\" in latex
    assert latex.count(r"\toprule") == latex.count(r"\bottomrule") == 1
    assert r"\label{tab:trial}" in latex and r"\caption{trial." in latex
    fidelity = to_latex(result_tables(full(frame(**{"model.preset": "a_b&c"})), LAYOUT)[1])
    assert r"KID $\times 10^3$" in fidelity and r"FID$_\infty$" in fidelity and r"a\_b\&c" in fidelity


def test_groups_of_columns_have_a_rule_below_their_head() -> None:
    (table,) = result_tables(digits(), PIVOT)
    latex = to_latex(table)
    assert r"\multicolumn{2}{c}{euler} & \multicolumn{2}{c}{heun}" in latex
    assert r"\cmidrule(lr){4-5} \cmidrule(lr){6-7} \cmidrule(lr){8-9}" in latex


def test_minus_signs_are_those_of_mathematics_and_hyphens_stay() -> None:
    assert number("-2.31 ± 0.40, pytorch-fid, 1e-05") == r"$-$2.31 $\pm$ 0.40, pytorch-fid, 1e-05"


def test_every_letter_is_readable() -> None:
    assert escape("50% of $x_1 ~ {é} ü→漢") == r"50\% of \$x\_1 \textasciitilde{} \{é\} ü??"


def test_an_accent_that_latex_lacks_is_left_out() -> None:
    assert escape("Ząb ǎ e\u0301 «þ»") == "Zab a é ???"


def test_quotation_marks_open_and_close() -> None:
    assert prose('"A" and "B", 5" wide') == """``A'' and ``B'', 5" wide"""


@pytest.mark.skipif(PDFLATEX is None, reason="pdflatex is not installed: apt-get install texlive-latex-recommended")
def test_a_table_too_wide_for_a_turned_page_is_made_smaller(tmp_path: Path) -> None:
    layout = replace(LAYOUT, baseline={"model.attention": True}, columns=("model.attention",), rows=("model.preset",))
    made = frame(seeds=3).assign(fid_val=3.0, fid_train=4.0)
    (table,) = result_tables(made.drop(columns="class_accuracy"), layout)
    assert r"\resizebox{\linewidth}{!}{%" in to_latex(table)
    assert r"\resizebox" not in to_latex(result_tables(digits(), DIGITS)[0])
    (tmp_path / "report.tex").write_text(latex_document([table]))
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 0 and b"Overfull" not in done.stdout, done.stdout.decode(errors="replace")[-2000:]


@pytest.mark.skipif(PDFLATEX is None, reason="pdflatex is not installed: apt-get install texlive-latex-recommended")
def test_latex_reads_every_letter_of_european_languages(tmp_path: Path) -> None:
    (table,) = result_tables(with_errors(frame()), LAYOUT)
    letters = " ".join(map(chr, range(0xA1, 0x250)))
    (tmp_path / "report.tex").write_text(latex_document([replace(table, caption=letters)]), encoding="utf-8")
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


@pytest.mark.skipif(PDFLATEX is None, reason="pdflatex is not installed: apt-get install texlive-latex-recommended")
@pytest.mark.parametrize("within", ["by itself", "in a paper"])
def test_latex_compiles(within: str, tmp_path: Path) -> None:
    layouts = (DIGITS, PIVOT, replace(PIVOT, baseline={"model.attention": True}, costs=("nfe",)))
    tables = [*result_tables(digits().assign(nfe=18), layouts), *hostile()]
    (tmp_path / "report.tex").write_text(latex_document(tables))
    (tmp_path / "paper.tex").write_text(PAPER)
    main = "report" if within == "by itself" else "paper"
    command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", f"{main}.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / f"{main}.pdf").stat().st_size > 10_000
    assert b"undefined" not in done.stdout
