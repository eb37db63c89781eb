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
    lists = (report_notes(tables, report.notes), remarks(report.frame), origins(report.provenance))
    parts += ["".join(f"- {escape(line)}\n" for line in lines) for lines in lists if lines]
    return "\n".join(parts)
