"""Tables -> Markdown, LaTeX and rich."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from reports.entries import NOTHING, Entry
from reports.tables import Comparison

CLOSE = "≈"  # after a number that cannot be told apart from the best of its column
MOST_WIDTH = 1000  # characters of a line that anybody has
TEX = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%_#${}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\^{}",
        "±": r"$\pm$",
        NOTHING: "--",
    }
)


def to_markdown(table: Comparison) -> str:
    """A Markdown table: the best of a column in bold, or a mark after those that are not told apart from it."""
    return "\n".join(_markdown_lines(table)) + "\n"


def _markdown_lines(table: Comparison) -> Iterator[str]:
    yield f"**{table.heading}** ({table.label})"
    yield ""
    yield _markdown_row([*table.row_heads, *table.number_heads])
    yield f"|{' --- |' * len(table.row_heads)}{' ---: |' * len(table.heads)}"
    for names, entries in table.rows:
        yield _markdown_row([*names, *map(_markdown_entry, entries)])
    for context in table.context:
        blank = [""] * (len(table.row_heads) - 1)
        numbers = [f"*{entry.text}*" if entry.mean is not None else "" for entry in context.entries]
        yield _markdown_row([f"*{context.title}*", *blank, *numbers])


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _markdown_entry(entry: Entry) -> str:
    return f"**{entry.text}**" if entry.best else f"{entry.text} {CLOSE}" if entry.close else entry.text


def to_latex(table: Comparison) -> str:
    """A booktabs table to paste into a paper."""
    blank = [""] * (len(table.row_heads) - 1)
    body = [_latex_row([*map(_tex, names), *map(_latex_entry, entries)]) for names, entries in table.rows]
    context = [
        _latex_row([_tex(row.title), *blank, *(_tex(e.text) if e.mean is not None else "" for e in row.entries)])
        for row in table.context
    ]
    return "\n".join(
        [
            f"% {table.heading} ({table.label})",
            rf"\begin{{tabular}}{{{'l' * len(table.row_heads)}{'r' * len(table.heads)}}}",
            r"  \toprule",
            _latex_row([*map(_tex, table.row_heads), *map(_tex, table.number_heads)]),
            r"  \midrule",
            *body,
            *(["  \\midrule", *context] if context else []),
            r"  \bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _latex_row(cells: list[str]) -> str:
    return f"  {' & '.join(cells)} \\\\"


def _latex_entry(entry: Entry) -> str:
    if entry.best:
        return rf"\textbf{{{_tex(entry.text)}}}"
    return _tex(entry.text) + (r"\rlap{\,$\approx$}" if entry.close else "")  # no width: the digits stay aligned


def _tex(text: str) -> str:
    return text.translate(TEX).replace(r"x10\^{}3", r"$\times 10^3$").replace("FID inf", r"FID$_\infty$")


def to_rich(table: Comparison, width: int | None = None) -> RichTable:
    """The table for a terminal; of bare numbers where all of it is wider than `width` characters."""
    whole = _rich_table(table, bare=False)
    if width is None or Console(width=MOST_WIDTH).measure(whole).maximum <= width:
        return whole
    bare = _rich_table(table, bare=True)
    bare.caption, bare.caption_justify = "(too narrow here for ± and s: the report has them)", "left"
    return bare


def _rich_table(table: Comparison, bare: bool) -> RichTable:
    rich = RichTable(box=None, pad_edge=False, header_style="bold", title_justify="left")
    rich.title = f"{table.heading} ({table.label})"
    for i, head in enumerate(table.row_heads):
        longest = max(map(len, (head, *(names[i] for names, _ in table.rows))))
        rich.add_column(Text(head), min_width=longest)
    for head, marked in zip(table.number_heads, table.marked, strict=True):
        rich.add_column(Text(head), justify="right")
        if marked:  # a column of its own: the digits of what is not marked stay aligned with the others
            rich.add_column("")
    for names, entries in table.rows:
        rich.add_row(*map(Text, names), *_rich_entries(entries, table.marked, bare))
    blank = [""] * (len(table.row_heads) - 1)
    for row in table.context:
        shown = [entry if entry.mean is not None else None for entry in row.entries]
        rich.add_row(Text(row.title), *blank, *_rich_entries(shown, table.marked, bare), style="dim")
    return rich


def _rich_entries(entries: Sequence[Entry | None], marked: Sequence[bool], bare: bool) -> Iterator[Text]:
    for entry, with_mark in zip(entries, marked, strict=True):
        shown = replace(entry, margin=None, std=None) if entry and bare else entry
        yield Text(shown.text if shown else "", style="bold green" if entry and entry.best else "")
        if with_mark:
            yield Text(CLOSE if entry and entry.close else "", style="green")
