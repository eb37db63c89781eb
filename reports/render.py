"""Renders result tables as Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reports.entries import CHANGED_MARK, NO_NUMBER, TableEntry
from reports.tables import ResultTable

TIED_MARK = "≈"  # after a number that is the best of its column, or not significantly different from the best
TEX = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%_#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\^{}",
        "±": r"$\pm$",
        CHANGED_MARK: r"$^\dagger$",
        NO_NUMBER: "--",
    }
)


def to_markdown(table: ResultTable) -> str:
    """Render a Markdown table, with the best of a column in bold, or marks on the best and its equals."""
    return "\n".join(_markdown_lines(table)) + "\n"


def _markdown_lines(table: ResultTable) -> Iterator[str]:
    yield f"**{table.heading}** ({table.label})"
    yield ""
    yield _markdown_row([*table.row_heads, *table.number_heads])
    yield f"|{' --- |' * len(table.row_heads)}{' ---: |' * len(table.heads)}"
    for names, entries in table.rows:
        yield _markdown_row([*names, *map(_markdown_entry, entries)])
    for row in table.baselines:
        blank = [""] * (len(table.row_heads) - 1)
        numbers = [f"*{entry.text}*" if entry.mean is not None else "" for entry in row.entries]
        yield _markdown_row([f"*{row.title}*", *blank, *numbers])
    for note in table.footnotes:
        yield f"\n{note}"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _markdown_entry(entry: TableEntry) -> str:
    return f"**{entry.text}**" if entry.is_best else f"{entry.text} {TIED_MARK}" if entry.is_tied else entry.text


def to_latex(table: ResultTable) -> str:
    """Render a booktabs table to paste into a paper."""
    blank = [""] * (len(table.row_heads) - 1)
    body = [_latex_row([*map(_tex, names), *map(_latex_entry, entries)]) for names, entries in table.rows]
    baselines = [
        _latex_row([_tex(row.title), *blank, *(_tex(e.text) if e.mean is not None else "" for e in row.entries)])
        for row in table.baselines
    ]
    return "\n".join(
        [
            f"% {table.heading} ({table.label})",
            rf"\begin{{tabular}}{{{'l' * len(table.row_heads)}{'r' * len(table.heads)}}}",
            r"  \toprule",
            _latex_row([*map(_tex, table.row_heads), *map(_tex, table.number_heads)]),
            r"  \midrule",
            *body,
            *(["  \\midrule", *baselines] if baselines else []),
            r"  \bottomrule",
            r"\end{tabular}",
            *(rf"\par\footnotesize {_tex(note)}" for note in table.footnotes),
            "",
        ]
    )


def _latex_row(cells: Iterable[str]) -> str:
    return f"  {' & '.join(cells)} \\\\"


def _latex_entry(entry: TableEntry) -> str:
    if entry.is_best:
        return rf"\textbf{{{_tex(entry.text)}}}"
    return _tex(entry.text) + (r"\rlap{\,$\approx$}" if entry.is_tied else "")  # no width: the digits stay aligned


def _tex(text: str) -> str:
    return text.translate(TEX).replace(r"x10\^{}3", r"$\times 10^3$").replace("FID inf", r"FID$_\infty$")
