"""Writes result tables, and a report of them, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from reports.entries import TIED_MARK, TableEntry
from reports.notes import origins, remarks, report_notes, separation_note, state_line
from reports.report import Report
from reports.table import ResultTable

SPECIAL = re.compile(r"([\\`*_~<>\[\]|&$])")  # what Markdown reads as more than the letter


def to_markdown_page(report: Report) -> str:
    """Return the tables, how to read them, and where the numbers come from."""
    tables = report.tables
    state = f"{state_line(report.frame, report.states)}.{separation_note(tables, report.frame)}"
    parts = [f"# {report.layout.title}\n", f"{escape(state)}\n", *(to_markdown(table) for table in tables)]
    lists = {
        "How to read the numbers": report_notes(tables, report.notes),
        "Remarks": remarks(report.frame),
        "Where the numbers come from": origins(report.provenance),
    }
    for title, lines in lists.items():
        parts += [f"## {title}\n", "".join(f"- {escape(line)}\n" for line in lines)] if lines else []
    return "\n".join(parts)


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
