"""Markdown."""

from reports.markdown import escape, to_markdown
from reports.tables import result_tables
from tests.reports.frames import LAYOUT, frame, with_errors


def test_markdown() -> None:
    (table,) = result_tables(with_errors(frame()).assign(class_accuracy=0.9), LAYOUT)
    markdown = to_markdown(table)
    assert markdown.startswith(f"**trial** ({table.label})\n\n| preset | attention | FID test | class accuracy |\n")
    assert "| nano | no | **10.00 ± 0.39** | 90.00 ± 0.98 % ≈ |" in markdown
    assert "| micro | no | 20.00 ± 0.39 | 90.00 ± 0.98 % ≈ |" in markdown
    assert "| *pure noise* |  | *99.00* |  |" in markdown


def test_a_bar_in_a_value_does_not_break_a_markdown_table() -> None:
    (table,) = result_tables(frame(**{"model.preset": "a|b"})[:2], LAYOUT)
    rows = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {5} and "a&#124;b" in rows[2]


def test_markdown_shows_names_as_they_are() -> None:
    assert escape("a_b *c* <script>&") == r"a\_b \*c\* &#60;script&#62;&#38;"
