"""Figures of a page."""

import numpy as np
import pandas as pd
import pytest

from reports.figures import score_figure, truncation_figure
from reports.layout import Layout
from reports.tables import result_tables
from tests.reports.frames import LAYOUT, frame, samplers, with_errors


def test_truncation_error_has_a_line_for_each_sampler_over_evaluations() -> None:
    figure = truncation_figure(samplers(), Layout("s", ("sampling.sampler", "sampling.steps")))
    assert figure is not None
    lines = figure.to_dict()["data"]
    assert [line["name"] for line in lines] == ["euler", "heun"]
    assert [line["x"] for line in lines] == [[8, 16, 32], [16, 32, 64]]
    assert lines[1]["y"] == pytest.approx([1.5 * steps**-2 for steps in (8, 16, 32)])  # the mean of both seeds
    layout = figure.to_dict()["layout"]
    assert layout["xaxis"]["type"] == layout["yaxis"]["type"] == "log"


def test_without_truncation_errors_there_is_no_such_figure() -> None:
    layout = Layout("s", ("sampling.sampler", "sampling.steps"))
    assert truncation_figure(frame(), LAYOUT) is None
    assert truncation_figure(samplers().assign(truncation_rms=np.nan), layout) is None


def test_scores_are_shown_with_their_intervals_in_the_tables_order() -> None:
    (table,) = result_tables(with_errors(frame()), LAYOUT)
    figure = score_figure(table)
    assert figure is not None
    best, worse = figure.to_dict()["data"]
    labels = ["nano, attention=no", "nano, attention=yes", "micro, attention=no", "micro, attention=yes"]
    assert best["y"] == labels[:1] and worse["y"] == labels[1:]
    assert worse["x"] == [11.0, 20.0, 21.0] and worse["error_x"]["array"] == pytest.approx([0.392] * 3, rel=1e-3)
    assert list(best["customdata"]) == ["10.00 ± 0.39"]  # what hovering shows
    layout = figure.to_dict()["layout"]
    assert layout["yaxis"]["categoryarray"] == labels
    (line,) = layout["shapes"]
    assert line["x0"] == line["x1"] == 0.5 and layout["xaxis"]["range"][0] < 0.5


def test_a_distant_baseline_does_not_squeeze_the_scores_together() -> None:
    (table,) = result_tables(with_errors(frame(fid_test=[100.0, 100.1, 100.2, 100.3])), LAYOUT)
    figure = score_figure(table)
    assert figure is not None and figure.to_dict()["layout"]["xaxis"]["range"][0] > 99
    assert "outside the figure to the left" in figure.to_dict()["layout"]["shapes"][0]["name"]


@pytest.mark.parametrize("made", [frame(), with_errors(frame())[:1], frame().drop(columns="fid_test")])
def test_without_two_intervals_there_is_no_figure_of_scores(made: pd.DataFrame) -> None:
    (table,) = result_tables(made, LAYOUT)
    assert score_figure(table) is None


def test_more_scores_than_can_be_read_make_no_figure() -> None:
    made = pd.concat([with_errors(frame()).assign(**{"model.preset": f"p{i}"}) for i in range(31)])
    (table,) = result_tables(made, LAYOUT)
    assert len(table.rows) == 62 and score_figure(table) is None
