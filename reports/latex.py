"""Renders result tables as LaTeX for a paper: booktabs, a caption, a label, and the notes below."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from reports.changed_code import CHANGED_MARK
from reports.entries import NO_NUMBER, TableEntry
from reports.heads import HeadGroup
from reports.metrics import MINUS
from reports.notes import reading_notes
from reports.table import ResultTable

PREAMBLE = r"""% Packages: \usepackage{booktabs,rotating}; the latter brings graphicx, too
% Each table can be copied into a paper; this file can also be read with \input or compiled by itself.
\makeatletter
\ifx\documentclass\@twoclasseserror\let\endreport\relax\else
  \documentclass{article}
  \usepackage{booktabs,rotating}
  \begin{document}
  \def\endreport{\end{document}}
\fi
\makeatother
"""
END = r"\endreport"
TEX = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%_#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\^{}",
        "<": r"$<$",
        ">": r"$>$",
        "|": r"$|$",
        "`": r"\`{}",
        "[": "{[}",  # at the begin of a row, it would be an option of the row's end before it
        "*": "{*}",  # likewise
        "±": r"$\pm$",
        "≈": r"$\approx$",
        "Δ": r"$\Delta$",
        CHANGED_MARK: r"$^\dagger$",
        NO_NUMBER: r"\textendash{}",
    }
)
SYMBOLS = f"±≈Δ—×³{CHANGED_MARK}"
QUOTED = re.compile('"([^"]*)"')
LAST_LETTER = 0x17F  # of those beyond ASCII that LaTeX reads without further packages, except these:
UNKNOWN_LETTERS = "«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ"  # LaTeX's default encoding lacks them, and would stop
COLUMN_WIDTH, PAGE_WIDTH, TURNED_WIDTH = 48, 96, 120  # letters of a paper's column, page and turned page
GAP = 3  # letters between columns


def latex_document(tables: Sequence[ResultTable]) -> str:
    """Render tables as one file, which can be compiled by itself and read by another."""
    return "\n".join([PREAMBLE, *(to_latex(table) for table in tables), END, ""])


def to_latex(table: ResultTable) -> str:
    """Render a table that floats: as wide as a column, as the page, or rotated, whichever its text needs.

    One that is too wide even then is made smaller as a whole.
    """
    width = _width(table)
    environment = "table" if width <= COLUMN_WIDTH else "table*" if width <= PAGE_WIDTH else "sidewaystable"
    caption = " ".join(filter(None, (f"{table.heading}.", table.caption, f"Scores: {table.label}.")))
    return "\n".join(
        [
            rf"\begin{{{environment}}}[{'p' if environment == 'sidewaystable' else 't'}]",
            r"\centering",
            rf"\caption{{{escape(caption)}}}",
            rf"\label{{tab:{_label(table)}}}",
            r"\small",
            *([r"\resizebox{\linewidth}{!}{%"] if width > TURNED_WIDTH else []),
            *_tabular(table),
            *(["}"] if width > TURNED_WIDTH else []),
            *_notes(table),
            rf"\end{{{environment}}}",
            "",
        ]
    )


def _label(table: ResultTable) -> str:
    return re.sub(r"[^A-Za-z0-9.:-]", "-", table.title) + (f"-{table.number}" if table.number > 1 else "")


def _width(table: ResultTable) -> int:
    """The letters of a table's widest row, were all its columns as wide as their longest text."""
    rows = [[*names, *(entry.text for entry in entries)] for names, entries in table.rows]
    heads = [*table.row_heads, *(group.text for group in table.head_groups[-1])]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return sum(widths) + GAP * (len(widths) - 1)


def _tabular(table: ResultTable) -> Iterator[str]:
    yield rf"\begin{{tabular}}{{{'l' * len(table.row_heads)}{'r' * len(table.heads)}}}"
    yield r"  \toprule"
    yield from _head(table)
    yield r"  \midrule"
    for names, entries in table.rows:
        yield _row([*map(escape, names), *map(_entry, entries)])
    if table.baselines:
        yield r"  \midrule"
    for row in table.baselines:
        title = rf"\multicolumn{{{len(table.row_heads)}}}{{l}}{{{escape(row.title)}}}"
        yield _row([title, *(number(entry.text) if entry.mean is not None else "" for entry in row.entries)])
    yield r"  \bottomrule"
    yield r"\end{tabular}"


def _head(table: ResultTable) -> Iterator[str]:
    *groups, last = table.head_groups
    first = len(table.row_heads)
    for group in groups:
        yield _row([""] * first + [_group(head) for head in group])
        yield from _rules(group, first)
    yield _row([*map(escape, table.row_heads), *(escape(head.text) for head in last)])


def _group(head: HeadGroup) -> str:
    return rf"\multicolumn{{{head.span}}}{{c}}{{{escape(head.text)}}}" if head.text or head.span > 1 else ""


def _rules(groups: Sequence[HeadGroup], first: int) -> Iterator[str]:
    """The lines below the groups of a head. first: how many columns stand before them."""
    ends = list(itertools.accumulate((group.span for group in groups), initial=first))
    rules = [
        rf"\cmidrule(lr){{{start + 1}-{end}}}"
        for group, (start, end) in zip(groups, itertools.pairwise(ends), strict=True)
        if group.text
    ]
    if rules:
        yield f"  {' '.join(rules)}"


def _row(cells: Iterable[str]) -> str:
    return f"  {' & '.join(cells)} \\\\"


def _entry(entry: TableEntry) -> str:
    text = number(entry.text_without_footnotes)
    marks = rf"\textsuperscript{{{','.join(map(escape, entry.footnotes))}}}" if entry.footnotes else ""
    if entry.is_best:
        return rf"\textbf{{{text}}}{marks}"
    return text + marks + (r"\rlap{\,$\approx$}" if entry.is_tied else "")  # no width: the digits stay aligned


def _notes(table: ResultTable) -> Iterator[str]:
    lines = [line for block in table.blocks_below for line in block] + reading_notes([table])
    if lines:
        yield r"\par\smallskip"
        yield r"\begin{minipage}{\linewidth}\footnotesize\raggedright"
        yield from (rf"{prose(line)}\par" for line in lines)
        yield r"\end{minipage}"


def prose(text: str) -> str:
    """Return sentences as LaTeX, whose quotation marks open and close."""
    return QUOTED.sub(r"``\1''", number(text))


def number(text: str) -> str:
    """Return text with numbers as LaTeX, whose minus signs are as long as its plus signs."""
    return MINUS.sub("$-$", escape(text)).replace(r" \%", r"\,\%")


def escape(text: str) -> str:
    """Return text as LaTeX that shows it in one paragraph, whatever letters it has."""
    line = unicodedata.normalize("NFC", " ".join(text.split()))  # an accent that follows its letter joins it
    shown = "".join(letter if _is_readable(letter) else _plain(letter) for letter in line)
    written = shown.translate(TEX).replace("--", "-{}-")  # LaTeX would make a dash of two hyphens
    return written.replace("×10³", r"$\times 10^3$").replace("FID inf", r"FID$_\infty$")


def _is_readable(letter: str) -> bool:
    is_accented = letter > "\xa0" and ord(letter) <= LAST_LETTER and letter not in UNKNOWN_LETTERS
    return " " <= letter <= "~" or letter in SYMBOLS or is_accented


def _plain(letter: str) -> str:
    """A letter without its accents if LaTeX reads it then, else a question mark."""
    bare = "".join(part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part))
    return bare if bare and all(" " <= part <= "~" for part in bare) else "?"
