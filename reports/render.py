"""Renders result tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from reports.entries import TableEntry
from reports.tables import ResultTable

TIED_MARK = "≈"  # after a number that is the best of its column, or not significantly different from the best
SPECIAL = re.compile(r"([\\`*_~<>\[\]|&$])")  # what Markdown reads as more than the letter


def to_markdown(table: ResultTable) -> str:
    """Render a Markdown table, with the best of a column in bold, or marks on the best and its equals."""
    return "\n".join(_markdown_lines(table)) + "\n"


def _markdown_lines(table: ResultTable) -> Iterator[str]:
    yield f"**{escape(table.heading)}** ({escape(table.label)})"
    yield ""
    if table.caption:
        yield escape(table.caption)
        yield ""
    yield _markdown_row(map(escape, (*table.row_heads, *table.number_heads)))
    yield f"|{' --- |' * len(table.row_heads)}{' ---: |' * len(table.heads)}"
    for names, entries in table.rows:
        yield _markdown_row([*map(escape, names), *map(_markdown_entry, entries)])
    for row in table.baselines:
        blank = [""] * (len(table.row_heads) - 1)
        numbers = [f"*{entry.text}*" if entry.mean is not None else "" for entry in row.entries]
        yield _markdown_row([f"*{row.title}*", *blank, *numbers])
    for first, *others in table.blocks_below:
        yield ""
        yield escape(first)
        yield from (f"- {escape(line)}" for line in others)


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escape(text: str) -> str:
    """Return text as Markdown that shows it as it is, in one line, in a table, too."""
    line = " ".join(text.split())
    return SPECIAL.sub(lambda found: f"&#{ord(found[1])};" if found[1] in "<>&|$" else f"\\{found[1]}", line)


def _markdown_entry(entry: TableEntry) -> str:
    return f"**{entry.text}**" if entry.is_best else f"{entry.text} {TIED_MARK}" if entry.is_tied else entry.text
