"""Text that a spreadsheet would run as a formula is escaped in CSV files, and nothing else changes."""

import csv
import io

import pandas as pd
import pytest

from reports.csv_cells import csv_text
from tests.reports.frames import restored

HOSTILE = ["=1+1", "+1", "-x", "@SUM(A1)", "\tx", "\rx", "'=1", "''+1"]
ORDINARY = ["nano", "1e-3", "", "a=b", "'quoted'", "heun/steps=3", "é", "'"]


def written(frame: pd.DataFrame) -> list[list[str]]:
    return list(csv.reader(io.StringIO(csv_text(frame), newline="")))


def read_back(frame: pd.DataFrame) -> list[list[str]]:
    return [list(map(restored, row)) for row in written(frame)]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_that_begins_like_a_formula_is_escaped(text: str) -> None:
    frame = pd.DataFrame({"cell": [text], "fid": [1.5]})
    assert written(frame)[1] == [f"'{text}", "1.5"]
    assert read_back(frame) == [["cell", "fid"], [text, "1.5"]]


@pytest.mark.parametrize("text", HOSTILE)
def test_the_name_of_a_column_is_escaped_too(text: str) -> None:
    assert written(pd.DataFrame({text: [1]})) == [[f"'{text}"], ["1"]]


def test_ordinary_cells_keep_their_bytes() -> None:
    frame = pd.DataFrame(
        {"cell": ORDINARY, "number": -1.5, "whole": -3, "mixed": [-1, None, "a", True, -0.5, "b", 2, 3]}
    )
    plain = frame.to_csv(index=False, lineterminator="\n")
    assert csv_text(frame) == plain
    assert [row[0] for row in read_back(frame)[1:]] == ORDINARY


def test_the_frame_itself_is_not_changed() -> None:
    frame = pd.DataFrame({"cell": ["=1"]})
    csv_text(frame)
    assert frame["cell"].tolist() == ["=1"]
