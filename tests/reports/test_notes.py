"""Sentences that explain a report's tables."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from reports.folder import write_report
from reports.notes import reading_notes, remarks, state_line
from reports.tables import result_tables
from tests.reports.frames import LAYOUT, frame, full, report, with_errors


@pytest.mark.parametrize(
    ("made", "there", "absent"),
    [
        (frame(), "There is one seed only", "±:"),
        (with_errors(frame()), "not if the network were trained again", "training seeds"),
        (frame(seeds=2), "standard deviation over 2 training seeds", "t interval"),
        (frame(seeds=3), "95% t interval", "±:"),
        (with_errors(frame()), "about these very networks", "percentage points"),
        (frame(seeds=3), "Class accuracy is the share", "about these very networks"),
        (full(frame()), "below 1 means memorising", "truncation"),
        (full(frame()).assign(nn_copied_pixels=0.1), "what chance alone makes of it", "truncation"),
        (frame(truncation_rms=1.0), "truncation error", "memorising"),
        (frame(), "held out from the reference", "KID"),
    ],
)
def test_reading_notes_explain_what_is_shown_and_no_more(made: pd.DataFrame, there: str, absent: str) -> None:
    text = " ".join(reading_notes(result_tables(made, LAYOUT)))
    assert there in text and absent not in text


def test_differences_over_seeds_are_not_called_those_of_redrawn_images() -> None:
    made = frame(seeds=3, fid_test=[1.0, 2, 3, 2, 3.1, 4.2, 5, 6, 7.5, 6, 7.1, 8.2])
    (table,) = result_tables(made, replace(LAYOUT, metrics=("fid_test",), baseline={"model.preset": "nano"}))
    text = " ".join(reading_notes([table]))
    assert any(entry.is_difference and entry.margin for entry in table.entries)
    assert "Δ: the difference" in text and "if images were drawn again" not in text


def test_differences_of_percentages_are_explained() -> None:
    tables = result_tables(with_errors(frame()), replace(LAYOUT, baseline={"model.attention": True}))
    assert "Differences of percentages are in percentage points." in reading_notes(tables)


def test_remarks_name_their_cells(tmp_path: Path) -> None:
    note, shown = "the covariance is singular", "The covariance is singular"
    made = frame().assign(notes=[note, f"{note}; FID withheld", "", None])
    assert remarks(made) == [f"{shown} (cells nano/False/0, nano/True/0)", "FID withheld (cell nano/True/0)"]
    assert remarks(frame().assign(notes=note)) == [f"{shown} (all cells)"] and remarks(frame()) == []
    many = remarks(frame(seeds=4).assign(notes=[note] * 15 + [""]))
    assert many[0].endswith("and 9 more)")
    write_report(report(made, tmp_path), tmp_path)
    assert f"- {shown} (cells nano" in (tmp_path / "report.md").read_text()


def test_the_state_line_counts_cells_without_scores() -> None:
    assert state_line(frame()) == "4 cells, all done" and state_line(frame()[:1]) == "1 cell, all done"
    made = frame().assign(status=["missing", "missing", "stopped", "done"])
    assert state_line(made) == "4 cells, 2 of them missing and 1 stopped early as clearly worse"
    made = frame().assign(status=["missing", "pruned", "stopped", "done"])
    assert state_line(made) == "4 cells, 1 of them missing, 1 stopped early as clearly worse and 1 pruned"
