"""Rows of a frame are mappings with Python's own values, as DataFrame.to_dict makes them."""

import pandas as pd
import pytest

from reports.rows import cell_rows


@pytest.fixture
def frame() -> pd.DataFrame:
    columns = {"cell": ["a", "b"], "seed": [0, 1], "fid": [1.5, None], "on": [True, False], "mixed": [1, "x"]}
    return pd.DataFrame({**columns, "text": ["t", None], "none": [None, None]})


def test_rows_are_those_of_to_dict(frame: pd.DataFrame) -> None:
    filled = frame.drop(columns=["fid", "text"])
    assert cell_rows(filled) == filled.to_dict("records")
    assert [list(map(type, row.values())) for row in cell_rows(filled)] == [
        [str, int, bool, int, type(None)],
        [str, int, bool, str, type(None)],
    ]


def test_missing_values_of_cells_are_none(frame: pd.DataFrame) -> None:
    first, second = cell_rows(frame)
    assert (first["fid"], first["text"], first["none"]) == (1.5, "t", None)
    assert (second["fid"], second["text"], second["none"]) == (None, None, None)


def test_a_frame_without_rows_has_none(frame: pd.DataFrame) -> None:
    assert cell_rows(frame[:0]) == []
