"""What `doctor` found."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from experiments.cli.views.tables import Paragraph
from experiments.inspection.doctor import Finding, Verdict
from experiments.wording import count

MARKS: dict[Verdict, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "note": ("note", "yellow"),
    "wrong": ("problem", "bold red"),
}
INDENT = 9  # of texts, right of the marks


def finding_view(finding: Finding) -> Group:
    """Return what was found, and below it how to fix a problem."""
    found = Paragraph(Text(*MARKS[finding.verdict]), f"{finding.what}: {finding.text}", INDENT)
    remedy = [Paragraph(Text(), f"what to do: {finding.remedy}", INDENT)] if finding.remedy else []
    return Group(found, *remedy)


def summary_line(findings: Sequence[Finding]) -> str:
    """Return how many problems were found."""
    problems = sum(finding.verdict == "wrong" for finding in findings)
    return f"{count(problems, 'problem')} found." if problems else "No problems found."
