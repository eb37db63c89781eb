"""Charts of a report, on the page and as files for a paper."""

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import reports
from reports.charts import COLOURS, NUM_COLOURS, Axis, Chart, ChartPoint, Series, tick_label, ticks
from reports.figures import all_charts, score_chart
from reports.folder import write_report
from reports.layout import Layout
from reports.loss_charts import loss_charts
from reports.plots import write_figures
from reports.report import Report
from reports.svg import marker_svg, to_svg
from reports.tables import result_tables
from tests.reports.frames import DIGITS, LAYOUT, NO_CURVES, digits, frame, full, report, samplers, with_errors

SAMPLERS = Layout("s", ("sampling.sampler", "sampling.steps"))


def charts(made: pd.DataFrame, layout: Layout = LAYOUT, **more) -> dict[str, Chart]:
    return {chart.key: chart for chart in all_charts(Report((layout,), made, NO_CURVES, {}, {}, **more))}


def test_truncation_error_has_a_line_for_each_sampler_over_evaluations() -> None:
    chart = charts(samplers(), SAMPLERS)["truncation"]
    assert [series.name for series in chart.series] == ["euler", "heun"]
    assert [[p.x for p in series.points] for series in chart.series] == [[8, 16, 32], [16, 32, 64]]
    heun = [p.y for p in chart.series[1].points]
    assert heun == pytest.approx([1.5 * steps**-2 for steps in (8, 16, 32)])  # the mean of both seeds
    assert chart.x.is_log and chart.y.is_log


def test_without_truncation_errors_there_is_no_such_chart() -> None:
    assert "truncation" not in charts(frame())
    assert "truncation" not in charts(samplers().assign(truncation_rms=np.nan), SAMPLERS)


def test_scores_are_shown_with_their_intervals_in_the_tables_order() -> None:
    (table,) = result_tables(with_errors(frame()), LAYOUT)
    chart = score_chart(table, 1)
    assert chart is not None
    labels = ("nano, attention=no", "nano, attention=yes", "micro, attention=no", "micro, attention=yes")
    assert chart.y.categories == labels
    (series,) = chart.series
    assert [p.x for p in series.points] == [10, 11, 20, 21] and [p.is_hollow for p in series.points] == [
        False,
        *[True] * 3,
    ]
    assert [p.x_margin for p in series.points] == pytest.approx([0.392] * 4, rel=1e-3)
    assert series.points[0].text == "nano, attention=no: 10.00 ± 0.39"
    assert chart.line == (0.5, "real train split") and chart.x_range()[0] < 0.5


def test_captions_explain_what_is_drawn_and_no_more() -> None:
    captions = [chart.caption for chart in charts(full(digits()), DIGITS).values()]
    assert not any("  " in caption for caption in captions)
    assert any("Filled: the best of its column" in caption for caption in captions)
    made = digits().assign(**{"evaluation.images": [1000, 2000] * 12})
    mixed = Report((DIGITS,), made, NO_CURVES, {}, {}, allowed=("evaluation.images",))
    (scores,) = (chart for chart in all_charts(mixed) if chart.key == "scores")
    assert "Filled" not in scores.caption, "as none is"


def test_points_have_the_intervals_over_seeds_that_tables_have() -> None:
    third = samplers()[lambda made: made["seed"] == 1].assign(seed=2)
    made = pd.concat([samplers(), third.assign(cell=third["cell"] + "2")], ignore_index=True)
    made = made.assign(fid_test=made["nfe"] + 0.5 * made["seed"])
    (table,) = result_tables(made, replace(SAMPLERS, metrics=("fid_test",)))
    chart = charts(made, SAMPLERS)["nfe"]
    assert chart.series[0].points[0].y_margin == table.entries[0].margin and chart.caption.startswith("Bars: 95%")
    for fewer in (made[made["seed"] < 2], made[made["seed"] == 0]):  # two seeds make an interval too wide to be shown
        chart = charts(fewer, SAMPLERS)["nfe"]
        assert {point.y_margin for series in chart.series for point in series.points} == {None}
        assert chart.caption.startswith("No intervals: ")


def test_points_are_in_the_unit_that_the_axis_names_as_in_tables() -> None:
    made = samplers()[lambda made: made["seed"] == 0].drop(columns="fid_test", errors="ignore")
    made = made.assign(kid_test=made["nfe"] / 10_000, kid_test_se=0.001, precision_test=0.9, recall_test=0.8)
    (table,) = result_tables(made, replace(SAMPLERS, metrics=("kid_test",)))
    chart = charts(made, SAMPLERS)["nfe"]
    assert [chart.y.title] == ["KID ×10³ test"] == list(table.number_heads)
    points = {p.x: p for series in chart.series for p in series.points}
    assert {nfe: points[nfe].y for nfe in points} == pytest.approx({nfe: nfe / 10 for nfe in points})
    assert points[8].text.endswith(f": {table.entries[0].text}") and table.entries[0].text == "0.8 ± 2.0"
    assert points[8].y_margin == pytest.approx(1.96, rel=1e-3)


def test_a_point_of_several_seeds_is_said_to_be_their_mean() -> None:
    made = samplers().assign(precision_test=samplers()["nfe"] / 100, recall_test=0.8)
    assert charts(made, SAMPLERS)["precision-recall"].caption.startswith("Every point is the mean of a cell over its")
    first = made[made["seed"] == 0]
    assert charts(first, SAMPLERS)["precision-recall"].caption.startswith("Every point is a cell.")


def test_a_cell_that_an_axis_means_nothing_to_has_no_point_on_it() -> None:
    """Such as a network that was trained elsewhere, on an axis of lengths."""
    made = samplers().assign(**{"training.kimg": [1.0, 2.0] * (len(samplers()) // 2)}).astype({"training.kimg": object})
    layout = replace(SAMPLERS, rows=("training.kimg", *SAMPLERS.rows))
    points = [p for line in charts(made, layout)["kimg"].series for p in line.points]
    made.loc[made.index[-4:], "training.kimg"] = "-"
    fewer = [p for line in charts(made, layout)["kimg"].series for p in line.points]
    assert {p.x for p in fewer} == {p.x for p in points} == {1.0, 2.0}


def test_a_legend_shows_a_line_where_there_is_one() -> None:
    points = (ChartPoint(1.0, 2.0, ""),)
    assert "<line" in marker_svg(Series("a", 0, points, is_line=True))
    assert "<line" not in marker_svg(Series("a", 0, points)) and "<circle" in marker_svg(Series("a", 0, points))


def test_layouts_of_the_same_cells_share_one_chart_of_scores() -> None:
    pivot = replace(DIGITS, rows=DIGITS.rows[:3], columns=DIGITS.rows[3:], metrics=("fid_test",), name="By sampler")
    found = [chart.key for chart in all_charts(Report((DIGITS, pivot), digits(), NO_CURVES, {}, {}))]
    assert [key for key in found if key.startswith("scores")] == ["scores"]
    val = replace(pivot, metrics=("fid_val",))
    found = [chart.key for chart in all_charts(Report((DIGITS, pivot, val), digits(), NO_CURVES, {}, {}))]
    assert [key for key in found if key.startswith("scores")] == ["scores", "scores-2"], "FID val is not shown before"


def without_fid(**scores) -> pd.DataFrame:
    """Four cells with other scores than FID."""
    fids = ["fid_test", "noise_fid_test", "real_fid_test", "class_accuracy"]
    return frame().drop(columns=fids).assign(nfe=[10, 20, 10, 20], **scores)


def test_without_an_fid_other_scores_are_drawn_in_their_unit() -> None:
    kid = without_fid(kid_val=[0.01, 0.02, 0.03, 0.04], kid_val_se=0.001, real_kid_val=0.002)
    found = charts(kid)
    (series,), chart = found["scores"].series, found["scores"]
    assert [p.x for p in series.points] == pytest.approx([10, 20, 30, 40]) and chart.x.title == "KID ×10³ val"
    assert series.points[0].x_margin == pytest.approx(1.96, rel=1e-3) and chart.title == "KID ×10³ val of every cell"
    assert chart.line == (2.0, "real train split") and "score" not in chart.caption
    accuracy = without_fid(class_accuracy=[0.9, 0.92, 0.94, 0.95], class_accuracy_se=0.001, precision_test=0.5)
    found = charts(accuracy.assign(real_class_accuracy=0.99))
    assert [p.x for p in found["scores"].series[0].points] == pytest.approx([90, 92, 94, 95])
    assert [found[key].title for key in ("scores", "nfe")] == [
        "Class accuracy of every cell",
        "Class accuracy against network evaluations per image",
    ]
    assert found["scores"].x.title == "class accuracy (%)" == found["nfe"].y.title
    assert found["scores"].caption.endswith(" Dashed: real train split, 99.00 %.") and found["scores"].line
    far = charts(accuracy.assign(real_class_accuracy=0.99, class_accuracy=[0.70, 0.701, 0.702, 0.703]))["scores"]
    assert far.line is None and "outside the figure to the right" in far.caption


def test_the_front_of_a_score_that_is_better_if_higher_is_above() -> None:
    made = without_fid(class_accuracy=[0.9, 0.95, 0.92, 0.93], class_accuracy_se=0.001)
    chart = charts(made.assign(nfe=[10, 20, 20, 10]))["nfe"]
    (front,) = (series for series in chart.series if series.name == "Pareto front")
    assert [(p.x, p.y) for p in front.points] == [(10, pytest.approx(93)), (20, pytest.approx(95))]
    assert "no other point is higher" in chart.caption


def test_a_truncation_error_alone_has_one_chart_against_evaluations() -> None:
    assert set(charts(without_fid(truncation_rms=[4.0, 1.0, 3.0, 1.0]))) == {"truncation"}


def test_a_distant_baseline_does_not_squeeze_the_scores_together() -> None:
    (table,) = result_tables(with_errors(frame(fid_test=[100.0, 100.1, 100.2, 100.3])), LAYOUT)
    chart = score_chart(table, 1)
    assert chart is not None and chart.x_range()[0] > 99 and chart.line is None
    assert "outside the figure to the left" in chart.caption


@pytest.mark.parametrize("made", [frame(), with_errors(frame())[:1], frame().drop(columns="fid_test")])
def test_without_two_intervals_there_is_no_chart_of_scores(made: pd.DataFrame) -> None:
    (table,) = result_tables(made, LAYOUT)
    assert score_chart(table, 1) is None


def test_more_scores_than_can_be_read_make_no_chart() -> None:
    made = pd.concat([with_errors(frame()).assign(**{"model.preset": f"p{i}"}) for i in range(31)])
    (table,) = result_tables(made, LAYOUT)
    assert len(table.rows) == 62 and score_chart(table, 1) is None


def test_points_are_means_over_the_axes_that_the_caption_names() -> None:
    chart = charts(digits(), DIGITS)["guidance"]
    assert chart.legend_title == "sampler" and "mean over preset and attention." in chart.caption
    euler = chart.series[0]
    assert euler.name == "euler" and [p.x for p in euler.points] == [1, 2]
    assert euler.points[0].y == pytest.approx(np.mean([0.78, 0.78, 0.69, 0.73]))
    assert euler.points[0].y_margin == pytest.approx(np.mean([0.11, 0.12, 0.11, 0.12]), rel=1e-3)


MACHADO = {  # how people see colours who lack one kind of cones (Machado et al. 2009); on linear RGB
    "all": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def seen(colour: str, cones: str) -> np.ndarray:
    """A colour in CIELAB as people with such cones see it."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    x, y, z = np.cbrt(XYZ @ np.clip(MACHADO[cones] @ linear, 0.001, 1) / XYZ.sum(axis=1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def page_colours() -> list[tuple[str, ...]]:
    style = (Path(reports.__file__).parent / "page.css").read_text()
    found = re.findall(r"--c\d: (#[0-9a-f]{6})", style)
    return [tuple(found[:NUM_COLOURS]), tuple(found[NUM_COLOURS:])]


@pytest.mark.parametrize("colours", [COLOURS, *page_colours()], ids=["paper", "light", "dark"])
def test_everybody_can_tell_the_colours_apart(colours: tuple[str, ...]) -> None:
    assert len(colours) == NUM_COLOURS
    for cones in MACHADO:
        for a, b in itertools.combinations(colours, 2):
            assert np.linalg.norm(seen(a, cones) - seen(b, cones)) > 10, (cones, a, b)


@pytest.mark.parametrize(
    ("value", "label"),
    [(35_181_651.0, "35.1817 M"), (2e7, "20 M"), (20_000.0, "20,000"), (1e-5, "1e-05"), (0.2, "0.2")],
)
def test_ticks_are_written_as_people_write_them(value: float, label: str) -> None:
    assert tick_label(value) == label


def test_a_value_has_the_same_colour_in_every_chart() -> None:
    made = full(with_errors(digits())).assign(nfe=[18, 35, 35] * 8, parameters=[1e6] * 12 + [2e6] * 12)
    colours: dict[str, set[int]] = {}
    found = charts(made, DIGITS)
    assert {"guidance", "nfe", "parameters", "precision-recall", "train-test"} <= set(found)
    for chart in found.values():
        for series in chart.legend:
            colours.setdefault(series.name, set()).add(series.colour)
    assert all(len(numbers) == 1 for numbers in colours.values()) and len(colours) >= 3


def test_null_takes_one_colour_however_many_cells_have_it() -> None:
    null, eight = samplers().assign(**{"model.channels": np.nan}), samplers().assign(**{"model.channels": 8.0})
    made = pd.concat([null[:1], eight, null[1:7]], ignore_index=True)
    lines = charts(made, Layout("s", ("model.channels", "sampling.steps")))["truncation"].series
    assert [(line.name, line.colour) for line in lines] == [("channels=null", 0), ("channels=8", 1)]


def test_the_pareto_front_holds_the_points_that_none_beats() -> None:
    made = samplers().assign(fid_test=[9, 9, 5, 5, 4, 4, 6, 6, 2, 2, 3, 3], fid_test_se=0.1)
    chart = charts(made[made["seed"] == 0], SAMPLERS)["nfe"]
    (front,) = (series for series in chart.series if series.name == "Pareto front")
    assert [(p.x, p.y) for p in front.points] == [(8, 9), (16, 5), (32, 2)]


def test_cells_that_cannot_be_compared_are_in_separate_charts() -> None:
    made = digits().assign(**{"evaluation.images": [1000] * 12 + [2000] * 12})
    found = charts(made, DIGITS)
    assert {"guidance-1", "guidance-2"} <= set(found) and "guidance" not in found
    captions = {key: chart.caption for key, chart in found.items()}
    for key in ("guidance", "train-test"):
        assert "; 1,000 images drawn; " in captions[f"{key}-1"] and "; 2,000 images drawn; " in captions[f"{key}-2"]
    together = charts(digits(), DIGITS)
    assert "images drawn" not in together["guidance"].caption


def test_loss_by_noise_level_and_curves() -> None:
    curves = pd.DataFrame(
        {"training": ["a"] * 3, "kimg": [1, 2, 2], "loss": [1, 0.5, None], "val_loss": [None, None, 0.4]}
    )
    levels = pd.DataFrame({"training": ["a", "a"], "sigma": [1.0, 0.1], "val_loss": [0.3, 0.6]})
    found = {c.key: c for c in all_charts(Report((LAYOUT,), frame(), curves, {}, {}, levels=levels))}
    assert [(p.x, p.y) for p in found["loss-by-noise"].series[0].points] == [(0.1, 0.6), (1.0, 0.3)]
    faint, solid = found["loss"].series
    assert faint.is_faint and [p.y for p in solid.points] == [0.4]


def curves_of(*losses: float) -> Report:
    steps = range(len(losses))
    curves = pd.DataFrame({"training": "a", "kimg": [float(i) for i in steps], "loss": losses, "val_loss": math.nan})
    return Report((LAYOUT,), frame(), curves, {}, {})


def test_losses_below_zero_are_drawn_on_an_even_axis() -> None:
    """A learned uncertainty is about the logarithm of a loss; a logarithmic axis would end where it falls below 0."""
    (chart,) = loss_charts(curves_of(0.5, -0.4, -0.6))
    assert not chart.y.is_log and [p.y > 0 for p in chart.series[0].points] == [True, True, False]
    assert to_svg(chart)
    (chart,) = loss_charts(curves_of(1.5, 0.2, 0.1))
    assert chart.y.is_log


@pytest.mark.parametrize("losses", [[math.nan], [math.inf, math.inf]])
def test_losses_without_a_number_make_no_chart(losses: list[float]) -> None:
    assert not list(loss_charts(curves_of(*losses)))


def test_an_infinite_loss_is_left_out() -> None:
    levels = pd.DataFrame({"training": "a", "sigma": [0.1, 1.0], "val_loss": [0.5, math.inf]})
    (chart,) = loss_charts(Report((LAYOUT,), frame(), NO_CURVES, {}, {}, levels=levels))
    assert [(p.x, p.y) for p in chart.series[0].points] == [(0.1, 0.5)]


@pytest.mark.parametrize("is_log", [False, True])
@pytest.mark.parametrize("ends", [(0.5, 2.3), (18.0, 70.0), (1e-4, 3e4), (3.0, 3.0)])
def test_ticks_are_few_round_and_within_the_ends(ends: tuple[float, float], is_log: bool) -> None:
    found = ticks(*ends, is_log)
    assert 1 <= len(found) <= 12 and all(ends[0] <= tick <= ends[1] for tick in found)
    assert found == sorted(set(found))


def test_svg_escapes_names_and_gives_every_point_a_text() -> None:
    made = with_errors(frame(**{"model.preset": ["<script>&"] * 2 + ["micro"] * 2}))
    (table,) = result_tables(made, LAYOUT)
    chart = score_chart(table, 1)
    assert chart is not None
    svg = to_svg(chart)
    assert "<script>" not in svg and "&lt;script&gt;&amp;" in svg and svg.count("10.00 ± 0.39</title>") == 1


def test_files_for_a_paper_are_as_wide_as_a_column_and_have_captions(tmp_path: Path) -> None:
    made = list(charts(digits(), DIGITS).values())
    files = write_figures(made, tmp_path)
    assert {path.name for path in files} == {f"{c.key}.{kind}" for c in made for kind in ("svg", "pdf")} | {
        "captions.txt"
    }
    assert (tmp_path / "scores.pdf").read_bytes().startswith(b"%PDF") and "244.8pt" in (
        tmp_path / "scores.svg"
    ).read_text()
    captions = (tmp_path / "captions.txt").read_text()
    assert all(chart.caption in captions for chart in made)
    before = {path: path.read_bytes() for path in files}
    write_figures(made, tmp_path)
    assert {path: path.read_bytes() for path in files} == before


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_a_full_disk_is_the_systems_own_error(suffix: str, tmp_path: Path) -> None:
    chart = next(iter(charts(samplers(), SAMPLERS).values()))
    (tmp_path / f"{chart.key}.{suffix}").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_figures([chart], tmp_path)


def test_an_interval_below_zero_reaches_the_end_of_a_logarithmic_axis(tmp_path: Path) -> None:
    chart = charts(samplers(), SAMPLERS)["truncation"]
    points = tuple(replace(p, y_margin=10 * p.y) for p in chart.series[0].points)
    wide = replace(chart, series=(replace(chart.series[0], points=points),))
    assert "nan" not in to_svg(wide) and write_figures([wide], tmp_path)


def test_guidance_that_doubles_the_evaluations_has_lines_of_its_own() -> None:
    axes = ("sampling.sampler", "sampling.guidance", "sampling.steps")
    rows = list(itertools.product(("euler", "dpm"), (1.0, 1.5, 2.0), (8, 16)))
    made = pd.concat([frame()[:1].assign(cell=str(row), **dict(zip(axes, row, strict=True))) for row in rows])
    made = made.assign(nfe=[s * (1 if g == 1 else 2) for _, g, s in rows], fid_test=np.arange(12.0))
    chart = charts(made, Layout("t", axes))["nfe"]
    lines = {series.name: [(p.x, p.y) for p in series.points] for series in chart.series}
    assert lines["euler, guidance=1"] == [(8, 0), (16, 1)] and lines["dpm, guidance=1"] == [(8, 6), (16, 7)]
    assert lines["euler, guidance=1.5, 2"] == [(16, 3), (32, 4)] and "mean over guidance." in chart.caption
    assert [series.is_hollow for series in chart.legend if series.has_markers] == [False, True] * 2
    steps = charts(made[made["sampling.sampler"] == "euler"], Layout("t", axes))["nfe"]
    assert steps.legend_title == "guidance", "a line for each number of steps would show nothing"


def test_a_reports_figures_are_drawn_again_only_if_its_page_changes(tmp_path: Path) -> None:
    made = report(with_errors(frame()), tmp_path)
    drawn = tmp_path / "out" / "figures" / "scores.pdf"
    write_report(made, tmp_path / "out", figures=True)
    first = drawn.stat().st_mtime_ns
    write_report(made, tmp_path / "out", figures=True)
    assert drawn.stat().st_mtime_ns == first
    write_report(replace(made, frame=made.frame.assign(fid_test=[4.0, 3.0, 2.0, 1.0])), tmp_path / "out", figures=True)
    assert drawn.stat().st_mtime_ns > first


def test_labels_of_a_logarithmic_axis_do_not_touch(tmp_path: Path) -> None:
    points = tuple(ChartPoint(x, 1.0 + index, "") for index, x in enumerate((140_000.0, 175_000.0, 380_000.0)))
    chart = Chart("parameters", "", "", Axis("parameters", is_log=True), Axis("FID"), (Series("euler", 0, points),))
    (svg,) = (path for path in write_figures([chart], tmp_path) if path.suffix == ".svg")
    labels, content = ("150,000", "200,000", "250,000", "300,000", "350,000"), svg.read_text()
    shown = [label for label in labels if f">{label}<" in content]
    assert shown[:3] == ["150,000", "200,000", "250,000"] and "350,000" not in shown


@pytest.mark.parametrize(("name", "columns"), [("euler", 2), ("stochastic_heun, guidance=1", 1)])
def test_long_names_stand_below_each_other_in_a_legend(
    name: str, columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    monkeypatch.setattr(Figure, "legend", lambda _self, **settings: given.append(settings["ncols"]))
    points = (ChartPoint(1.0, 1.0, ""), ChartPoint(2.0, 2.0, ""))
    series = tuple(Series(f"{name}{letter}", 0, points) for letter in "ab")
    write_figures([Chart("nfe", "", "", Axis("evaluations"), Axis("FID"), series)], tmp_path)
    assert given == [columns]


def test_labels_of_the_y_axis_stand_beside_its_title() -> None:
    points = (ChartPoint(1.0, 31_000.0, "a"), ChartPoint(2.0, 34_000.0, "b"))
    svg = to_svg(Chart("c", "C", "", Axis("x"), Axis("KID"), (Series("a", 0, points),)))
    labels = re.findall(r'<text class="tick" x="([\d.]+)" y="[\d.]+" text-anchor="end">([\d,]+)<', svg)
    assert labels and all(float(end) - 6.5 * len(text) > 18 for end, text in labels)
