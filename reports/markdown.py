"""Writes a report as a page of Markdown."""

from __future__ import annotations

from reports.notes import origins, remarks, report_notes, separation_note, state_line
from reports.render import escape, to_markdown
from reports.report import Report


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
